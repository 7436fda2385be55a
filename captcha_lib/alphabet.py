"""`Alphabet`: text <-> class ids. Class 0 is the CTC blank, class i + 1 is the i-th character."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np

from captcha_lib.config import InputError

if TYPE_CHECKING:
    import torch

BLANK = 0
ANY = "\N{REPLACEMENT CHARACTER}"  # in texts to train on: a character that is not known


def named(character: str) -> str:
    """A character in quotes; one that is not ASCII with its Unicode name, since it may look like one that is."""
    name = "" if character.isascii() else unicodedata.name(character, "without a name")
    return f"{character!r} ({name})" if name else repr(character)


def written_order(text: str) -> list[int]:
    """The places of a text's characters as they are written, from left to right; the same for a text in that order.

    Hebrew and Arabic run from right to left, the numbers and Latin letters among them do not.
    """
    if text.isascii():
        return list(range(len(text)))
    right = [unicodedata.bidirectional(character) in ("R", "AL") for character in text]
    if not any(right):
        return list(range(len(text)))
    right = [to_left or character == ANY for to_left, character in zip(right, text, strict=True)]
    runs = [list(run) for _, run in groupby(range(len(text)), lambda i: right[i])]
    return [i for run in reversed(runs) for i in (run[::-1] if right[run[0]] else run)]


def count_doubles(text: str) -> int:
    """How many neighbours are equal; CTC has to put a blank between each such pair."""
    return sum(a == b for a, b in pairwise(text))


@dataclass(frozen=True)
class Alphabet:
    """The characters that a network can read, in the order of their class ids: each once, or it raises InputError.

    Class ids are in the order of `written_order`, texts in that of reading.
    """

    characters: str  # for instance "2345678bcdefgmnpwxy"

    def __post_init__(self) -> None:
        if not self.characters:
            raise InputError("alphabet: it is empty; name at least one character")
        if doubled := sorted(c for c in set(self.characters) if self.characters.count(c) > 1):
            raise InputError(f"alphabet {self.characters!r}: duplicate character {doubled[0]!r}; name each once")

    @classmethod
    def of(cls, labels: Iterable[str]) -> "Alphabet":
        """The characters that occur in `labels`, sorted."""
        return cls("".join(sorted(set().union(*labels))))

    @property
    def num_classes(self) -> int:
        """K, the characters and the blank."""
        return len(self.characters) + 1

    def encode(self, text: str) -> np.ndarray:
        """Turns a text into class ids, str -> (L,) int64; raises InputError for a character that is not known."""
        if unknown := sorted(set(text) - set(self.characters)):
            raise InputError(f"text {text!r}: {named(unknown[0])} is not in the alphabet {self.characters!r}")
        return np.array([self.characters.index(text[i]) + 1 for i in written_order(text)], dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """Turns class ids into a text, (L,) -> str; blanks are left out, equal neighbours are kept."""
        text = "".join(self.characters[int(i) - 1] for i in ids if int(i) != BLANK)
        return text if text.isascii() else "".join(text[i] for i in written_order(text))

    def encode_batch(self, texts: list[str]) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Encodes B texts for `ctc_loss`: (padded ids (B, max L) int64, lengths (B,) int64); K for `ANY`."""
        import torch  # here, because only training needs it: reading with ONNX Runtime does not wait for it

        known = Alphabet(self.characters + ANY)
        ids = [torch.from_numpy(known.encode(text)) for text in texts]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=BLANK)
        return padded, torch.tensor([len(i) for i in ids])
