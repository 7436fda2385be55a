"""What a reader takes pictures of a kind for, seen in several views, and what of that is believed.

A reader that has not seen a kind before may take most of its zeros for fives. It reads as if all characters were
equally frequent, as captchas are drawn (distribution alignment: Berthelot et al., "ReMixMatch", ICLR 2020); and of a
character that it hardly reads the surest ones are believed, or it would be forgotten (class-balanced self-training: Zou
et al., ECCV 2018).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import torch

from captcha_lib.alphabet import ANY, count_doubles
from captcha_lib.augment import augment
from captcha_lib.decode import Length, Reading, character_probabilities, restrict
from captcha_lib.reading.torch_reader import TorchReader

Images: TypeAlias = torch.Tensor | np.ndarray  # (N, 1, H, W) uint8 at the size that the reader takes
VIEWS, WARPS = 3, 0.6  # other views of each picture, and the strength of their warps
CERTAIN = 0.97  # from this probability on a character is believed in any round
# A character is missing that is read less often than RARELY of what is expected if all are equally frequent, and ENOUGH
# are expected. Of these the surest are believed: HALF as many as are believed of others.
RARELY, ENOUGH, HALF = 0.25, 8, 0.5
PARTLY = 0.3  # the share of a text that has to be believed
LEAST = 20  # pictures; of fewer nobody can tell how frequent characters are, and nothing can be learnt
BALANCED, STEP, LIMIT = 6, 0.4, 1.5  # passes over the scores, their steps, and the most that is added to one, in nats


@dataclass(frozen=True)
class Kind:
    """A kind of captchas: the characters that occur, the length of the texts, and how many of the surest are such."""

    characters: str
    length: Length
    sure: float = 1.0

    def __str__(self) -> str:
        length = "{} to {}".format(*self.length) if isinstance(self.length, tuple) else self.length or "any number of"
        return f"texts of {length} characters of {self.characters}; {self.sure:.0%} of the surest readings are such"


class Vote(NamedTuple):
    """What views of N pictures are read as.

    Attributes:
        texts: of each picture, at each place the character that most views have there.
        sure: how likely each of its characters is at its place, the mean of the views: N arrays (L,).
        agreed: the share of the views that are read as this text, (N,).
        missing: the characters of the kind that are hardly read.
    """

    texts: list[str]
    sure: list[np.ndarray]
    agreed: np.ndarray
    missing: str = ""


def read(reader: TorchReader, images: Images, kind: Kind) -> list[Reading]:
    """What a reader takes pictures of a kind for, if all characters of the kind are equally frequent."""
    scores = _scores(reader, images, kind)
    return reader.decode(scores + _balance(scores, reader, kind), kind.length)


def vote(reader: TorchReader, images: torch.Tensor, kind: Kind, warps: torch.Generator) -> Vote:
    """What a reader takes pictures (N, 1, H, W) uint8 of a kind for, and what it takes other views of them for."""
    views = [images, *(augment(images, WARPS, warps) for _ in range(VIEWS))]
    scores = np.stack([_scores(reader, view, kind) for view in views])  # (V, N, T, K)
    missing = _missing("".join(reader.spell(scores[0], kind.length)), _known(reader, kind))
    scores += _balance(scores[0], reader, kind)
    spelt = [*zip(*(reader.spell(view, kind.length) for view in scores), strict=True)]  # N times V texts
    texts = [_by_place(some) for some in spelt]
    sure = [
        np.mean([character_probabilities(view, text, reader.alphabet) for view in scores[:, i]], axis=0)
        for i, text in enumerate(texts)
    ]
    agreed = np.array([some.count(text) / len(some) for some, text in zip(spelt, texts, strict=True)])
    return Vote(texts, sure, agreed, missing)


def believed(vote: Vote, share: float, characters: int, steps: int) -> list[str]:
    """The texts with `ANY` where a character is not believed; "" where few of a text are.

    The surest share of all characters is believed; what is certain, since where nearly all are, those that are a little
    less sure would be forgotten; and the surest of those that are missing. What would need more than `steps` time steps
    is left out. `characters`: how many the kind has.
    """
    read, sure = pd.Series([*"".join(vote.texts)], dtype=str), pd.Series(np.concatenate([[], *vote.sure]))
    least = min(CERTAIN, np.quantile([1.0, *sure], 1 - share))
    rank = sure.groupby(read).rank(ascending=False, method="first")
    of_missing = read.isin([*vote.missing]) & (rank <= max(1, HALF * share * len(sure) / characters))
    is_believed = iter((sure >= least) | of_missing)
    texts = []
    for text in vote.texts:
        known = "".join(character if next(is_believed) else ANY for character in text)
        enough = len(known) - known.count(ANY) >= max(1, PARTLY * len(known))
        texts.append(known if enough and len(known) + count_doubles(known) <= steps else "")
    return texts


def _missing(read: str, known: str) -> str:
    """The known characters that are hardly read."""
    counts, expected = Counter(read), len(read) / len(known)
    return "".join(one for one in known if expected >= ENOUGH and counts[one] < RARELY * expected)


def _scores(reader: TorchReader, images: Images, kind: Kind) -> np.ndarray:
    """The logits of pictures of a kind, (N, T, K)."""
    return restrict(np.asarray(reader.logits(images, batch_size=32)), reader.alphabet, _known(reader, kind))


def _known(reader: TorchReader, kind: Kind) -> str:
    return "".join(c for c in kind.characters if c in reader.alphabet.characters)


def _balance(scores: np.ndarray, reader: TorchReader, kind: Kind) -> np.ndarray:
    """What to add to scores so that the characters are read more equally often: (N, T, K) -> (K,)."""
    known, added = _known(reader, kind), np.zeros(scores.shape[-1])
    ids = reader.alphabet.encode(known)
    for _ in range(BALANCED if len(scores) >= LEAST else 0):
        counts = Counter("".join(reader.spell(scores + added, kind.length)))
        often = np.array([counts[character] for character in known]) + 1
        added[ids] = np.clip(added[ids] - STEP * np.log(often / often.mean() + 0.1), -LIMIT, LIMIT)
    return added


def _by_place(texts: Sequence[str]) -> str:
    """At each place the most frequent character, among the texts of the most frequent length."""
    length, _ = Counter(map(len, texts)).most_common(1)[0]
    places = zip(*(text for text in texts if len(text) == length), strict=True)
    return "".join(Counter(place).most_common(1)[0][0] for place in places)
