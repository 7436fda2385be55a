"""Decoders by hand, against torch and against another library; `test_lattices` has the rest."""

import itertools
import math

import fast_ctc_decode
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.decode import (
    align,
    alternatives,
    decode_beam,
    decode_greedy,
    decode_length,
    restrict,
    spell,
)
from captcha_lib.lattice import _beam, collapse, log_probabilities, text_log_probability
from captcha_lib.model import ctc_loss

ABC = Alphabet("abc")


def lattice(seed: int, steps: int, classes: int, scale: float) -> torch.Tensor:
    return torch.randn(steps, classes, generator=torch.Generator().manual_seed(seed)) * scale


def alphabet_of(logits: torch.Tensor) -> Alphabet:
    return Alphabet("abcdefghijklmnopqrs"[: logits.shape[-1] - 1])


def written(path: str, peak: float = 6.0) -> torch.Tensor:
    """A lattice whose best path is given, "-" is the blank: "aa-b" -> (4, 4)."""
    logits = torch.zeros(len(path), 4)
    logits[range(len(path)), ["-abc".index(c) for c in path]] = peak
    return logits


lattices = st.builds(lattice, st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 4), st.floats(0.1, 5))
many = settings(deadline=None, max_examples=40)


def test_the_beam_beats_the_best_path():
    """Blank is likeliest at each step (0.6 * 0.6 = 0.36), but "a" has three paths (0.64): Graves 2006, figure 2."""
    logits = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
    assert decode_greedy(logits, Alphabet("a"))[0].text == ""
    (reading,) = decode_beam(logits, Alphabet("a"))
    assert (reading.text, reading.confidence) == ("a", pytest.approx(0.64))


@given(st.integers(0, 10**6), st.integers(8, 20), st.floats(1, 8), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_confidences_are_probabilities(seed, steps, scale, length):
    logits = torch.stack([lattice(seed + i, steps, 5, scale) for i in range(3)])
    alphabet = alphabet_of(logits[0])
    readings = [*decode_greedy(logits, alphabet), *decode_beam(logits, alphabet, 4)]
    readings += decode_length(logits, alphabet, length, 4)
    assert all(0 <= reading.confidence <= 1 for reading in readings)


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
    first = _beam(logits.softmax(-1).double().numpy(), width)[0]
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


def test_the_first_alternative_is_the_reading():
    logits = lattice(1, 12, 4, 1.0)
    (reading,) = decode_length(logits[None], ABC, 3)
    first, second, *_ = alternatives(logits, ABC, 3)
    assert (first.text, first.confidence) == (reading.text, pytest.approx(reading.confidence))
    assert second.text != first.text
