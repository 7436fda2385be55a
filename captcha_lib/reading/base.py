"""`Reader`: what every reader shares: what its weights say, and the way from logits to readings."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import MIN_SIDE, WEIGHTS_DIR, InputError
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
PRETRAINED = {"kaggle": "kaggle.onnx"}


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
    """

    alphabet: Alphabet
    image_size: tuple[int, int]
    length: int | None
    temperature: float = 1.0
    temperature_any: float = 1.0

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

    @abstractmethod
    def logits(self, images: Any, batch_size: int = 64) -> Any:
        """Scores pictures, (N, 1, H, W) uint8 -> (N, T, K) float32."""

    def read(self, images: Any, length: Length | None = None, allowed: str | None = None) -> list[Reading]:
        """Reads pictures of the reader's image size, (N, 1, H, W) uint8 -> N readings; see `decode`."""
        return self.decode(self.logits(images), length, allowed) if len(images) else []

    def decode(self, logits: ArrayLike, length: Length | None = None, allowed: str | None = None) -> list[Reading]:
        """Logits (N, T, K) -> N readings with calibrated confidences.

        Args:
            logits: scores.
            length: characters of every text, or the least and the most, such as (4, 6); None takes the reader's own
                length, 0 lets the network decide.
            allowed: the characters that may occur; None allows the whole alphabet.
        """
        assumed = length is None  # the length of the training labels, and a picture of another kind may have none
        logits, length = self._given(logits, length, allowed)
        if length:
            readings = decode_length(logits, self.alphabet, length, among_all=assumed)
        else:
            readings = decode_greedy(logits, self.alphabet)
        temperature = self.temperature if length or not self.length else self.temperature_any
        scaled = scale_confidence([reading.confidence for reading in readings], temperature).tolist()
        return [Reading(reading.text, p) for reading, p in zip(readings, scaled, strict=True)]

    def spell(self, logits: ArrayLike, length: Length | None = None, allowed: str | None = None) -> list[str]:
        """Logits (N, T, K) -> N texts, by their likeliest paths: quicker than `decode`, without confidences."""
        logits, length = self._given(logits, length, allowed)
        return spell(logits, self.alphabet, length)

    def alternatives(
        self, logits: ArrayLike, count: int, length: Length | None = None, allowed: str | None = None
    ) -> list[Reading]:
        """Logits of one picture (T, K) -> its likeliest texts, at least `count` if there are so many, best first.

        Their probabilities are not calibrated. See `decode` for the other arguments.
        """
        logits, length = self._given(logits, length, allowed)
        return alternatives(logits, self.alphabet, length, width=max(8, count))

    def characters(self, logits: ArrayLike, text: str, allowed: str | None = None) -> tuple[float, ...]:
        """Logits of one picture (T, K) and its text -> the probability of each character, see `decode`."""
        return character_probabilities(self._given(logits, None, allowed)[0], text, self.alphabet)

    def _given(self, logits: ArrayLike, length: Length | None, allowed: str | None) -> tuple[ArrayLike, Length]:
        if allowed is not None:
            logits = restrict(logits, self.alphabet, allowed)
        return logits, (self.length or 0) if length is None else length


def weights_path(weights: str | Path) -> Path:
    """The file of weights that are given by the name of pretrained ones or by their path."""
    return WEIGHTS_DIR / PRETRAINED[str(weights)] if str(weights) in PRETRAINED else Path(weights)


def is_sound(alphabet: object, image_size: object, length: object, temperatures: tuple[object, object]) -> bool:
    """Whether what a weights file says of its `Reader` can be true."""
    return (
        isinstance(alphabet, str)
        and 1 <= len(alphabet) == len(set(alphabet)) <= MAX_CHARACTERS
        and alphabet.isprintable()
        and isinstance(image_size, tuple | list)
        and [type(side) for side in image_size] == [int, int]
        and MIN_SIDE <= image_size[0] <= MAX_HEIGHT
        and MIN_SIDE <= image_size[1] <= MAX_WIDTH
        and (length is None or (type(length) is int and length >= 1))
        and all(type(temperature) is float and 0 < temperature < np.inf for temperature in temperatures)
    )
