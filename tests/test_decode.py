"""Every decoder against a sum over all the paths of a small lattice."""

import itertools
import math
from collections import defaultdict

import fast_ctc_decode
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.decode import (
    _search,
    align,
    alternatives,
    collapse,
    decode_beam,
    decode_greedy,
    decode_length,
    length_log_probability,
    log_probabilities,
    restrict,
    spell,
    text_log_probability,
)
from captcha_lib.model import ctc_loss

WIDE = 10_000  # more prefixes than a small lattice has
ABC = Alphabet("abc")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def lattice(seed: int, steps: int, classes: int, scale: float) -> torch.Tensor:
    return torch.randn(steps, classes, generator=torch.Generator().manual_seed(seed)) * scale


def alphabet_of(logits: torch.Tensor) -> Alphabet:
    return Alphabet("abcdefghijklmnopqrs"[: logits.shape[-1] - 1])


def spelt(path: tuple[int, ...], characters: str) -> str:
    return "".join(characters[k - 1] for k, _ in itertools.groupby(path) if k != 0)


def path_probabilities(logits: torch.Tensor) -> dict[tuple[int, ...], float]:
    probs = logits.double().softmax(-1).tolist()
    paths = itertools.product(range(logits.shape[1]), repeat=len(probs))
    return {path: math.prod(frame[k] for frame, k in zip(probs, path, strict=True)) for path in paths}


def text_probabilities(logits: torch.Tensor) -> dict[str, float]:
    """Every text that the lattice (T, K) can spell, with its probability."""
    total = defaultdict(float)
    for path, probability in path_probabilities(logits).items():
        total[spelt(path, alphabet_of(logits).characters)] += probability
    return dict(total)


def written(path: str, peak: float = 6.0) -> torch.Tensor:
    """A lattice whose best path is given, "-" is the blank: "aa-b" -> (4, 4)."""
    logits = torch.zeros(len(path), 4)
    logits[range(len(path)), ["-abc".index(c) for c in path]] = peak
    return logits


lattices = st.builds(lattice, st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 4), st.floats(0.1, 5))
many = settings(deadline=None, max_examples=40)


@given(lattices)
@many
def test_all_texts_together_have_probability_1(logits):
    texts = text_probabilities(logits)
    alphabet = alphabet_of(logits)
    by_length = [math.exp(length_log_probability(logits[None], n)[0]) for n in range(len(logits) + 1)]
    assert sum(by_length) == pytest.approx(1)
    (reading,) = decode_greedy(logits[None], alphabet)
    assert sum(texts.values()) == pytest.approx(1)
    assert reading.text in texts


@given(lattices)
@many
def test_greedy_spells_the_best_path_and_sums_over_all_paths(logits):
    (reading,) = decode_greedy(logits[None], alphabet_of(logits))
    paths = path_probabilities(logits)
    assert reading.text == spelt(max(paths, key=paths.get), alphabet_of(logits).characters)
    assert reading.confidence == pytest.approx(text_probabilities(logits)[reading.text], rel=1e-4)


@given(lattices)
@many
def test_a_wide_beam_finds_the_likeliest_text(logits):
    (reading,) = decode_beam(logits[None], alphabet_of(logits), width=WIDE)
    texts = text_probabilities(logits)
    assert reading.confidence == pytest.approx(max(texts.values()), rel=1e-4)
    assert texts[reading.text] == pytest.approx(max(texts.values()), rel=1e-4)


def test_the_beam_beats_the_best_path():
    """Blank is likeliest at each step (0.6 * 0.6 = 0.36), but "a" has three paths (0.64): Graves 2006, figure 2."""
    logits = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
    assert decode_greedy(logits, Alphabet("a"))[0].text == ""
    (reading,) = decode_beam(logits, Alphabet("a"))
    assert (reading.text, reading.confidence) == ("a", pytest.approx(0.64))


@given(lattices, st.data())
@many
def test_length_log_probability_sums_over_all_texts_of_that_length(logits, data):
    length = data.draw(st.integers(0, len(logits)))
    expected = sum(p for text, p in text_probabilities(logits).items() if len(text) == length)
    found = float(length_log_probability(logits[None], length)[0])
    assert math.exp(found) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(lattices, st.data())
@many
def test_decode_length_finds_the_likeliest_text_of_that_length(logits, data):
    texts = text_probabilities(logits)
    length = data.draw(st.sampled_from(sorted({len(text) for text in texts} - {0})))
    of_length = {text: p for text, p in texts.items() if len(text) == length}
    (reading,) = decode_length(logits[None], alphabet_of(logits), length, width=WIDE)
    assert len(reading.text) == length
    assert of_length[reading.text] == pytest.approx(max(of_length.values()), rel=1e-4)
    assert reading.confidence == pytest.approx(max(of_length.values()) / sum(of_length.values()), rel=1e-4)


@given(st.integers(0, 10**6), st.integers(8, 20), st.floats(1, 8), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_confidences_are_probabilities(seed, steps, scale, length):
    logits = torch.stack([lattice(seed + i, steps, 5, scale) for i in range(3)])
    alphabet = alphabet_of(logits[0])
    readings = [*decode_greedy(logits, alphabet), *decode_beam(logits, alphabet, 4)]
    readings += decode_length(logits, alphabet, length, 4)
    assert all(0 <= reading.confidence <= 1 for reading in readings)


@pytest.mark.parametrize("decode", [decode_greedy, decode_beam, lambda *given: decode_length(*given, length=2)])
def test_a_picture_is_decoded_alike_alone_and_in_a_batch(decode):
    logits = torch.stack([lattice(seed, 6, 4, scale) for seed, scale in enumerate((0.2, 1, 3, 9))])
    alone = [decode(one[None], ABC)[0] for one in logits]
    together = decode(logits, ABC)
    assert [r.text for r in together] == [r.text for r in alone]
    assert [r.confidence for r in together] == pytest.approx([r.confidence for r in alone])


@pytest.mark.parametrize("decode", [decode_greedy, decode_beam, lambda *given: decode_length(*given, length=2)])
def test_no_pictures_no_readings(decode):
    assert decode(torch.zeros(0, 6, 4), ABC) == []


@pytest.mark.parametrize("length", [-1, 0, 7])
def test_a_length_out_of_range_is_refused(length):
    with pytest.raises(InputError, match=str(length)):
        decode_length(torch.zeros(1, 6, 4), ABC, length)


@pytest.mark.parametrize("length", [1, 6])
def test_the_ends_of_the_range_are_allowed(length):
    assert len(decode_length(torch.zeros(1, 6, 4), ABC, length)[0].text) == length


def test_a_length_far_from_what_the_network_saw_still_gets_its_share():
    """A very sure network gives other lengths less than a double can hold; the best text's share is still large."""
    logits = torch.zeros(1, 6, 4)
    logits[..., 0] = 400
    logits[0, 1, 1] = logits[0, 4, 2] = 10
    (reading,) = decode_length(logits, ABC, 2)
    assert reading.text == "ab"
    assert reading.confidence > 0.9


def theirs(logits: torch.Tensor, characters: str, width: int) -> str:
    probs = logits.softmax(-1).numpy().astype(np.float32)
    return fast_ctc_decode.beam_search(probs, "-" + characters, beam_size=width, beam_cut_threshold=0.0)[0]


@given(st.integers(0, 10**6), st.floats(1, 6), st.sampled_from([4, 16]))
@settings(deadline=None, max_examples=40)
def test_search_agrees_with_fast_ctc_decode(seed, scale, width):
    logits = lattice(seed, 20, 6, scale)
    first = _search(logits.softmax(-1).double().numpy(), width, None)[0]
    assert Alphabet("abcde").decode(first) == theirs(logits, "abcde", width)


@given(st.integers(0, 10**6), st.floats(1, 6))
@settings(deadline=None, max_examples=40)
def test_beam_is_never_less_likely_than_fast_ctc_decode(seed, scale):
    """That library ranks by the paths that stayed in its beam; here the last ranking is by all paths."""
    logits, alphabet = lattice(seed, 20, 6, scale), Alphabet("abcde")
    (reading,) = decode_beam(logits[None], alphabet, width=16)
    other = theirs(logits, "abcde", 16)
    loss = ctc_loss(logits[None].double(), torch.from_numpy(alphabet.encode(other))[None], torch.tensor([len(other)]))
    assert reading.text == other or reading.confidence > math.exp(-loss)


@given(lattices, st.data())
@many
def test_restrict_renormalises_what_is_left(logits, data):
    alphabet = alphabet_of(logits)
    allowed = data.draw(st.sets(st.sampled_from(alphabet.characters), min_size=1))
    kept = [0, *(alphabet.characters.index(c) + 1 for c in sorted(allowed))]
    probs = logits.double().softmax(-1)
    restricted = torch.from_numpy(restrict(logits, alphabet, "".join(sorted(allowed)))).double().softmax(-1)
    assert torch.allclose(restricted.sum(-1), torch.ones(len(logits), dtype=torch.double))
    assert torch.allclose(restricted[:, kept], probs[:, kept] / probs[:, kept].sum(-1, keepdim=True))
    assert restricted.sum() == pytest.approx(float(restricted[:, kept].sum()))


@given(st.integers(0, 10**6), st.floats(0.1, 5))
@settings(deadline=None, max_examples=30)
def test_characters_that_are_not_allowed_never_appear(seed, scale):
    logits = restrict(torch.stack([lattice(seed + i, 5, 4, scale) for i in range(2)]), ABC, "ac")
    readings = [*decode_greedy(logits, ABC), *decode_beam(logits, ABC), *decode_length(logits, ABC, 3)]
    assert set("".join(reading.text for reading in readings)) <= {"a", "c"}
    assert all(0 < reading.confidence <= 1 for reading in readings)


def test_allowing_everything_changes_nothing():
    logits = lattice(0, 5, 4, 2)
    assert np.array_equal(restrict(logits, ABC, "cab"), logits)


def test_an_unknown_allowed_character_is_refused():
    with pytest.raises(InputError, match="'z'"):
        restrict(torch.zeros(1, 5, 4), ABC, "az")


def test_a_length_that_no_allowed_text_can_have_is_refused():
    """Three times "c" takes five time steps. A reading of other characters would be an invention."""
    logits = restrict(torch.zeros(1, 3, 4), ABC, "c")
    with pytest.raises(InputError):
        decode_length(logits, ABC, 3)


def test_collapse_keeps_a_double_only_where_a_blank_stands_between():
    four, c, two = 3, 9, 1
    assert collapse([four, four, 0, c, c, 0, c, two]) == (four, c, c, two)
    assert collapse([four, c, c, c, two]) == (four, c, two)
    assert collapse([0, 0, 0]) == ()


@given(st.lists(st.integers(0, 3), max_size=12))
@many
def test_collapse_agrees_with_grouping(path):
    assert collapse(path) == tuple(k for k, _ in itertools.groupby(path) if k)


def test_decoders_keep_a_double():
    logits = written("cc-c-ab")[None]
    for reading in (*decode_greedy(logits, ABC), *decode_beam(logits, ABC), *decode_length(logits, ABC, 4)):
        assert reading.text == "ccab"
    assert decode_greedy(written("ccccab")[None], ABC)[0].text == "cab"


@pytest.mark.parametrize("text", ["11", "1111", "aabbaa"])
@pytest.mark.parametrize("between", ["-", "--"])
def test_no_decoder_merges_or_cuts_doubles(text, between):
    """With one blank between all neighbours the lattice has not a step to spare."""
    alphabet = Alphabet("1ab")
    path = between.join(text)
    logits = torch.full((1, len(path), 4), -3.0)
    for t, character in enumerate(path):
        logits[0, t, "-1ab".index(character)] = 3.0
    found = [decode(logits, alphabet)[0].text for decode in (decode_greedy, decode_beam)]
    found += [
        decode_length(logits, alphabet, len(text))[0].text,
        *spell(logits, alphabet),
        *spell(logits, alphabet, len(text)),
    ]
    assert found == [text] * 5


def test_align_by_hand():
    spans = align(written("-aa-bb--c"), "abc", ABC)
    assert [(span.character, span.first, span.last) for span in spans] == [("a", 1, 2), ("b", 4, 5), ("c", 8, 8)]
    sure = math.exp(6) / (math.exp(6) + 3)
    assert [span.probability for span in spans] == pytest.approx([sure] * 3)


def test_align_leaves_a_blank_between_doubles():
    first, second = align(written("aaaaa"), "aa", ABC)
    assert second.first - first.last == 2


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 4), st.floats(0.1, 4), st.data())
@many
def test_align_follows_the_likeliest_path_of_the_text(seed, steps, classes, scale, data):
    logits = lattice(seed, steps, classes, scale)
    alphabet = alphabet_of(logits)
    paths = path_probabilities(logits)
    text = data.draw(st.sampled_from(sorted({spelt(path, alphabet.characters) for path in paths})))
    spans = align(logits, text, alphabet)
    assert "".join(span.character for span in spans) == text
    assert all(span.first <= span.last for span in spans)
    assert all(one.last < two.first for one, two in itertools.pairwise(spans))
    path = [0] * steps
    for span in spans:
        k = alphabet.characters.index(span.character) + 1
        path[span.first : span.last + 1] = [k] * (span.last + 1 - span.first)
        mean = float(logits.double().softmax(-1)[span.first : span.last + 1, k].mean())
        assert span.probability == pytest.approx(mean, rel=1e-5)
    assert spelt(tuple(path), alphabet.characters) == text
    best = max(p for one, p in paths.items() if spelt(one, alphabet.characters) == text)
    assert paths[tuple(path)] == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize(("steps", "text"), [(2, "abc"), (2, "aa"), (4, "aba" + "bb")])
def test_align_refuses_a_text_that_is_too_long(steps, text):
    with pytest.raises(InputError, match="too few"):
        align(torch.zeros(steps, 4), text, ABC)


def test_align_needs_just_enough_steps():
    assert [(s.first, s.last) for s in align(torch.zeros(3, 4), "aa", ABC)] == [(0, 0), (2, 2)]


def test_align_bears_very_sure_scores():
    """Single-precision probabilities vanish here, but six steps are enough for two characters."""
    logits = torch.zeros(6, 4)
    logits[:, 0] = 400
    logits[1, 1] = logits[4, 2] = 10
    assert [(s.character, s.first, s.last) for s in align(logits, "ab", ABC)] == [("a", 1, 1), ("b", 4, 4)]


@given(lattices, st.data())
@many
def test_text_log_probability_is_the_ctc_loss(logits, data):
    alphabet = alphabet_of(logits)
    texts = [data.draw(st.text(alphabet.characters, max_size=len(logits) + 1)) for _ in range(3)]
    batch = logits.expand(3, -1, -1)
    ids = [tuple(alphabet.encode(text)) for text in texts]
    ours = text_log_probability(log_probabilities(batch), ids)
    theirs = -ctc_loss(batch.double(), *alphabet.encode_batch(texts)).numpy()
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


def test_text_log_probability_of_a_text_that_does_not_fit():
    log_probs = log_probabilities(torch.zeros(2, 3, 4))
    assert text_log_probability(log_probs, [(1, 1, 1), (1, 1)]).tolist() == pytest.approx(
        [-np.inf, 3 * math.log(1 / 4)]
    )


@given(lattices, st.data())
@many
def test_spell_follows_the_likeliest_path_of_that_length(logits, data):
    characters = alphabet_of(logits).characters
    best: dict[int, float] = defaultdict(float)
    text_of = {}
    for path, probability in path_probabilities(logits).items():
        text = spelt(path, characters)
        if probability > best[len(text)]:
            best[len(text)], text_of[len(text)] = probability, text
    length = data.draw(st.sampled_from(sorted(best)))
    expected = text_of[length] if length else text_of[max(best, key=best.get)]
    assert spell(logits[None], alphabet_of(logits), length) == [expected]


def test_spell_of_several_pictures_searches_only_where_the_length_differs():
    logits = torch.stack([written("aa-b"), written("c--c"), written("abca")])
    assert spell(logits, ABC) == ["ab", "cc", "abca"]
    texts = spell(logits, ABC, 2)
    assert texts[:2] == ["ab", "cc"]
    assert len(texts[2]) == 2


@pytest.mark.parametrize("length", [-1, 7])
def test_spell_refuses_a_length_out_of_range(length):
    with pytest.raises(InputError, match=str(length)):
        spell(torch.zeros(1, 6, 4), ABC, length)


def test_spell_refuses_what_no_allowed_text_can_have():
    with pytest.raises(InputError, match="can be spelt"):
        spell(restrict(torch.zeros(1, 3, 4), ABC, "c"), ABC, 3)


@given(lattices, st.data())
@many
def test_alternatives_are_all_the_texts_of_that_length_in_order(logits, data):
    texts = text_probabilities(logits)
    length = data.draw(st.sampled_from(sorted({len(text) for text in texts} - {0})))
    of_length = {text: p for text, p in texts.items() if len(text) == length}
    found = alternatives(logits, alphabet_of(logits), length, width=WIDE)
    assert {reading.text for reading in found} == {text for text, p in of_length.items() if p > 0}
    shares = [of_length[reading.text] / sum(of_length.values()) for reading in found]
    assert [reading.confidence for reading in found] == pytest.approx(shares, rel=1e-4, abs=1e-12)
    assert [r.confidence for r in found] == sorted((r.confidence for r in found), reverse=True)


def test_the_first_alternative_is_the_reading():
    logits = lattice(1, 12, 4, 1.0)
    (reading,) = decode_length(logits[None], ABC, 3)
    first, second, *_ = alternatives(logits, ABC, 3)
    assert (first.text, first.confidence) == (reading.text, pytest.approx(reading.confidence))
    assert second.text != first.text
