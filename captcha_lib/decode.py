"""From scores to text: greedy, prefix beam search, exact length; each text with its probability; and the alignment.

Greedy and beam report the probability of a text among all texts, whatever way they found it; exact length reports its
share of the probability of all texts of that length. See `lattice` for what these probabilities are.

Scores are arrays or tensors on the CPU; -inf rules a class out. NaN and +inf raise an InputError, and so do a time step
that rules out all classes and a length that no text spelt in T steps can have. All of this is NumPy, so that reading
with ONNX Runtime needs no torch.
"""

from dataclasses import dataclass
from operator import index

import numpy as np
from numpy.typing import ArrayLike

from captcha_lib.alphabet import BLANK, Alphabet, written_order
from captcha_lib.config import InputError
from captcha_lib.lattice import (
    Prefix,
    best_text_of_length,
    best_texts,
    checked,
    likely_texts,
    log_probabilities,
    of_characters,
    of_lengths,
    text_log_probability,
    unspellable,
)

Length = int | tuple[int, int]  # characters of a text: a number, 0 for any, or the least and the most
_HALF = np.log(0.5)


@dataclass(frozen=True)
class Reading:
    """A text, and its probability in 0..1, given what was known of it: its length, its characters.

    Where they were asked for: less likely texts, and the probability of each character at its place, both not
    calibrated. The `note` says what was done to the picture.
    """

    text: str
    confidence: float
    alternatives: tuple["Reading", ...] = ()
    characters: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Span:
    """The time steps first..last, both included, that spelt one character, and the mean probability it has there."""

    character: str
    first: int
    last: int
    probability: float


def restrict(logits: ArrayLike, alphabet: Alphabet, allowed: str) -> np.ndarray:
    """Rules out all characters but those `allowed`, which must be known, (..., K) -> (..., K); these then sum to 1.

    Where only one case of a letter is allowed, the other's probability counts for it.
    """
    if not allowed:
        raise InputError("alphabet: it is empty; name at least one character that may occur")
    if unknown := sorted(set(allowed) - set(alphabet.characters)):
        raise InputError(f"alphabet {allowed!r}: {unknown[0]!r} is not in the alphabet {alphabet.characters!r}")
    ruled_out = np.ones(alphabet.num_classes, dtype=bool)
    ruled_out[[BLANK, *alphabet.encode(allowed)]] = False
    scores = np.where(ruled_out, -np.inf, given := checked(logits))
    for k, character in enumerate(alphabet.characters, 1):
        if ruled_out[k] and (twin := character.swapcase()) in allowed and len(twin) == 1:
            twin_k = alphabet.characters.index(twin) + 1
            scores[..., twin_k] = np.logaddexp(scores[..., twin_k], given[..., k])
    return scores


def decode_greedy(logits: ArrayLike, alphabet: Alphabet) -> list[Reading]:
    """Takes the likeliest class of every time step, merges equal neighbours, drops blanks: (B, T, K) -> B readings."""
    log_probs = log_probabilities(logits)
    ids = best_texts(log_probs)
    return _readings(ids, text_log_probability(log_probs, ids), alphabet)


def decode_beam(logits: ArrayLike, alphabet: Alphabet, width: int = 16) -> list[Reading]:
    """Prefix beam search (Hannun et al., arXiv:1408.2873, algorithm 1, no language model): (B, T, K) -> B readings.

    It searches only where the text of the best path has a probability of at most one half: nothing beats more. `width`
    prefixes are kept at each time step, and what is found is ranked by its exact probability.
    """
    log_probs = log_probabilities(logits)
    ids = best_texts(log_probs)
    log_p = text_log_probability(log_probs, ids)
    for i in np.flatnonzero(log_p <= _HALF):
        ((log_p[i], ids[i]),) = likely_texts(log_probs[i], None, width)
    return _readings(ids, log_p, alphabet)


def decode_length(
    logits: ArrayLike, alphabet: Alphabet, length: Length, width: int = 64, among_all: bool = False
) -> list[Reading]:
    """The likeliest text of exactly `length` characters, (B, T, K) -> B readings; see `lattice.likely_texts`.

    With a length such as (4, 6) texts of 4, 5 and 6 characters are compared. The confidence is the share of all the
    texts of these lengths; or `among_all` texts of any length, which is small where the picture shows none of these.
    """
    log_probs = log_probabilities(logits)
    lengths = _lengths(length, log_probs.shape[1])
    total = _checked_total(log_probs, lengths)
    ids = best_texts(log_probs)
    log_p = text_log_probability(log_probs, ids)
    log_p[[len(text) not in lengths for text in ids]] = -np.inf
    for i in np.flatnonzero(log_p - total <= _HALF):
        for n in _spellable(log_probs[i], lengths):
            for found in likely_texts(log_probs[i], n, width, floor=log_p[i]):
                if found[0] > log_p[i]:
                    log_p[i], ids[i] = found
    return _readings(ids, log_p if among_all else log_p - total, alphabet)


def alternatives(logits: ArrayLike, alphabet: Alphabet, length: Length, width: int = 8) -> list[Reading]:
    """The likeliest texts of `length` characters, 0 for any, best first: (T, K) -> at most `width` readings."""
    log_probs = log_probabilities(logits)
    lengths = _lengths(length, len(log_probs)) if length else None
    total = _checked_total(log_probs[None], lengths)[0] if lengths else 0.0
    kept = max(64 if lengths else 16, 2 * width)
    found = [
        one
        for n in (_spellable(log_probs, lengths) if lengths else [None])
        for one in likely_texts(log_probs, n, kept, width)
    ]
    found = sorted(found, key=lambda one: -one[0])[:width]
    readings = _readings([text for _, text in found], np.array([p for p, _ in found]) - total, alphabet)
    return [reading for reading in readings if reading.confidence > 0]


def character_probabilities(logits: ArrayLike, text: str, alphabet: Alphabet) -> tuple[float, ...]:
    """How likely each of the L characters of a text is at its place, among texts of that length: (T, K) -> (L,)."""
    if not text:
        return ()
    log_probs = log_probabilities(logits)
    log_p = of_characters(log_probs, tuple(alphabet.encode(text).tolist()))
    total = _checked_total(log_probs[None], range(len(text), len(text) + 1))
    found = np.exp(np.minimum(log_p - total, 0)).tolist()
    return tuple(found[i] for i in np.argsort(written_order(text)))


def spell(logits: ArrayLike, alphabet: Alphabet, length: Length = 0) -> list[str]:
    """The text of the likeliest path among those that spell `length` characters, 0 for any: (B, T, K) -> B texts.

    It is quicker than the decoders above, since it looks at paths instead of texts and gives no confidence.
    """
    scores = checked(logits)
    ids = best_texts(scores)
    lengths = _lengths(length, scores.shape[1]) if length else None
    for i in [i for i, text in enumerate(ids) if lengths and len(text) not in lengths]:
        log_probs = log_probabilities(scores[i])
        texts = [best_text_of_length(log_probs, n) for n in _spellable(log_probs, lengths or range(0))]
        ids[i] = texts[int(text_log_probability(np.stack([log_probs] * len(texts)), texts).argmax())]
    return [alphabet.decode(text) for text in ids]


def align(logits: ArrayLike, text: str, alphabet: Alphabet) -> list[Span]:
    """The time steps that spelt each character of `text` on its likeliest path (Viterbi), (T, K) -> L spans.

    Raises InputError if T is too short for the text, or what it needs is ruled out.
    """
    log_probs = log_probabilities(logits)  # (T, K)
    ids = alphabet.encode(text)
    states = np.full(2 * len(ids) + 1, BLANK)  # blank at every even place
    states[1::2] = ids
    no_skip = np.full(len(states), -np.inf)  # over a blank, unless it parts two equal characters
    no_skip[1::2][np.diff(ids, prepend=BLANK) != 0] = 0
    best = np.full(len(states) + 2, -np.inf)  # two more come first; every path begins in the second
    best[1] = 0
    came_from = []  # for each step, how many states back each state's path was
    for frame in log_probs[:, states]:
        ways = np.array([best[2:], best[1:-1], best[:-2] + no_skip])
        came_from.append(ways.argmax(0).tolist())
        best = np.concatenate([[-np.inf] * 2, ways.max(0) + frame])
    state = int(best[-2:].argmax()) + len(states) - 2
    if np.isneginf(best[state + 2]):
        raise InputError(f"text {text!r}: {len(log_probs)} time steps are too few to spell it, or they rule it out")
    steps_of: list[list[int]] = [[] for _ in states]
    for t, back in reversed(list(enumerate(came_from))):
        steps_of[state].insert(0, t)
        state -= back[state]
    probs = np.exp(log_probs)
    return [
        Span(alphabet.characters[k - 1], steps[0], steps[-1], float(probs[steps, k].mean()))
        for steps, k in zip(steps_of[1::2], ids, strict=True)
    ]


def scale_confidence(confidence: ArrayLike, temperature: float) -> np.ndarray:
    """Divides the log-odds of probabilities by the temperature (Guo et al., ICML 2017, section 4.2; two classes)."""
    probability = np.asarray(confidence, dtype=np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        log_odds = np.log(probability) - np.log1p(-probability)
        return np.asarray(1 / (1 + np.exp(-log_odds / temperature)))


def _readings(ids: list[Prefix], log_p: np.ndarray, alphabet: Alphabet) -> list[Reading]:
    confidences = np.exp(np.minimum(log_p, 0)).tolist()
    return [Reading(alphabet.decode(text), p) for text, p in zip(ids, confidences, strict=True)]


def _checked_total(log_probs: np.ndarray, lengths: range) -> np.ndarray:
    """The log-probability of all texts of these lengths, (B, T, K) -> (B,); raises InputError where there are none."""
    total = of_lengths(log_probs, lengths)
    if np.isneginf(total).any():
        raise unspellable(lengths[0], log_probs.shape[1])
    return total


def _spellable(log_probs: np.ndarray, lengths: range) -> list[int]:
    """The lengths among these that some path has, (T, K); raises InputError where there is none."""
    found = [n for n in lengths if of_lengths(log_probs[None], range(n, n + 1))[0] > -np.inf]
    if not found:
        raise unspellable(lengths[0], len(log_probs))
    return found


def _lengths(length: Length, steps: int) -> range:
    """The lengths that are meant; raises InputError for what is none, or is more than `steps` can spell."""
    try:
        least, most = map(index, length if isinstance(length, tuple) else (length, length))
    except (TypeError, ValueError):
        raise InputError(f"length {length!r}: give a number, 0 for any, or two such as (4, 6)") from None
    if not 1 <= least <= most <= steps:
        raise InputError(f"length {length}: give 1 to {steps}, the network's time steps, or 0 for any length")
    return range(least, most + 1)
