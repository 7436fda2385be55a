"""Every decoder on lattices of any kind: against a sum over all paths where that can be had, by its laws elsewhere,
against another library, and by hand."""

import itertools
import math
import string
from collections import defaultdict
from collections.abc import Callable
from unittest import mock

import fast_ctc_decode
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, logsumexp

from captcha_lib import lattice as lattice_module
from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.decode import (
    Reading,
    Span,
    align,
    alternatives,
    character_probabilities,
    decode_beam,
    decode_greedy,
    decode_length,
    restrict,
    scale_confidence,
    spell,
)
from captcha_lib.lattice import (
    _beam,
    best_texts,
    collapse,
    length_log_probability,
    likely_texts,
    log_probabilities,
    of_lengths,
    text_log_probability,
)
from captcha_lib.model import ctc_loss

CHARACTERS = string.ascii_letters + string.digits
WIDE = 10_000  # more prefixes than a small lattice has
SMALL = [(steps, classes) for steps in range(1, 13) for classes in range(2, 61) if classes**steps <= 5000]
LONGEST = 6  # characters, where a search goes through every shorter length, too
ABC = Alphabet("abc")


def lattice(seed: int, shape: tuple[int, int], kind: str, scale: float, holes: float) -> np.ndarray:
    """Logits (T, K) float32; a share `holes` of them is -inf, but never a whole time step."""
    rng = np.random.default_rng(seed)
    logits = {
        "noise": lambda: rng.normal(size=shape) * scale,
        "ties": lambda: rng.integers(-1, 2, shape) * scale,
        "equal": lambda: np.full(shape, scale),
        "alike": lambda: np.tile(rng.normal(size=shape[1]) * scale, (shape[0], 1)),
        "sure": lambda: rng.permuted(np.eye(*shape, dtype=float), axis=1) * 200 * scale + rng.normal(size=shape),
    }[kind]()
    kept = rng.random(shape) >= holes
    kept[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = True
    return np.where(kept, logits, -np.inf).astype(np.float32)


def lattices(shapes: st.SearchStrategy) -> st.SearchStrategy:
    kinds = st.sampled_from(["noise", "ties", "equal", "alike", "sure"])
    holes = st.sampled_from([0.0, 0.0, 0.2, 0.7])
    return st.builds(lattice, st.integers(0, 10**6), shapes, kinds, st.floats(0.1, 9), holes)


small = lattices(st.sampled_from(SMALL))
any_size = lattices(st.tuples(st.integers(1, 60), st.integers(2, 60)))


def alphabet_of(logits: np.ndarray) -> Alphabet:
    return Alphabet(CHARACTERS[: logits.shape[-1] - 1])


def ids_of(text: str, logits: np.ndarray) -> tuple[int, ...]:
    return tuple(alphabet_of(logits).encode(text).tolist())


def log_probability(text: str, logits: np.ndarray) -> float:
    return float(text_log_probability(log_probabilities(logits[None]), [ids_of(text, logits)])[0])


def brute_force(logits: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Every text that the lattice (T, K) can spell: its log-probability, and that of its likeliest path."""
    steps, classes = logits.shape
    log_probs = logits.astype(np.float64) - logsumexp(logits.astype(np.float64), axis=-1, keepdims=True)
    paths = np.indices((classes,) * steps).reshape(steps, -1)  # (T, K**T)
    chances = log_probs[np.arange(steps)[:, None], paths].sum(0)
    possible = chances > -np.inf
    spelt = defaultdict(list)
    for path, chance in zip(paths.T[possible].tolist(), chances[possible].tolist(), strict=True):
        spelt["".join(CHARACTERS[k - 1] for k, _ in itertools.groupby(path) if k)].append(chance)
    return {text: total(of_text) for text, of_text in spelt.items()}, {text: max(all_) for text, all_ in spelt.items()}


def total(log_p: list[float]) -> float:
    """The log of a sum of probabilities; -inf for none."""
    return float(logsumexp(log_p)) if log_p else -math.inf


def close(log_p: object) -> object:
    return pytest.approx(log_p, rel=1e-9, abs=1e-9)


def can_be_spelt(logits: np.ndarray, longest: int) -> set[int]:
    """The numbers of characters, up to `longest`, of which some path has a probability above 0."""
    states = {(0, 0)}  # how many characters, and the class of the path's end
    for frame in logits:
        possible = np.flatnonzero(frame > -np.inf).tolist()
        states = {(n + (k not in (0, before)), k) for n, before in states for k in possible}
        states = {(n, k) for n, k in states if n <= longest}
    return {n for n, _ in states}


def refused(call: Callable, *given) -> str:
    with pytest.raises(InputError) as caught:
        call(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def is_share(reading: Reading) -> bool:
    return 0 <= reading.confidence <= 1


# Against all the paths


@given(small)
def test_every_text_has_the_probability_of_its_paths(logits):
    texts, _ = brute_force(logits)
    ids = [ids_of(text, logits) for text in texts]
    log_probs = np.broadcast_to(log_probabilities(logits), (len(ids), *logits.shape))
    assert text_log_probability(log_probs, ids).tolist() == close(list(texts.values()))
    assert total(list(texts.values())) == close(0)


@given(small)
def test_the_texts_of_each_length_have_the_probability_of_their_paths(logits):
    texts, _ = brute_force(logits)
    found = [float(length_log_probability(logits[None], n)[0]) for n in range(len(logits) + 2)]
    assert found == close([total([p for text, p in texts.items() if len(text) == n]) for n in range(len(logits) + 2)])
    assert total(found) == close(0)


@given(small)
def test_without_a_length_the_likeliest_text_is_found(logits):
    texts, _ = brute_force(logits)
    alphabet = alphabet_of(logits)
    (greedy,), (best,) = decode_greedy(logits[None], alphabet), decode_beam(logits[None], alphabet, WIDE)
    assert greedy.confidence == pytest.approx(math.exp(texts[greedy.text]))
    assert best.confidence == pytest.approx(math.exp(max(texts.values())))
    assert texts[best.text] == close(max(texts.values()))


@given(small)
def test_with_a_length_the_likeliest_text_of_that_length_is_found(logits):
    texts, paths = brute_force(logits)
    alphabet = alphabet_of(logits)
    for length in range(1, len(logits) + 1):
        of_length = {text: p for text, p in texts.items() if len(text) == length}
        if not of_length:
            for decode in decode_length, spell:
                assert f"length {length}" in refused(decode, logits[None], alphabet, length)
            assert f"length {length}" in refused(alternatives, logits, alphabet, length)
            continue
        everything, best = total(list(of_length.values())), max(of_length.values())
        (reading,) = decode_length(logits[None], alphabet, length, WIDE)
        assert of_length[reading.text] == close(best)
        assert reading.confidence == pytest.approx(math.exp(best - everything))
        (text,) = spell(logits[None], alphabet, length)
        assert paths[text] == close(max(paths[text] for text in of_length))
        seen = 1e-100  # far smaller shares may vanish beside the others
        found = {one.text: one.confidence for one in alternatives(logits, alphabet, length, WIDE)}
        shares = {text: math.exp(p - everything) for text, p in of_length.items() if p - everything > math.log(seen)}
        assert {text: share for text, share in found.items() if share > seen} == pytest.approx(shares, rel=1e-9)
        best = [one.confidence for one in alternatives(logits, alphabet, length, 3) if one.confidence > seen]
        assert best == pytest.approx(sorted(shares.values(), reverse=True)[:3], rel=1e-9)


@given(small, st.data())
def test_with_a_range_the_likeliest_text_of_these_lengths_is_found(logits, data):
    texts, _ = brute_force(logits)
    alphabet = alphabet_of(logits)
    least = data.draw(st.integers(1, len(logits)))
    most = data.draw(st.integers(least, len(logits)))
    within = {text: p for text, p in texts.items() if least <= len(text) <= most}
    if not within:
        assert "length" in refused(decode_length, logits[None], alphabet, (least, most))
        return
    (reading,) = decode_length(logits[None], alphabet, (least, most), WIDE)
    assert within[reading.text] == close(max(within.values()))
    assert reading.confidence == pytest.approx(math.exp(max(within.values()) - total(list(within.values()))))
    assert least <= len(spell(logits[None], alphabet, (least, most))[0]) <= most
    (first, *_) = alternatives(logits, alphabet, (least, most), WIDE)
    assert within[first.text] == close(max(within.values()))


@given(small)
def test_the_probability_of_each_character(logits):
    texts, _ = brute_force(logits)
    alphabet = alphabet_of(logits)
    for text, p in list(texts.items())[:20]:
        alike = {other: q for other, q in texts.items() if len(other) == len(text)}
        everything = total(list(alike.values()))
        if not text or everything < -600 or p - everything < -200:
            continue
        expected = [total([q for other, q in alike.items() if other[i] == text[i]]) for i in range(len(text))]
        found = character_probabilities(logits, text, alphabet)
        assert found == pytest.approx([math.exp(one - everything) for one in expected], rel=1e-9, abs=1e-200)


@pytest.mark.parametrize("length", ["5", 2.5, (1,), (3, 2), (0, 2), -1, (1, 2, 3), (2, 99), "4-6"])
def test_a_length_that_is_none(length):
    logits = np.zeros((1, 5, 3))
    for decode in (decode_length, spell):
        assert "length" in refused(decode, logits, Alphabet("ab"), length)


@given(small, st.integers(1, 4))
def test_without_a_length_the_likeliest_texts_come_first(logits, count):
    texts, _ = brute_force(logits)
    found = likely_texts(log_probabilities(logits), None, WIDE, count)
    found = [one for one in found if one[0] > -500]  # the beam holds plain numbers
    assert [p for p, _ in found] == close(sorted((p for p in texts.values() if p > -500), reverse=True)[:count])
    assert [p for p, _ in found] == close([texts[alphabet_of(logits).decode(text)] for _, text in found])


@given(any_size, st.integers(1, LONGEST), st.sampled_from([("_FEW_CLASSES", 0), ("_SMALLEST", np.inf)]))
def test_many_classes_and_logarithms_give_the_same(logits, length, other_way):
    """Running sums instead of products of matrices, which many classes get; logarithms, which small numbers get."""
    log_probs = log_probabilities(logits)
    ids = best_texts(log_probs[None])

    def results():
        found = likely_texts(log_probs, length, 64, 3) if length in can_be_spelt(logits, LONGEST) else []
        of_all = [of_lengths(log_probs[None], range(n, n + 1))[0] for n in range(LONGEST)]
        return [*of_all, *text_log_probability(log_probs[None], ids), *(p for p, _ in found)]

    expected = results()
    with mock.patch.object(lattice_module, *other_way):
        assert results() == close(expected)


@given(small, st.data())
def test_an_alignment_is_the_likeliest_path_of_its_text(logits, data):
    texts, paths = brute_force(logits)
    text = data.draw(st.sampled_from(sorted(texts)))
    log_probs = log_probabilities(logits)
    path = np.zeros(len(logits), int)
    for span in align(logits, text, alphabet_of(logits)):
        path[span.first : span.last + 1] = ids_of(span.character, logits)
    assert collapse(path.tolist()) == ids_of(text, logits)
    assert log_probs[np.arange(len(path)), path].sum() == close(paths[text])


# Lattices of any size


@given(any_size)
def test_best_path_decoding_spells_the_best_path(logits):
    alphabet = alphabet_of(logits)
    (reading,) = decode_greedy(logits[None], alphabet)
    assert ids_of(reading.text, logits) == collapse(logits.argmax(-1).tolist())
    assert spell(logits[None], alphabet) == [reading.text]
    assert is_share(reading)


@given(any_size)
@settings(max_examples=30)
def test_a_beam_is_never_less_likely_than_the_best_path(logits):
    (greedy,), (best,) = (decode(logits[None], alphabet_of(logits)) for decode in (decode_greedy, decode_beam))
    assert is_share(best)
    assert best.confidence >= greedy.confidence * (1 - 1e-12)


@given(any_size, st.integers(1, LONGEST))
def test_a_length_is_kept_wherever_it_can_be(logits, length):
    alphabet = alphabet_of(logits)
    if length not in can_be_spelt(logits, LONGEST):
        for decode in decode_length, spell:
            assert f"length {length}" in refused(decode, logits[None], alphabet, length)
        return
    (text,) = spell(logits[None], alphabet, length)
    for width in 1, 64:  # a narrow search does not lose the best path either
        (reading,) = decode_length(logits[None], alphabet, length, width)
        assert len(reading.text) == len(text) == length
        assert is_share(reading)
        assert -np.inf < log_probability(text, logits) <= log_probability(reading.text, logits) + 1e-9


@given(any_size)
def test_the_quick_way_keeps_every_length_that_can_be_kept(logits):
    steps = len(logits)
    for length in {1, steps // 2 + 1, steps}:
        if length in can_be_spelt(logits, length):
            (text,) = spell(logits[None], alphabet_of(logits), length)
            assert len(text) == length
            assert log_probability(text, logits) > -np.inf


@given(any_size, st.integers(0, LONGEST))
def test_alternatives_are_different_texts_that_share_at_most_everything(logits, length):
    if length and length not in can_be_spelt(logits, LONGEST):
        return
    alphabet = alphabet_of(logits)
    found = alternatives(logits, alphabet, length)
    assert len({one.text for one in found}) == len(found) <= 8
    assert all(is_share(one) and length in (0, len(one.text)) for one in found)
    assert math.fsum(one.confidence for one in found) <= 1 + 1e-9
    (best,) = decode_length(logits[None], alphabet, length) if length else decode_beam(logits[None], alphabet)
    assert found[0].confidence == pytest.approx(best.confidence)


@given(any_size, st.data())
def test_an_alignment_goes_from_left_to_right(logits, data):
    alphabet = alphabet_of(logits)
    (text,) = spell(logits[None], alphabet)
    if data.draw(st.booleans()):
        text = data.draw(st.text(alphabet.characters, max_size=len(logits)))
    if log_probability(text, logits) == -np.inf:
        assert f"text {text!r}" in refused(align, logits, text, alphabet)
        return
    spans = align(logits, text, alphabet)
    assert "".join(span.character for span in spans) == text
    assert all(0 <= span.first <= span.last < len(logits) and 0 <= span.probability <= 1 for span in spans)
    assert all(one.last < two.first for one, two in itertools.pairwise(spans))


@given(any_size, st.data())
def test_only_allowed_characters_are_read(logits, data):
    alphabet = alphabet_of(logits)
    logits[:, 0] = np.maximum(logits[:, 0], 0)  # the blank is possible, or an allowed text might not be
    allowed = "".join(data.draw(st.sets(st.sampled_from(alphabet.characters), min_size=1)))
    restricted = restrict(logits, alphabet, allowed)[None]
    texts = [*spell(restricted, alphabet), *(reading.text for reading in decode_greedy(restricted, alphabet))]
    texts += [reading.text for reading in decode_beam(restricted, alphabet, 4)]
    if 2 in can_be_spelt(restricted[0], 2):
        texts += [*spell(restricted, alphabet, 2), decode_length(restricted, alphabet, 2, 4)[0].text]
    assert set("".join(texts)) <= set(allowed)


@given(st.tuples(st.integers(2, 30), st.integers(2, 60)), st.data())
@settings(max_examples=30)
def test_pictures_are_decoded_alike_alone_and_in_a_batch(shape, data):
    batch = np.stack([data.draw(lattices(st.just(shape))) for _ in range(3)])
    alphabet = alphabet_of(batch)
    lengths = set.intersection(*(can_be_spelt(one, 3) for one in batch)) - {0}
    decoders = [decode_greedy, decode_beam, *(lambda *given, n=n: decode_length(*given, n) for n in lengths)]
    for decode in decoders:
        together, alone = decode(batch, alphabet), [decode(one[None], alphabet)[0] for one in batch]
        assert [r.text for r in together] == [r.text for r in alone]
        assert [r.confidence for r in together] == pytest.approx([r.confidence for r in alone])
    for n in {0} | lengths:
        assert spell(batch, alphabet, n) == [spell(one[None], alphabet, n)[0] for one in batch]


@given(st.floats(0, 1), st.floats(1e-3, 1e3))
def test_a_temperature_keeps_the_side_of_one_half(confidence, temperature):
    scaled = float(scale_confidence(confidence, temperature))
    assert 0 <= scaled <= 1
    assert (scaled - 0.5) * (confidence - 0.5) >= 0
    assert scaled == pytest.approx(float(expit(logit(confidence) / temperature)), rel=1e-9, abs=1e-300)


# Invalid lattices

DECODERS = {
    "greedy": decode_greedy,
    "beam": decode_beam,
    "length": lambda logits, alphabet: decode_length(logits, alphabet, 1),
    "spell": spell,
    "spell a length": lambda logits, alphabet: spell(logits, alphabet, 1),
    "restrict": lambda logits, alphabet: restrict(logits, alphabet, alphabet.characters[:1]),
    "alternatives": lambda logits, alphabet: alternatives(logits[-1], alphabet, 1),
    "align": lambda logits, alphabet: align(logits[-1], "a", alphabet),
    "probabilities": lambda logits, alphabet: log_probabilities(logits),
    "length's probability": lambda logits, alphabet: length_log_probability(logits, 1),
}


@given(any_size, st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_what_is_not_finite_is_refused(logits, what, data):
    step = data.draw(st.integers(0, len(logits) - 1))
    if what == -np.inf:  # a time step without any class
        logits[step] = what
    else:
        logits[step, data.draw(st.integers(0, logits.shape[1] - 1))] = what
    for decode in DECODERS.values():
        assert f"time step {step}" in refused(decode, np.stack([np.zeros_like(logits), logits]), alphabet_of(logits))


def test_the_refusal_names_the_picture():
    logits = np.zeros((3, 5, 4))
    logits[2, 1, 0] = np.nan
    assert "time step 1 of picture 2 is not finite" in refused(spell, logits, ABC)
    assert "scores: time step 1 is not finite" in refused(align, logits[2], "a", ABC)


@given(st.integers(1, 60), st.integers(2, 60))
def test_no_pictures_no_readings(steps, classes):
    nothing = np.zeros((0, steps, classes), np.float32)
    alphabet = alphabet_of(nothing)
    for decode in (decode_greedy, decode_beam, DECODERS["length"], spell, DECODERS["spell a length"]):
        assert decode(nothing, alphabet) == []
    assert length_log_probability(nothing, 1).shape == (0,)
    assert restrict(nothing, alphabet, "a").shape == nothing.shape


def test_differences_too_large_for_a_double_are_no_end_of_a_text():
    """The blank is e^5000 times as likely as any character, and so "ab" has a probability that no double holds."""
    logits = np.zeros((4, 3))
    logits[:, 0], logits[1, 1], logits[3, 2] = 5000, 2000, 1000
    alphabet = Alphabet("ab")
    (reading,) = decode_length(logits[None], alphabet, 2)
    assert [(span.first, span.last) for span in align(logits, "ab", alphabet)] == [(1, 1), (3, 3)]
    assert (reading.text, reading.confidence) == ("ab", pytest.approx(1))
    assert alternatives(logits, alphabet, 2)[0] == reading
    assert float(length_log_probability(logits[None], 2)[0]) == pytest.approx(-3000 - 4000)


# Against torch and fast-ctc-decode


@given(any_size, st.data())
def test_text_log_probability_is_the_ctc_loss(logits, data):
    alphabet = alphabet_of(logits)
    texts = [data.draw(st.text(alphabet.characters, max_size=len(logits) + 1)) for _ in range(3)]
    batch = np.tile(np.maximum(logits, -50), (3, 1, 1)).astype(float)
    ours = text_log_probability(log_probabilities(batch), [ids_of(text, logits) for text in texts])
    theirs = -ctc_loss(torch.from_numpy(batch), *alphabet.encode_batch(texts)).numpy()
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


@given(st.integers(0, 10**6), st.floats(1, 6), st.sampled_from([4, 16]))
def test_search_agrees_with_fast_ctc_decode(seed, scale, width):
    probabilities = np.exp(log_probabilities(lattice(seed, (20, 6), "noise", scale, 0.0)))
    first = _beam(probabilities, width)[0]
    found = fast_ctc_decode.beam_search(probabilities.astype(np.float32), "-abcde", width, beam_cut_threshold=0.0)
    assert Alphabet("abcde").decode(first) == found[0]


# By hand


def written(path: str, alphabet: Alphabet = ABC) -> np.ndarray:
    """A lattice whose best path is given, "-" is the blank: "aa-b" -> (4, 4)."""
    return 6.0 * np.eye(4)[[("-" + alphabet.characters).index(c) for c in path]]


def test_the_beam_beats_the_best_path():
    """Blank is likeliest at each step (0.6 * 0.6 = 0.36), but "a" has three paths (0.64): Graves 2006, figure 2."""
    logits = np.log([[[0.6, 0.4], [0.6, 0.4]]])
    assert decode_greedy(logits, Alphabet("a"))[0].text == ""
    assert decode_beam(logits, Alphabet("a")) == [Reading("a", pytest.approx(0.64))]


@pytest.mark.parametrize("decode", [decode_length, spell])
@pytest.mark.parametrize("length", [-1, 7])
def test_a_length_out_of_range_is_refused(decode, length):
    assert str(length) in refused(decode, np.zeros((1, 6, 4)), ABC, length)


@given(st.lists(st.integers(0, 3), max_size=12))
def test_collapse_agrees_with_grouping(path):
    assert collapse(path) == tuple(k for k, _ in itertools.groupby(path) if k)


@pytest.mark.parametrize("text", ["11", "1111", "aabbaa"])
@pytest.mark.parametrize("between", ["-", "--"])
def test_no_decoder_merges_or_cuts_doubles(text, between):
    """With one blank between all neighbours the lattice has not a step to spare."""
    alphabet = Alphabet("1ab")
    logits = written(between.join(text), alphabet)[None]
    readings = [*decode_greedy(logits, alphabet), *decode_beam(logits, alphabet)]
    readings += decode_length(logits, alphabet, len(text))
    assert [reading.text for reading in readings] == [text] * 3
    assert spell(logits, alphabet) == spell(logits, alphabet, len(text)) == [text]


@given(small, st.data())
def test_restrict_renormalises_what_is_left(logits, data):
    alphabet = alphabet_of(logits)
    allowed = "".join(data.draw(st.sets(st.sampled_from(alphabet.characters), min_size=1)))
    logits[:, 0] = np.maximum(logits[:, 0], 0)
    kept = [0, *sorted(ids_of(allowed, logits))]
    before, after = log_probabilities(logits), np.exp(log_probabilities(restrict(logits, alphabet, allowed)))
    for k, character in enumerate(alphabet.characters, 1):
        if character not in allowed and character.swapcase() in allowed:  # it counts for its other case
            twin = alphabet.characters.index(character.swapcase()) + 1
            before[:, twin] = np.logaddexp(before[:, twin], before[:, k])
    expected = np.exp(before[:, kept] - np.logaddexp.reduce(before[:, kept], axis=-1, keepdims=True))
    assert after[:, kept] == pytest.approx(expected, abs=1e-6)
    assert after.sum() == pytest.approx(after[:, kept].sum())


def test_the_case_that_is_not_allowed_counts_for_the_one_that_is():
    cases = Alphabet("Aab")
    scores = np.log([[0.1, 0.3, 0.4, 0.2]])
    assert np.exp(restrict(scores, cases, "Ab")) == pytest.approx(np.array([[0.1, 0.7, 0, 0.2]]))
    assert np.exp(restrict(scores, cases, "Aab")) == pytest.approx(np.exp(scores)), "with both nothing is folded"


def test_only_known_characters_can_be_allowed():
    assert np.array_equal(restrict(written("ab-c"), ABC, "cab"), written("ab-c")), "allowing everything changes nothing"
    assert "'z'" in refused(restrict, np.zeros((1, 5, 4)), ABC, "az")


def test_align_by_hand():
    spans = align(written("-aa-bb--c"), "abc", ABC)
    sure = pytest.approx(math.exp(6) / (math.exp(6) + 3))
    assert spans == [Span("a", 1, 2, sure), Span("b", 4, 5, sure), Span("c", 8, 8, sure)]


@pytest.mark.parametrize(("steps", "text"), [(2, "abc"), (2, "aa"), (4, "ababb")])
def test_align_refuses_a_text_that_is_too_long(steps, text):
    assert "too few" in refused(align, np.zeros((steps, 4)), text, ABC)
