"""`Reader`: what every reader shares: what its weights say, and the way from logits to readings."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import MIN_SIDE, WEIGHTS_DIR, InputError
from captcha_lib.data.colour import CONVERSIONS, GREY
from captcha_lib.decode import (
    Length,
    Reading,
    alternatives,
    character_probabilities,
    decode_greedy,
    decode_length,
    restrict,
    scale_confidence,
    spell,
)

# Far more than captchas have: bounds on what a weights file says, or it could ask for any amount of memory.
MAX_CHARACTERS, MAX_HEIGHT, MAX_WIDTH = 2**13, 2**11, 2**14
MAX_BYTES = 2**26  # of a weights file
PRETRAINED = {"kaggle": "kaggle.onnx", "general": "general.onnx"}
FACTS = ("alphabet", "image_size", "length", "temperature", "conversion", "sizes")


@dataclass(frozen=True)
class Reader(ABC):
    """A trained network and what is needed to use it: `Reader.from_pretrained("kaggle").read(images)`.

    Attributes:
        alphabet: the characters of its classes.
        image_size: (H, W) of the pictures it was trained on, in px.
        length: the length of all its training labels, or None if they had several.
        temperature: divides the log-odds of confidences, so that they tell how often a reading is right; fitted on
            validation images, for texts of `length`.
        temperature_any: the same for texts whose length the network decides.
        conversion: from the colours of a picture to the grey that the network sees, see `data.colour`.
        sizes: the least and the largest (H, W) in px of the training pictures in their files; () where they are not
            known, and `image_size` is taken for them.
    """

    alphabet: Alphabet
    image_size: tuple[int, int]
    length: int | None
    temperature: float = 1.0
    temperature_any: float = 1.0
    conversion: str = GREY
    sizes: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def load(path: str | Path, device: str = "cpu", threads: int = 1) -> "Reader":
        """The reader of a weights file: .onnx is read by ONNX Runtime with `threads`, all else by torch on `device`.

        Raises InputError if there is no such file, or it holds no weights of this project.
        """
        if Path(path).suffix == ".onnx":
            from captcha_lib.reading.onnx_reader import OnnxReader

            return OnnxReader.load(path, threads=threads)
        from captcha_lib.reading.torch_reader import TorchReader

        return TorchReader.load(path, device)

    @staticmethod
    def from_pretrained(name: str = "kaggle", threads: int = 1) -> "Reader":
        """The reader of weights that come with the package; raises InputError for a name that is not known."""
        if name not in PRETRAINED:
            raise InputError(f"weights {name!r}: not one of {', '.join(PRETRAINED)}; give one of these, or load a file")
        return Reader.load(weights_path(name), threads=threads)

    @property
    def usual_sizes(self) -> tuple[tuple[int, int], ...]:
        """`sizes`, or where they are not known `image_size` as both."""
        return self.sizes or (self.image_size, self.image_size)

    def is_usual(self, size: tuple[int, ...]) -> bool:
        """Whether the training pictures had sides such as (H, W)."""
        return all(
            low <= side <= high for low, side, high in zip(self.usual_sizes[0], size, self.usual_sizes[1], strict=True)
        )

    @abstractmethod
    def logits(self, images: Any, batch_size: int = 64) -> Any:
        """Scores pictures, (N, 1, H, W) uint8 -> (N, T, K) float32."""

    def read(self, images: Any, length: Length | None = None, allowed: str | None = None) -> list[Reading]:
        """Reads pictures of the reader's image size, (N, 1, H, W) uint8 -> N readings; see `decode`."""
        return self.decode(self.logits(images), length, allowed) if len(images) else []

    def decode(
        self,
        logits: ArrayLike,
        length: Length | None = None,
        allowed: str | None = None,
        others: int = 0,
        characters: bool = False,
    ) -> list[Reading]:
        """Logits (N, T, K) -> N readings with calibrated confidences.

        Args:
            logits: scores.
            length: characters of every text, or the least and the most, such as (4, 6); None takes the reader's own
                length, 0 lets the network decide.
            allowed: the characters that may occur; None allows the whole alphabet.
            others: how many less likely texts are given as alternatives; their probabilities are not calibrated.
            characters: also gives the probability of each character, see `decode.character_probabilities`.
        """
        assumed = length is None  # the length of the training labels, and a picture of another kind may have none
        logits, length = self._given(logits, length, allowed)
        if length:
            readings = decode_length(logits, self.alphabet, length, among_all=assumed)
        else:
            readings = decode_greedy(logits, self.alphabet)
        temperature = self.temperature if length or not self.length else self.temperature_any
        scaled = scale_confidence([reading.confidence for reading in readings], temperature).tolist()
        readings = [Reading(reading.text, p) for reading, p in zip(readings, scaled, strict=True)]
        for i, (reading, scores) in enumerate(zip(readings, np.asarray(logits), strict=True)):
            if others:
                likely = alternatives(scores, self.alphabet, length, width=max(8, others + 1))
                rest = tuple(one for one in likely if one.text != reading.text)[:others]
                readings[i] = replace(readings[i], alternatives=rest)
            if characters:
                found = character_probabilities(scores, reading.text, self.alphabet)
                readings[i] = replace(readings[i], characters=found)
        return readings

    def spell(self, logits: ArrayLike, length: Length | None = None, allowed: str | None = None) -> list[str]:
        """Logits (N, T, K) -> N texts, by their likeliest paths: quicker than `decode`, without confidences."""
        logits, length = self._given(logits, length, allowed)
        return spell(logits, self.alphabet, length)

    def _given(self, logits: ArrayLike, length: Length | None, allowed: str | None) -> tuple[ArrayLike, Length]:
        if allowed is not None:
            logits = restrict(logits, self.alphabet, allowed)
        return logits, (self.length or 0) if length is None else length


def weights_path(weights: str | Path) -> Path:
    """The file of weights that are given by the name of pretrained ones or by their path."""
    return WEIGHTS_DIR / PRETRAINED[str(weights)] if str(weights) in PRETRAINED else Path(weights)


def reader_facts(stored: dict) -> dict | None:
    """What a weights file says of its `Reader`, as arguments of it; None where it cannot be true."""
    alphabet, size, length, temperature, conversion, sizes = (stored[name] for name in FACTS)
    sound = (
        isinstance(alphabet, str)
        and 1 <= len(alphabet) == len(set(alphabet)) <= MAX_CHARACTERS
        and alphabet.isprintable()
        and _are_sizes([size], MIN_SIDE)
        and (length is None or (type(length) is int and length >= 1))
        and isinstance(temperature, list | tuple)
        and [type(one) for one in temperature] == [float, float]
        and all(0 < one < np.inf for one in temperature)
        and conversion in CONVERSIONS
        and isinstance(sizes, list | tuple)
        and (not sizes or (len(sizes) == 2 and _are_sizes(sizes, 1)))
    )
    if not sound:
        return None
    given = {"alphabet": Alphabet(alphabet), "image_size": tuple(size), "length": length, "conversion": conversion}
    given |= {"sizes": tuple(map(tuple, sizes))}
    return given | dict(zip(("temperature", "temperature_any"), temperature, strict=True))


def _are_sizes(sizes: Any, least: int) -> bool:
    """Whether each is (H, W) in px, from `least` to what a picture may have."""
    return all(
        isinstance(size, list | tuple)
        and [type(side) for side in size] == [int, int]
        and all(least <= side <= most for side, most in zip(size, (MAX_HEIGHT, MAX_WIDTH), strict=True))
        for size in sizes
    )
