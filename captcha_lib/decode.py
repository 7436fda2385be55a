"""From scores to text: greedy, prefix beam search, exact length; each text with its probability; and the alignment.

A path names one class for each of the T time steps; it spells a text by merging equal neighbours and dropping blanks.
The probability of a text is the sum over all the paths that spell it (Graves et al., ICML 2006, section 3.1); it is
exp(-ctc_loss). Greedy and beam report this number, whatever way they searched; exact length reports the text's share of
the probability of all texts of that length.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from captcha_lib.alphabet import BLANK, Alphabet
from captcha_lib.config import InputError
from captcha_lib.model import ctc_loss

Prefix = tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """A text, and its probability in 0..1, given what was known of it: its length, its characters."""

    text: str
    confidence: float


@dataclass(frozen=True)
class Span:
    """The time steps first..last, both included, that spelt one character, and the mean probability it has there."""

    character: str
    first: int
    last: int
    probability: float


def restrict(logits: torch.Tensor, alphabet: Alphabet, allowed: str) -> torch.Tensor:
    """Rules out every character that is not in `allowed`, (..., K) -> (..., K); probabilities then sum to 1 without it.

    Raises:
        InputError: no allowed character, or one that the network does not know.
    """
    if not allowed:
        raise InputError("alphabet: it is empty; name at least one character that may occur")
    unknown = sorted(set(allowed) - set(alphabet.characters))
    if unknown:
        raise InputError(f"alphabet {allowed!r}: {unknown[0]!r} is not in the alphabet {alphabet.characters!r}")
    ruled_out = torch.ones(alphabet.num_classes, dtype=torch.bool)
    ruled_out[[BLANK, *alphabet.encode(allowed).tolist()]] = False
    return logits.masked_fill(ruled_out, -torch.inf)


def decode_greedy(logits: torch.Tensor, alphabet: Alphabet) -> list[Reading]:
    """Takes the likeliest class of every time step, merges equal neighbours, drops blanks: (B, T, K) -> B readings."""
    return _likeliest(logits, _best_paths(logits), alphabet)


def decode_beam(logits: torch.Tensor, alphabet: Alphabet, width: int = 16) -> list[Reading]:
    """Prefix beam search (Hannun et al., arXiv:1408.2873, algorithm 1, without a language model).

    It searches only where the text of the best path has a probability of at most one half: nothing beats more.

    Args:
        logits: scores.
        alphabet: the characters of the classes.
        width: prefixes kept at each time step.

    Shape:
        (B, T, K) -> B readings.
    """
    readings = decode_greedy(logits, alphabet)
    unsure = _unsure(readings)
    # the greedy text competes, too: a narrow beam may have lost it
    greedy = [tuple(alphabet.encode(readings[i].text).tolist()) for i in unsure]
    texts = [{*_search(probs, width, None), text} for probs, text in zip(_probs(logits[unsure]), greedy, strict=True)]
    return _replaced(readings, unsure, _likeliest(logits[unsure], texts, alphabet))


def decode_length(logits: torch.Tensor, alphabet: Alphabet, length: int, width: int = 8) -> list[Reading]:
    """The likeliest text of exactly `length` characters; its confidence is its share of all the texts of that length.

    Args:
        logits: scores.
        alphabet: the characters of the classes.
        length: L, in characters.
        width: prefixes of each length kept at each time step; what is found is ranked by its exact probability.

    Shape:
        (B, T, K) -> B readings.

    Raises:
        InputError: a length that no text spelt in T steps can have.
    """
    if not 1 <= length <= logits.shape[1]:
        raise InputError(f"length {length}: give 1 to {logits.shape[1]}, the network's time steps, or 0 for any length")
    total = length_log_probability(logits, length)
    if total.isneginf().any():
        raise InputError(f"length {length}: no text of that length can be spelt in {logits.shape[1]} time steps")
    readings = _likeliest(logits, _best_paths(logits), alphabet, total)
    unsure = sorted({*_unsure(readings), *(i for i, reading in enumerate(readings) if len(reading.text) != length)})
    texts = [_search(probs, width, length) for probs in _probs(logits[unsure])]
    return _replaced(readings, unsure, _likeliest(logits[unsure], texts, alphabet, total[unsure]))


def length_log_probability(logits: torch.Tensor, length: int) -> torch.Tensor:
    """The log-probability that a path spells any text of exactly `length` characters: (B, T, K) -> (B,) float64.

    Paths are counted by how many characters they have spelt, 0..L, and by the class that they are on.
    """
    log_probs = logits.double().log_softmax(-1)
    batch, steps, classes = log_probs.shape
    ways = torch.full((batch, length + 1, classes), -torch.inf, dtype=torch.float64)
    ways[:, 0, BLANK] = 0
    for t in range(steps):
        arrived = torch.full_like(ways, -torch.inf)
        arrived[:, 1:] = _from_other_classes(ways[:, :-1])
        stayed = ways.logaddexp(arrived)
        stayed[:, :, BLANK] = ways.logsumexp(-1)  # to the blank from anywhere, nothing new is spelt
        ways = stayed + log_probs[:, t, None, :]
    return ways[:, length].logsumexp(-1)


def collapse(path: list[int]) -> Prefix:
    """Merges equal neighbours, then drops blanks: [4, 4, 0, 4, 2] -> (4, 4, 2)."""
    return tuple(k for k, before in zip(path, [BLANK, *path], strict=False) if k not in (before, BLANK))


def align(logits: torch.Tensor, text: str, alphabet: Alphabet) -> list[Span]:
    """The time steps that spelt each character, on the likeliest path that spells `text` (Viterbi).

    Args:
        logits: (T, K).
        text: L characters.
        alphabet: the characters of the classes.

    Raises:
        InputError: T is too short for the text.
    """
    log_probs = logits.detach().double().log_softmax(-1)  # (T, K)
    ids = alphabet.encode(text).tolist()
    states = [BLANK] + [k for i in ids for k in (i, BLANK)]  # (2L + 1,), blank at every even place
    steps_back = [
        [0, 1, 2] if s >= 2 and k != BLANK and k != states[s - 2] else [0, 1] if s else [0]
        for s, k in enumerate(states)
    ]
    scores = log_probs.numpy()[:, states]  # (T, 2L + 1)
    best = np.full(len(states), -np.inf)
    best[:2] = scores[0, :2]
    came_from = []
    for t in range(1, len(scores)):
        step = [max(back, key=lambda b: best[s - b]) for s, back in enumerate(steps_back)]
        best = np.array([best[s - b] for s, b in enumerate(step)]) + scores[t]
        came_from.append(step)
    state = max(range(max(0, len(states) - 2), len(states)), key=lambda s: best[s])
    if best[state] == -np.inf:
        raise InputError(f"text {text!r}: {len(scores)} time steps are too few to spell it")
    path = [state]
    for step in reversed(came_from):
        path.append(path[-1] - step[path[-1]])
    path.reverse()
    steps_of = [[t for t, s in enumerate(path) if s == 2 * i + 1] for i in range(len(ids))]
    return [_span(char, steps, log_probs[:, k].exp()) for char, steps, k in zip(text, steps_of, ids, strict=True)]


def _span(char: str, steps: list[int], probs: torch.Tensor) -> Span:
    return Span(char, steps[0], steps[-1], float(probs[steps].mean()))


def _search(probs: np.ndarray, width: int, length: int | None) -> list[Prefix]:
    """Prefix beam search over one picture, (T, K) -> the prefixes that are left, those of `length` if it is given.

    Each prefix carries two numbers: the probability of the paths that end in a blank, and of those that end in its
    last class. Without this, "4cc2" would be merged to "4c2". They are rescaled each step so as not to vanish.
    """
    beams: dict[Prefix, tuple[float, float]] = {(): (1.0, 0.0)}
    for frame in probs.tolist():
        grown: dict[Prefix, list[float]] = {}
        for prefix, (blank, last) in beams.items():
            stay = grown.setdefault(prefix, [0.0, 0.0])
            stay[0] += (blank + last) * frame[BLANK]
            stay[1] += last * frame[prefix[-1]] if prefix else 0.0
            if len(prefix) == length:
                continue
            for k in range(1, len(frame)):
                before = blank if prefix and k == prefix[-1] else blank + last
                grown.setdefault((*prefix, k), [0.0, 0.0])[1] += before * frame[k]
        ranked = sorted(grown.items(), key=lambda item: -sum(item[1]))
        if length is None:
            kept = ranked[:width]
        else:  # the best of every length: a short prefix may be unlikely now and the only way to the end
            kept = [item for n in range(length + 1) for item in [b for b in ranked if len(b[0]) == n][:width]]
        scale = sum(map(sum, grown.values())) or 1.0
        beams = {prefix: (blank / scale, last / scale) for prefix, (blank, last) in kept}
    return [prefix for prefix in beams if length is None or len(prefix) == length]


def _likeliest(
    logits: torch.Tensor, texts: list[Collection[Prefix]], alphabet: Alphabet, total: torch.Tensor | None = None
) -> list[Reading]:
    """Ranks the candidates of each picture by their exact probability: (B, T, K) and B collections -> B readings.

    `total` (B,) is the log-probability of what is taken as given; confidences are shares of it.
    """
    owner = torch.tensor([i for i, candidates in enumerate(texts) for _ in candidates], dtype=torch.long)
    flat = [torch.tensor(ids, dtype=torch.long) for candidates in texts for ids in candidates]
    if not flat:
        return []
    padded = torch.nn.utils.rnn.pad_sequence([*flat, torch.zeros(1, dtype=torch.long)], batch_first=True)[:-1]
    log_p = -ctc_loss(logits.detach()[owner].double(), padded, torch.tensor([len(ids) for ids in flat]))
    if total is not None:
        log_p = log_p - total[owner]
    readings = []
    for i in range(len(texts)):
        mine = (owner == i).nonzero()[:, 0]
        best = mine[log_p[mine].argmax()]
        readings.append(Reading(alphabet.decode(flat[best].tolist()), float(log_p[best].clamp(max=0).exp())))
    return readings


def _best_paths(logits: torch.Tensor) -> list[list[Prefix]]:
    return [[collapse(path)] for path in logits.argmax(-1).tolist()]


def _probs(logits: torch.Tensor) -> np.ndarray:
    return logits.detach().double().softmax(-1).numpy()


def _unsure(readings: list[Reading]) -> list[int]:
    """The readings that another text could beat: a probability over one half leaves no room for a likelier one."""
    return [i for i, reading in enumerate(readings) if reading.confidence <= 0.5]


def _replaced(readings: list[Reading], rows: list[int], better: list[Reading]) -> list[Reading]:
    better_of = dict(zip(rows, better, strict=True))
    return [better_of.get(i, reading) for i, reading in enumerate(readings)]


def _from_other_classes(ways: torch.Tensor) -> torch.Tensor:
    """The log-sum over all classes but the own one, in the last dimension: (..., K) -> (..., K)."""
    own = torch.eye(ways.shape[-1], dtype=torch.bool)
    return ways[..., None, :].expand(*ways.shape, ways.shape[-1]).masked_fill(own, -torch.inf).logsumexp(-1)
