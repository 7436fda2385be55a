"""Probabilities over a lattice: of a text, of a length; the search for the likeliest texts and paths.

A path names one class for each of the T time steps; it spells a text by merging equal neighbours and dropping blanks.
The probability of a text, exp(-ctc_loss), is the sum over its paths (Graves et al., ICML 2006, section 3.1).

Sums are taken over plain probabilities, which is quick. What vanishes, below 1e-308, is no part of a sum above 1e-250;
smaller sums are taken again over logarithms. Nothing is ever subtracted.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from heapq import heappushpop

import numpy as np
from numpy.typing import ArrayLike

from captcha_lib.alphabet import BLANK
from captcha_lib.config import InputError

Prefix = tuple[int, ...]
_SMALLEST = np.log(1e-250)
_FEW_CLASSES = 64  # up to here a product of matrices is quicker than running sums


@dataclass(frozen=True)
class _Semiring:
    """What stands for the sum and the product of probabilities, and for 0 and 1."""

    plus: np.ufunc
    times: np.ufunc
    zero: float
    one: float

    def dot(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The product of two matrices, (N, T), (T, K) -> (N, K)."""
        if self is _PLAIN:
            return a @ b
        out = np.full((len(a), b.shape[1]), self.zero)
        for column, row in zip(a.T, b, strict=True):
            out = self.plus(out, self.times(column[:, None], row))
        return out


_PLAIN = _Semiring(np.add, np.multiply, 0.0, 1.0)
_LOGS = _Semiring(np.logaddexp, np.add, -np.inf, 0.0)
_PATHS = _Semiring(np.maximum, np.add, -np.inf, 0.0)  # logarithms of the likeliest path instead of the sum


def checked(logits: ArrayLike) -> np.ndarray:
    """The same scores as an array, (..., T, K); InputError where they hold NaN or +inf, or rule out all classes."""
    scores = np.asarray(logits)
    best = scores.max(-1)
    if np.isfinite(best).all():
        return scores
    *picture, step = np.argwhere(~np.isfinite(best))[0].tolist()
    where = f"time step {step} of picture {picture[-1]}" if picture else f"time step {step}"
    if np.isneginf(best[*picture, step]):
        raise InputError(f"scores: {where} rules out every class; allow more characters or use other weights")
    raise InputError(f"scores: {where} is not finite; the network is damaged, use other weights or train again")


def log_probabilities(logits: ArrayLike) -> np.ndarray:
    """Scores that pass `checked` to log-probabilities in double precision, (..., T, K) -> (..., T, K)."""
    scores = checked(logits).astype(np.float64)
    scores -= scores.max(-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def collapse(path: list[int]) -> Prefix:
    """Merges equal neighbours, then drops blanks: [4, 4, 0, 4, 2] -> (4, 4, 2)."""
    return tuple(k for k, before in zip(path, [BLANK, *path], strict=False) if k not in (before, BLANK))


def best_texts(scores: np.ndarray) -> list[Prefix]:
    """What the best paths spell: (B, T, K) -> B texts as class ids."""
    return [collapse(path) for path in scores.argmax(-1).tolist()]


def best_text_of_length(log_probs: np.ndarray, length: int) -> Prefix:
    """What the likeliest path with `length` characters spells, (T, K) -> class ids (Viterbi); InputError if none."""
    text: list[int] = []
    k = BLANK
    for weights in [now[:, 0] for now in _completions(_PATHS, log_probs[None], length)][::-1]:
        to_come = length - len(text)
        scores = weights[to_come - 1].copy() if to_come else np.full(weights.shape[1], -np.inf)  # of new characters
        scores[[BLANK, k]] = weights[to_come, [BLANK, k]]
        before, k = k, int(scores.argmax())
        if np.isneginf(scores[k]):
            raise unspellable(length, len(log_probs))
        text += [k] * (k not in (BLANK, before))
    return tuple(text)


def text_log_probability(log_probs: np.ndarray, ids: list[Prefix]) -> np.ndarray:
    """The log-probability of one text a picture: (B, T, K) and B texts as class ids -> (B,) float64.

    By the forward algorithm (Graves et al. 2006, equations 6 to 8).
    """
    lengths = np.array([len(text) for text in ids], dtype=int)
    states = np.full((len(ids), 2 * max(lengths, default=0) + 1), BLANK)  # (B, S): blank at every even place
    for row, text in zip(states, ids, strict=True):
        row[1 : 2 * len(text) : 2] = text
    return _logs(_of_texts, log_probs, states, lengths)


def length_log_probability(logits: ArrayLike, length: int) -> np.ndarray:
    """The log-probability that a path spells any text of exactly `length` characters: (B, T, K) -> (B,) float64."""
    return of_lengths(log_probabilities(logits), range(length, length + 1))


def of_lengths(log_probs: np.ndarray, lengths: range) -> np.ndarray:
    """The log-probability of all texts whose length is one of `lengths`: (B, T, K) -> (B,)."""
    return _logs(lambda ring, values: _of_lengths(ring, values, lengths), log_probs)


def of_characters(log_probs: np.ndarray, ids: Prefix) -> np.ndarray:
    """The log-probability of all texts of L characters whose i-th is ids[i], for each i: (T, K) -> (L,)."""
    return _logs(lambda ring, values: np.stack([_of_characters(ring, one, ids) for one in values]), log_probs[None])[0]


def unspellable(length: int, steps: int) -> InputError:
    """The error for a length that no path has."""
    return InputError(f"length {length}: no text of that length can be spelt in {steps} time steps")


def likely_texts(
    log_probs: np.ndarray, length: int | None, width: int, count: int = 1, floor: float = -np.inf
) -> list[tuple[float, Prefix]]:
    """The `count` likeliest texts of one picture (T, K), or fewer, with their log-probabilities; the likeliest first.

    The text of the likeliest path is among those compared.
    With a length it is prefix search (Graves et al. 2006, section 3.2), exact unless `width` prefixes are too few.
    Without a length it is prefix beam search (Hannun et al., arXiv:1408.2873, algorithm 1, without a language model).

    Args:
        length: of the texts; None allows any.
        width: prefixes that are kept: of each length, or at each time step.
        floor: the log-probability of the likeliest path's text if it has that length; only likelier ones are wanted.
    """
    if length is None:
        return _ranked(log_probs, [*_beam(np.exp(log_probs), width), *best_texts(log_probs[None])])[:count]
    p, texts, left_out = _prefix_search(_PLAIN, np.exp(log_probs), length, width, np.exp(floor))
    log_p, left_out = np.log(p), np.log(max(left_out, 1e-300))
    if max(floor, log_p.max(initial=-np.inf)) < _SMALLEST:
        log_p, texts, left_out = _prefix_search(_LOGS, log_probs, length, width, floor)
    found = [(float(log_p[i]), tuple(texts[i].tolist())) for i in np.argsort(-log_p, kind="stable")[:count]]
    if floor > -np.inf or left_out <= found[-1][0]:
        return found
    return _ranked(log_probs, [*(text for _, text in found), best_text_of_length(log_probs, length)])[:count]


def _ranked(log_probs: np.ndarray, texts: list[Prefix]) -> list[tuple[float, Prefix]]:
    """Different texts of one picture (T, K) with their log-probabilities, the likeliest first."""
    texts = list(dict.fromkeys(texts))
    log_p = text_log_probability(np.broadcast_to(log_probs, (len(texts), *log_probs.shape)), texts)
    return sorted(((p, t) for p, t in zip(log_p.tolist(), texts, strict=True) if p > -np.inf), key=lambda one: -one[0])


def _beam(probs: np.ndarray, width: int) -> list[Prefix]:
    """Prefix beam search over one picture, (T, K) -> the prefixes that are left, the likeliest first.

    A prefix has two probabilities, of the paths that end in a blank and of those in its last class, rescaled each step.
    """
    beams: dict[Prefix, tuple[float, float]] = {(): (1.0, 0.0)}
    likeliest = np.argsort(-probs)[:, : width + 2].tolist()  # all that can stay, the blank and a repeated class
    for frame, classes in zip(probs.tolist(), likeliest, strict=True):
        grown = {}
        for prefix, (blank, last) in beams.items():
            parent = beams.get(prefix[:-1], (0.0, 0.0)) if prefix else (0.0, 0.0)
            entering = parent[0] if prefix[-1:] == prefix[-2:-1] else sum(parent)
            grown[prefix] = ((blank + last) * frame[BLANK], (last + entering) * frame[prefix[-1] if prefix else BLANK])
        ranks = sorted([0.0] * (width - len(grown)) + [sum(ends) for ends in grown.values()])  # a heap of `width`
        for prefix, (blank, last) in beams.items():
            for k in classes:
                if (blank + last) * frame[k] <= ranks[0]:
                    break
                if k != BLANK and (child := (*prefix, k)) not in beams:
                    p = (blank if prefix[-1:] == (k,) else blank + last) * frame[k]
                    grown[child] = (0.0, p)
                    heappushpop(ranks, p)
        kept = sorted(grown.items(), key=lambda item: -sum(item[1]))[:width]
        scale = sum(kept[0][1])
        beams = {prefix: (blank / scale, last / scale) for prefix, (blank, last) in kept}
    return list(beams)


def _prefix_search(
    ring: _Semiring, values: np.ndarray, length: int, width: int, floor: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Texts of `length` characters, above `floor`, by prefix search over values (T, K), a character at a time.

    A prefix has the probability of all texts of that length that begin with it. It is computed exactly, the future
    included, so no text is likelier than its prefixes are.

    Returns:
        the probabilities (N,) of at most `width` texts, their class ids (N, L), and a bound on all that were left out.
    """
    follows, left_out = np.empty((len(values), length + 1, values.shape[1])), ring.zero
    for follow, now in zip(follows[::-1], _completions(ring, values[None], length), strict=True):
        follow[:] = now[:, 0]
    # (T + 1, N): that the first t steps spell just the prefix, and the part of it that ends in a blank
    spelt = in_blank = ring.times.accumulate(np.concatenate([[ring.one], values[:, BLANK]]))[:, None]
    texts, last = np.zeros((1, 0), int), np.array([BLANK])
    for to_come in reversed(range(length)):
        follow = follows[:, to_come]
        bounds = ring.dot(spelt[:-1].T, follow)  # (N, K), of each prefix with one more character
        again = ring.plus.reduce(ring.times(in_blank[:-1], follow[:, last]), axis=0)
        bounds[np.arange(len(last)), last] = again  # the same character once more has to follow a blank
        bounds[:, BLANK] = ring.zero
        least = bounds.max(1).min() if len(last) == width else ring.zero  # a first cut: `width` are at least so likely
        bounds, left_out = bounds.ravel(), max(left_out, least)
        kept = np.flatnonzero(bounds > floor) if least <= floor else np.flatnonzero(bounds >= least)
        if len(kept) > width:
            order = kept[np.argpartition(-bounds[kept], width)]
            left_out = max(left_out, float(bounds[order[width]]))
            kept = np.sort(order[:width])
        parents, classes = np.divmod(kept, values.shape[1])
        texts = np.hstack([texts[parents], classes[:, None]])
        if to_come:
            starts = np.where(classes == last[parents], in_blank[:-1, parents], spelt[:-1, parents])
            spelt, in_blank = _grow(ring, values, classes, starts)
        last = classes
    return bounds[kept], texts, left_out


def _grow(ring: _Semiring, values: np.ndarray, last: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`spelt` and `in_blank` of N prefixes whose `last` class is new; paths come to it from `starts` (T, N)."""
    never = np.full((1, len(last)), ring.zero)
    on_last = np.vstack([never, _stay(ring, starts, values[:, last])])
    in_blank = np.vstack([never, _stay(ring, on_last[:-1], values[:, :1])])
    return ring.plus(in_blank, on_last), in_blank


def _stay(ring: _Semiring, starts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The y[t] = (starts[t] + y[t - 1]) values[t], (T, N), in log T rounds (Hillis and Steele, CACM 1986)."""
    y, products, n = ring.times(starts, values), values.copy(), 1  # of the last n values
    while n < len(y):
        y[n:] = ring.plus(y[n:], ring.times(products[n:], y[:-n]))
        products[n:] = ring.times(products[n:], products[:-n])
        n *= 2
    return y


def _logs(compute: Callable[..., np.ndarray], log_probs: np.ndarray, *rows: np.ndarray) -> np.ndarray:
    """Logarithms of compute(semiring, values, *rows) for B pictures, over plain probabilities where that is safe."""
    log_p = np.log(np.maximum(compute(_PLAIN, np.exp(log_probs), *rows), 1e-300))
    small = log_p < _SMALLEST
    if small.any():
        log_p[small] = compute(_LOGS, log_probs[small], *(row[small] for row in rows))
    return log_p


def _of_texts(ring: _Semiring, values: np.ndarray, states: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The probabilities of the texts that the states (B, S) spell, with blanks around all characters: -> (B,)."""
    rows = np.arange(len(states))
    skips = np.full(states.shape, ring.zero)  # over a blank, unless it parts two equal characters
    skips[:, 3::2][states[:, 3::2] != states[:, 1:-2:2]] = ring.one
    emitted = values.swapaxes(0, 1)[:, rows[:, None], states]  # (T, B, S)
    alpha = np.full((len(states), states.shape[1] + 2), ring.zero)  # two states that no path is in come first
    stay, step, skip = alpha[:, 2:], alpha[:, 1:-1], alpha[:, :-2]
    stay[:, :2] = emitted[0, :, :2]
    sums, skipped = np.empty((2, *states.shape))
    for now in emitted[1:]:
        ring.plus(stay, step, sums)
        ring.times(skip, skips, skipped)
        ring.plus(sums, skipped, sums)
        ring.times(sums, now, stay)
    return ring.plus(alpha[rows, 2 * lengths + 2], alpha[rows, 2 * lengths + 1])


def _of_lengths(ring: _Semiring, values: np.ndarray, lengths: range) -> np.ndarray:
    """The probability of all texts of these lengths, (B, T, K) -> (B,)."""
    (first,) = deque(_completions(ring, values, lengths[-1]), maxlen=1)
    blank = ring.plus.reduce(first[lengths[0] : lengths[-1] + 1, :, BLANK], axis=0)
    text = ring.plus.reduce(first[max(lengths[0] - 1, 0) : lengths[-1], :, 1:], axis=-1)
    return ring.plus(blank, ring.plus.reduce(text, axis=0)) if lengths[-1] else blank


def _of_characters(ring: _Semiring, values: np.ndarray, ids: Prefix) -> np.ndarray:
    """The probabilities of all texts of L characters that have one of these at its place, (T, K) -> (L,)."""
    after = np.stack(list(_completions(ring, values[None], len(ids))))[::-1, :, 0]  # (T, L + 1, K)
    before = np.stack(list(_completions(ring, values[None, ::-1], len(ids))))[:, :, 0]
    found = []
    for i, k in enumerate(ids):  # the character begins after a blank, or after another character
        starts = before[:-1, i, BLANK]
        if i:
            others = np.delete(before[:-1, i - 1], [BLANK, k], axis=1)
            starts = ring.plus(starts, ring.plus.reduce(others, axis=1, initial=ring.zero))
        starts = np.concatenate([[ring.zero if i else ring.one], starts])
        found.append(ring.plus.reduce(ring.times(starts, after[:, len(ids) - 1 - i, k])))
    return np.array(found)


def _completions(ring: _Semiring, values: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """For each time step, the last one first: the probability that it emits k and that the rest spells n more.

    Shape: values (B, T, K) -> T times (L + 1, B, K), for n = 0..L.
    """
    batch, _, classes = values.shape
    follow = np.full((2, (length + 1) * batch, classes), ring.zero)
    after, more, new = follow[0], follow[0, batch:], follow[1, :-batch]
    after[:batch] = ring.one
    by_count = after.reshape(length + 1, batch, classes)
    moves = _moves(classes) if ring is _PLAIN and classes <= _FEW_CLASSES else None
    for frame in values.swapaxes(0, 1)[::-1]:
        weights = ring.times(by_count, frame)
        yield weights
        rows = weights.reshape(after.shape)
        _sum_followers(ring, rows, *follow) if moves is None else np.matmul(rows, moves, follow)
        ring.plus(more, new, out=more)


@cache
def _moves(classes: int) -> np.ndarray:
    """`_sum_followers` as two matrices of zeros and ones, (2, K, K)."""
    old, new = np.eye(classes), 1 - np.eye(classes)
    old[BLANK], new[BLANK] = 1, 0
    return np.array([old, new])


def _sum_followers(ring: _Semiring, rows: np.ndarray, old: np.ndarray, new: np.ndarray) -> None:
    """Adds up what may follow each class, (N, K): into `old` the blank and itself, into `new` the other characters."""
    ring.plus(rows, rows[:, :1], out=old)
    old[:, BLANK] = rows[:, BLANK]
    new[:] = ring.zero
    ring.plus.accumulate(rows[:, 1:-1], axis=1, out=new[:, 2:])  # the characters before it, then those after it
    ring.plus(new[:, :-1], ring.plus.accumulate(rows[:, :0:-1], axis=1)[:, ::-1], out=new[:, :-1])
