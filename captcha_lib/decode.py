"""From scores to text: greedy, prefix beam search, exact length; each text with its probability; and the alignment.

A path names one class for each of the T time steps; it spells a text by merging equal neighbours and dropping blanks.
The probability of a text is the sum over all the paths that spell it (Graves et al., ICML 2006, section 3.1); it is
exp(-ctc_loss). Greedy and beam report this number, whatever way they searched; exact length reports the text's share of
the probability of all texts of that length.

Scores are arrays or tensors on the CPU; -inf rules a class out. NaN and +inf are refused, and so is a time step that
rules out all classes. Everything here is NumPy, so that reading with ONNX Runtime needs no torch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_softmax, logit

from captcha_lib.alphabet import BLANK, Alphabet
from captcha_lib.config import InputError
from captcha_lib.config import MIN_SIDE

Prefix = tuple[int, ...]
# Far more than captchas have. What a file of weights says is not trusted beyond, or it would be given any memory.
MOST_CHARACTERS, MOST_HEIGHT, MOST_WIDTH = 2**13, 2**11, 2**14
_HALF = np.log(0.5)


@dataclass(frozen=True)
class Reading:
    """A text, and its probability in 0..1, given what was known of it: its length, its characters.

    `alternatives` are less likely texts, where they were asked for; their probabilities are not calibrated.
    """

    text: str
    confidence: float
    alternatives: tuple["Reading", ...] = ()


@dataclass(frozen=True)
class Span:
    """The time steps first..last, both included, that spelt one character, and the mean probability it has there."""

    character: str
    first: int
    last: int
    probability: float


def restrict(logits: ArrayLike, alphabet: Alphabet, allowed: str) -> np.ndarray:
    """Rules out every character that is not in `allowed`, (..., K) -> (..., K); probabilities then sum to 1 without it.

    Raises:
        InputError: no allowed character, or one that the network does not know; scores that hold NaN or infinity.
    """
    if not allowed:
        raise InputError("alphabet: it is empty; name at least one character that may occur")
    unknown = sorted(set(allowed) - set(alphabet.characters))
    if unknown:
        raise InputError(f"alphabet {allowed!r}: {unknown[0]!r} is not in the alphabet {alphabet.characters!r}")
    ruled_out = np.ones(alphabet.num_classes, dtype=bool)
    ruled_out[[BLANK, *alphabet.encode(allowed)]] = False
    return np.where(ruled_out, -np.inf, _checked(np.asarray(logits)))


def decode_greedy(logits: ArrayLike, alphabet: Alphabet) -> list[Reading]:
    """Takes the likeliest class of every time step, merges equal neighbours, drops blanks: (B, T, K) -> B readings."""
    log_probs = log_probabilities(logits)
    ids = _best_texts(log_probs)
    return _readings(ids, text_log_probability(log_probs, ids), alphabet)


def decode_beam(logits: ArrayLike, alphabet: Alphabet, width: int = 16) -> list[Reading]:
    """Prefix beam search (Hannun et al., arXiv:1408.2873, algorithm 1, without a language model).

    It searches only where the text of the best path has a probability of at most one half: nothing beats more.

    Args:
        logits: scores.
        alphabet: the characters of the classes.
        width: prefixes kept at each time step.

    Shape:
        (B, T, K) -> B readings.
    """
    log_probs = log_probabilities(logits)
    ids = _best_texts(log_probs)
    log_p = text_log_probability(log_probs, ids)
    for i in np.flatnonzero(log_p <= _HALF):
        ids[i], log_p[i] = _likeliest(log_probs[i], _candidates(log_probs[i], width, None))
    return _readings(ids, log_p, alphabet)


def decode_length(logits: ArrayLike, alphabet: Alphabet, length: int, width: int = 8) -> list[Reading]:
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
    log_probs = log_probabilities(logits)
    total = _checked_total(log_probs, length)
    ids = _best_texts(log_probs)
    log_p = _search_the_unsure(log_probs, ids, np.arange(len(ids)), total, length, width)
    return _readings(ids, log_p - total, alphabet)


def alternatives(logits: ArrayLike, alphabet: Alphabet, length: int, width: int = 8) -> list[Reading]:
    """The texts of `length` characters, 0 for any number, that a beam search ends with, the likeliest first.

    Shape:
        (T, K) -> at most `width` readings, each with its share of all the texts of that length.

    Raises:
        InputError: a length that no text spelt in T steps can have.
    """
    log_probs = log_probabilities(logits)
    total = _checked_total(log_probs[None], length) if length else 0.0
    found = _candidates(log_probs, width, length or None)
    log_p = text_log_probability(np.broadcast_to(log_probs, (len(found), *log_probs.shape)), found) - total
    readings = [reading for reading in _readings(found, log_p, alphabet) if reading.confidence > 0]
    return sorted(readings, key=lambda reading: -reading.confidence)[:width]


def spell(logits: ArrayLike, alphabet: Alphabet, length: int = 0) -> list[str]:
    """The text of the likeliest path among those that spell `length` characters, 0 for any number.

    It is quicker than the decoders above, since it looks at paths instead of texts and gives no confidence. Where the
    best path of all has the right length, which is nearly always, that is the answer.

    Shape:
        (B, T, K) -> B texts.

    Raises:
        InputError: a length that no text spelt in T steps can have.
    """
    logits = _checked(np.asarray(logits))
    ids = _best_texts(logits)
    if length:
        for i in [i for i, text in enumerate(ids) if len(text) != length]:
            _check_length(length, logits.shape[1])
            ids[i] = _best_text_of_length(log_probabilities(logits[i]), length)
    return [alphabet.decode(text) for text in ids]


def log_probabilities(logits: ArrayLike) -> np.ndarray:
    """Scores to log-probabilities in double precision, (..., T, K) -> (..., T, K).

    Raises:
        InputError: NaN, infinity, or a time step in which no class is possible.
    """
    return log_softmax(_checked(np.asarray(logits)).astype(np.float64), axis=-1)


def text_log_probability(log_probs: np.ndarray, ids: list[Prefix]) -> np.ndarray:
    """The log-probability of one text a picture, by the forward algorithm (Graves et al. 2006, equations 6 to 8).

    It is -ctc_loss of `model`, without torch; -inf where T steps are too few for the text.

    Shape:
        log-probabilities (B, T, K) and B texts as class ids -> (B,) float64.
    """
    batch, steps, _ = log_probs.shape
    lengths = np.array([len(text) for text in ids], dtype=int)
    states = np.full((batch, 2 * max(lengths, default=0) + 1), BLANK)  # (B, S): blank at every even place
    for i, text in enumerate(ids):
        states[i, 1 : 2 * len(text) : 2] = text
    may_skip = np.zeros(states.shape, dtype=bool)  # over a blank, unless it parts two equal characters
    may_skip[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    emitted = np.take_along_axis(log_probs, np.broadcast_to(states[:, None], (batch, steps, states.shape[1])), 2)
    alpha = np.full(states.shape, -np.inf)  # (B, S)
    alpha[:, :2] = emitted[:, 0, :2]
    for t in range(1, steps):
        moved = alpha.copy()
        moved[:, 1:] = np.logaddexp(alpha[:, 1:], alpha[:, :-1])
        moved[:, 2:] = np.logaddexp(moved[:, 2:], np.where(may_skip[:, 2:], alpha[:, :-2], -np.inf))
        alpha = moved + emitted[:, t]
    last = alpha[np.arange(batch), 2 * lengths]
    before = alpha[np.arange(batch), np.maximum(2 * lengths - 1, 0)]
    return np.where(lengths > 0, np.logaddexp(last, before), last)


def length_log_probability(logits: ArrayLike, length: int) -> np.ndarray:
    """The log-probability that a path spells any text of exactly `length` characters: (B, T, K) -> (B,) float64."""
    return _length_log_probability(log_probabilities(logits), length)


def collapse(path: list[int]) -> Prefix:
    """Merges equal neighbours, then drops blanks: [4, 4, 0, 4, 2] -> (4, 4, 2)."""
    return tuple(k for k, before in zip(path, [BLANK, *path], strict=False) if k not in (before, BLANK))


def align(logits: ArrayLike, text: str, alphabet: Alphabet) -> list[Span]:
    """The time steps that spelt each character, on the likeliest path that spells `text` (Viterbi).

    Args:
        logits: (T, K).
        text: L characters.
        alphabet: the characters of the classes.

    Raises:
        InputError: T is too short for the text, or what it needs is ruled out.
    """
    log_probs = log_probabilities(logits)  # (T, K)
    ids = alphabet.encode(text).tolist()
    states = [BLANK] + [k for i in ids for k in (i, BLANK)]  # (2L + 1,), blank at every even place
    steps_back = [
        [0, 1, 2] if s >= 2 and k != BLANK and k != states[s - 2] else [0, 1] if s else [0]
        for s, k in enumerate(states)
    ]
    scores = log_probs[:, states]  # (T, 2L + 1)
    best = np.full(len(states), -np.inf)
    best[:2] = scores[0, :2]
    came_from = []
    for t in range(1, len(scores)):
        step = [max(back, key=lambda b: best[s - b]) for s, back in enumerate(steps_back)]
        best = np.array([best[s - b] for s, b in enumerate(step)]) + scores[t]
        came_from.append(step)
    state = max(range(max(0, len(states) - 2), len(states)), key=lambda s: best[s])
    if best[state] == -np.inf:
        raise InputError(f"text {text!r}: {len(scores)} time steps are too few to spell it, or they rule it out")
    path = [state]
    for step in reversed(came_from):
        path.append(path[-1] - step[path[-1]])
    path.reverse()
    steps_of = [[t for t, s in enumerate(path) if s == 2 * i + 1] for i in range(len(ids))]
    return [_span(char, steps, np.exp(log_probs[:, k])) for char, steps, k in zip(text, steps_of, ids, strict=True)]


class Decoder:
    """The second half of every reader: from scores to readings, by what the reader knows of the texts.

    Attributes:
        alphabet: the characters of the classes.
        length: the length of all the texts, or None if they have several.
        temperature: what the confidences' log-odds are divided by, so that they tell how often a reading is right.
    """

    alphabet: Alphabet
    length: int | None
    temperature: float

    def decode(self, logits: ArrayLike, length: int | None = None, allowed: str | None = None) -> list[Reading]:
        """Scores (N, T, K) -> N readings with calibrated confidences.

        Args:
            logits: scores.
            length: characters of every text; None takes the reader's own length, 0 lets the network decide.
            allowed: the characters that may occur; None allows the whole alphabet.
        """
        logits, length = self._given(logits, length, allowed)
        readings = decode_length(logits, self.alphabet, length) if length else decode_greedy(logits, self.alphabet)
        return [Reading(r.text, float(scale_confidence(r.confidence, self.temperature))) for r in readings]

    def spell(self, logits: ArrayLike, length: int | None = None, allowed: str | None = None) -> list[str]:
        """Scores (N, T, K) -> N texts, by their likeliest paths: quicker than `decode`, without confidences."""
        logits, length = self._given(logits, length, allowed)
        return spell(logits, self.alphabet, length)

    def alternatives(
        self, logits: ArrayLike, count: int, length: int | None = None, allowed: str | None = None
    ) -> list[Reading]:
        """Scores of one picture (T, K) -> its likeliest texts, at least `count` if there are so many, best first.

        Their probabilities are not calibrated. See `decode` for what is given.
        """
        logits, length = self._given(logits, length, allowed)
        return alternatives(logits, self.alphabet, length, width=max(8, count))

    def _given(self, logits: ArrayLike, length: int | None, allowed: str | None) -> tuple[ArrayLike, int]:
        if allowed is not None:
            logits = restrict(logits, self.alphabet, allowed)
        return logits, (self.length or 0) if length is None else length


def scale_confidence(confidence: ArrayLike, temperature: float) -> np.ndarray:
    """Divides the log-odds of probabilities by the temperature (Guo et al., ICML 2017, section 4.2; two classes)."""
    return expit(logit(confidence) / temperature)


def is_sound(alphabet: object, image_size: object, length: object, temperature: object) -> bool:
    """Whether what a file of weights says of its `Decoder` and its pictures, (H, W) in px, can be true."""
    return (
        type(alphabet) is str
        and 1 <= len(alphabet) == len(set(alphabet)) <= MOST_CHARACTERS
        and alphabet.isprintable()
        and type(image_size) in (tuple, list)
        and [type(side) for side in image_size] == [int, int]
        and MIN_SIDE <= image_size[0] <= MOST_HEIGHT
        and MIN_SIDE <= image_size[1] <= MOST_WIDTH
        and (length is None or (type(length) is int and length >= 1))
        and type(temperature) is float
        and 0 < temperature < np.inf
    )


def _span(char: str, steps: list[int], probs: np.ndarray) -> Span:
    return Span(char, steps[0], steps[-1], float(probs[steps].mean()))


def _checked(scores: np.ndarray) -> np.ndarray:
    """The same scores (..., T, K); raises InputError where the best of a time step is not finite, which tells all."""
    best = scores.max(-1)
    if np.isfinite(best).all():
        return scores
    *picture, step = np.argwhere(~np.isfinite(best))[0].tolist()
    where = f"time step {step} of picture {picture[-1]}" if picture else f"time step {step}"
    if np.isneginf(best[*picture, step]):
        raise InputError(f"scores: {where} rules out every class; allow more, or take other weights")
    raise InputError(f"scores: {where} holds NaN or infinity; the network is damaged, take or train other weights")


def _best_texts(scores: np.ndarray) -> list[Prefix]:
    """What the best paths spell: (B, T, K) -> B texts as class ids."""
    return [collapse(path) for path in scores.argmax(-1).tolist()]


def _best_text_of_length(log_probs: np.ndarray, length: int) -> Prefix:
    """What the likeliest path with `length` characters spells, (T, K) -> class ids (Viterbi).

    A state of the search is the number of characters spelt so far, 0..L, and the class that the path is on.
    """
    counts, classes = length + 1, log_probs.shape[1]
    own = np.arange(classes)
    scores = np.full((counts, classes), -np.inf)
    scores[0, BLANK] = 0
    came_from = []  # for each step, the state (count * K + class) before each state
    for frame in log_probs:
        origin = np.arange(scores.size).reshape(scores.shape)  # staying where it is
        best = scores.argmax(-1)  # (L + 1,)
        others = scores.copy()
        others[np.arange(counts), best] = -np.inf
        # a new character may follow any class but itself: the best one, or the second where that is the character
        before = np.where(own == best[:, None], others.argmax(-1)[:, None], best[:, None])[:-1]  # (L, K)
        arrived = np.take_along_axis(scores[:-1], before, -1)
        is_new = arrived > scores[1:]
        is_new[:, BLANK] = False
        moved = scores.copy()
        moved[1:][is_new] = arrived[is_new]
        origin[1:][is_new] = (np.arange(length)[:, None] * classes + before)[is_new]
        moved[:, BLANK], origin[:, BLANK] = scores.max(-1), np.arange(counts) * classes + best
        scores = moved + frame
        came_from.append(origin.ravel())
    state = length * classes + int(scores[length].argmax())
    if np.isneginf(scores[length].max()):
        raise _unspellable(length, len(log_probs))
    path = []
    for origin in reversed(came_from):
        path.append(state % classes)
        state = origin[state]
    return collapse(path[::-1])


def _readings(ids: list[Prefix], log_p: np.ndarray, alphabet: Alphabet) -> list[Reading]:
    confidences = np.exp(np.minimum(log_p, 0))
    return [Reading(alphabet.decode(text), float(p)) for text, p in zip(ids, confidences, strict=True)]


def _checked_total(log_probs: np.ndarray, length: int) -> np.ndarray:
    """The log-probability of all texts of that length, (B, T, K) -> (B,); raises InputError where there are none."""
    steps = log_probs.shape[1]
    _check_length(length, steps)
    total = _length_log_probability(log_probs, length)
    if np.isneginf(total).any():
        raise _unspellable(length, steps)
    return total


def _check_length(length: int, steps: int) -> None:
    if not 1 <= length <= steps:
        raise InputError(f"length {length}: give 1 to {steps}, the network's time steps, or 0 for any length")


def _unspellable(length: int, steps: int) -> InputError:
    return InputError(f"length {length}: no text of that length can be spelt in {steps} time steps")


def _search_the_unsure(
    log_probs: np.ndarray, ids: list[Prefix], rows: np.ndarray, total: np.ndarray, length: int, width: int
) -> np.ndarray:
    """Replaces in `ids` the texts of the given rows that have another length or could be beaten.

    `total` is the log-probability of all texts of that length; a text with more than half of it is the likeliest.

    Returns:
        the log-probabilities of the rows' texts, (len(rows),).
    """
    log_p = text_log_probability(log_probs[rows], [ids[i] for i in rows])
    for place, i in enumerate(rows):
        if len(ids[i]) != length or log_p[place] - total[place] <= _HALF:
            ids[i], log_p[place] = _likeliest(log_probs[i], _candidates(log_probs[i], width, length))
    return log_p


def _candidates(log_probs: np.ndarray, width: int, length: int | None) -> list[Prefix]:
    """What a beam search over one picture (T, K) ends with, and what its likeliest path spells.

    A narrow beam may have lost that text, and so may one whose probabilities became too small for a double.
    """
    best = _best_texts(log_probs[None])[0] if length is None else _best_text_of_length(log_probs, length)
    return list(dict.fromkeys([*_search(np.exp(log_probs), width, length), best]))


def _likeliest(log_probs: np.ndarray, candidates: list[Prefix]) -> tuple[Prefix, float]:
    """Ranks the candidates of one picture (T, K) by their exact probability."""
    log_p = text_log_probability(np.broadcast_to(log_probs, (len(candidates), *log_probs.shape)), candidates)
    best = int(log_p.argmax())
    return candidates[best], log_p[best]


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
            of_length = [[] for _ in range(length + 1)]
            for item in ranked:
                of_length[len(item[0])].append(item)
            kept = [item for group in of_length for item in group[:width]]
        scale = sum(map(sum, grown.values())) or 1.0
        beams = {prefix: (blank / scale, last / scale) for prefix, (blank, last) in kept}
    return [prefix for prefix in beams if length is None or len(prefix) == length]


def _length_log_probability(log_probs: np.ndarray, length: int) -> np.ndarray:
    """Paths are counted by how many characters they have spelt, 0..L, and by the class that they are on.

    All in logarithms, for a sure network gives some numbers of characters less probability than a double can hold.
    """
    batch, steps, classes = log_probs.shape
    ways = np.full((batch, length + 1, classes), -np.inf)
    ways[:, 0, BLANK] = 0
    for t in range(steps):
        everyone, others = _log_sums(ways)
        moved = ways.copy()
        moved[:, 1:] = np.logaddexp(ways[:, 1:], others[:, :-1])  # a new character follows any class but itself
        moved[:, :, BLANK] = everyone  # the blank follows any class, nothing new is spelt
        ways = moved + log_probs[:, t, None]
    return _log_sums(ways[:, length])[0]


def _log_sums(ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms in; those of the sum over all classes and over all but the own one out, (..., K) -> (...,), (..., K).

    The sum without the largest is added up anew; only small numbers are subtracted, which costs no digits.
    """
    largest = ways.argmax(-1)[..., None]
    rest = ways.copy()
    np.put_along_axis(rest, largest, -np.inf, -1)
    top, shares = _shares(ways)
    second, shares_of_rest = _shares(rest)
    total = shares.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        others = top + np.log(total - shares)
        np.put_along_axis(others, largest, second + np.log(shares_of_rest.sum(-1, keepdims=True)), -1)
        return (top + np.log(total))[..., 0], others


def _shares(ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest logarithm of each row, 0 where all are -inf, and the numbers relative to it: (..., 1), (..., K)."""
    top = ways.max(-1, keepdims=True)
    top = np.where(np.isneginf(top), 0, top)
    return top, np.exp(ways - top)
