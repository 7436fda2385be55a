"""`Captchas`: labelled images, a torchvision data set over one shared array of pixels."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torchvision.datasets import VisionDataset
from torchvision.datasets.vision import StandardTransform

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config
from captcha_lib.data.batches import MemoryBatches, Rank
from captcha_lib.data.colour import GREY
from captcha_lib.data.folders import AnyPath, read_bytes
from captcha_lib.data.images import decode_image
from captcha_lib.data.sizes import fit_images

SUBSETS = ("train", "val", "test")
# What the folders of a split are called, in any case.
_FOLDERS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_NOTHING_SKIPPED = pd.DataFrame(columns=["file", "reason"])


class Captchas(VisionDataset):
    """Labelled images of one size. `captchas[i]` is (image (1, H, W) uint8, label), for a DataLoader, too.

    Subsets, and selections by `rows`, are views: they share the pixels, also among processes of joblib.

    Attributes:
        source: where they come from: "generated", "kaggle" or the name of the folder or zip.
        manifest: one row an image: file, label, sha256 (of the file's bytes), width, height (px, as stored), subset.
        alphabet: the characters that occur in the labels, or those that were given.
        paths, notes: where each file lies; what was done to the files on the way, one sentence each.
        skipped: the files that were left out since they cannot be learnt: file, reason.
        conversion: from colours to the grey of the pixels, see `colour`.
    """

    def __init__(
        self,
        source: str,
        manifest: pd.DataFrame,
        pixels: np.ndarray,
        paths: Sequence[AnyPath] = (),
        notes: Sequence[str] = (),
        alphabet: Alphabet | None = None,
        transform: Callable[[torch.Tensor], Any] | None = None,
        target_transform: Callable[[str], Any] | None = None,
        skipped: pd.DataFrame = _NOTHING_SKIPPED,
        conversion: str = GREY,
    ) -> None:
        """`pixels`: (N, H, W) uint8, 0 is black, in the manifest's order."""
        super().__init__(source, transform=transform, target_transform=target_transform)
        self.source, self.manifest, self.paths, self.notes = source, manifest, list(paths), list(notes)
        self.alphabet, self.skipped, self.conversion = alphabet or Alphabet.of(self.labels), skipped, conversion
        self._pixels: np.ndarray = pixels
        self._index: np.ndarray | None = None  # of a selection: which of the pixels

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        image: Any = self.images_at([range(len(self))[i]])[0]
        label: Any = self.manifest["label"].iloc[i]
        return self.transforms(image, label) if self.transforms else (image, label)

    @property
    def images(self) -> torch.Tensor:
        """All the images, (N, 1, H, W) uint8; a copy where these are a selection of others."""
        pixels = self._pixels if self._index is None else self._pixels[self._index]
        return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())[:, None]

    def images_at(self, rows: Any) -> torch.Tensor:
        """The images of some rows, (B, 1, H, W) uint8; the others are not copied."""
        rows = np.asarray(rows)
        return torch.from_numpy(self._pixels[rows if self._index is None else self._index[rows]])[:, None]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images in px."""
        _, height, width = self._pixels.shape
        return height, width

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The least and the largest (H, W) in px of the pictures in their files."""
        sides = self.manifest[["height", "width"]]
        return tuple((int(height), int(width)) for height, width in (sides.min(), sides.max()))

    @property
    def labels(self) -> list[str]:
        return self.manifest["label"].tolist()

    @property
    def length(self) -> int | None:
        """The length of all the labels, or None if they have several."""
        lengths = set(map(len, self.labels))
        return lengths.pop() if len(lengths) == 1 else None

    def named_labels(self) -> list[tuple[str, str]]:
        """The name of each file with its label."""
        return list(zip(self.manifest["file"], self.labels, strict=True))

    def identity(self) -> str:
        """Identifies these images and labels: their number and a digest."""
        listed = self.manifest[["sha256", "label"]].to_csv(index=False)
        seen = "" if self.conversion == GREY else f", {self.conversion}"
        return f"{len(self)} ({hashlib.sha256(listed.encode()).hexdigest()[:8]}{seen})"

    def replace(self, **changes: Any) -> Self:
        """The same images with another source, manifest, alphabet, transform or other attributes."""
        made = object.__new__(type(self))
        made.__dict__ = self.__dict__ | changes
        if {"transform", "target_transform"} & changes.keys():
            made.transforms = StandardTransform(made.transform, made.target_transform)
        return made

    def seen_through(self, conversion: str, size: tuple[int, int] | None = None) -> Self:
        """The same captchas by another conversion of their colours, or at another size (H, W) in px.

        Their files are read again for it, where there are any.
        """
        size = size or self.size
        if (conversion, size) == (self.conversion, self.size):
            return self
        if self.paths:
            named = zip(self.paths, self.manifest["file"], strict=True)
            pictures = [decode_image(read_bytes(path, file), file, conversion) for path, file in named]
        else:  # drawn, and grey
            pictures = [*self.images[:, 0].numpy()]
        pixels, resized = stack_images(pictures, size)
        before = _resize_notes(pictures, self.size)
        notes = [*resized, *(note for note in self.notes if note not in before)]
        return self.replace(_pixels=pixels, _index=None, conversion=conversion, notes=notes)

    def rows(self, rows: Any) -> Self:
        """The images of the given rows (numbers or booleans), in their order, with the same alphabet."""
        rows = np.arange(len(self))[rows]
        paths = [self.paths[i] for i in rows] if self.paths else []
        manifest = self.manifest.iloc[rows].reset_index(drop=True)
        return self.replace(manifest=manifest, paths=paths, _index=rows if self._index is None else self._index[rows])

    def sample(self, most: int) -> Self:
        """At most so many images, evenly spread over all."""
        return self.rows(np.unique(np.linspace(0, len(self) - 1, most, dtype=int)))

    def subset(self, name: str) -> Self:
        """The images of one subset: "train", "val" or "test"."""
        return self.rows((self.manifest["subset"] == name).to_numpy())

    def repeated(self, n: int) -> Self:
        """The images over and over until there are `n`; unchanged where there are as many already."""
        return self.rows(np.resize(np.arange(len(self)), max(n, len(self))))

    def batches(self, config: Config, rank: Rank = Rank()) -> MemoryBatches:
        """The batches of a training; see `batches.Source`."""
        return MemoryBatches(self, config, rank)

    def summary(self) -> str:
        """One line: which data this is and how many images."""
        height, width = self.size
        return " ".join([f"data: {self.source}, {len(self):,} images of {width} x {height} px.", *self.notes])


def in_memory(labels: list[str], images: torch.Tensor, source: str, alphabet: Alphabet | None = None) -> Captchas:
    """Labelled images (N, 1, H, W) uint8 that lie in no file, named by their number and label."""
    rows = [
        (f"{i}_{label}.png", label, hashlib.sha256(image.numpy().tobytes()).hexdigest())
        for i, (label, image) in enumerate(zip(labels, images, strict=True))
    ]
    manifest = pd.DataFrame(rows, columns=["file", "label", "sha256"])
    manifest = manifest.assign(width=images.shape[3], height=images.shape[2], subset="")
    return Captchas(source, manifest, images[:, 0].numpy(), alphabet=alphabet)


def subset_of(name: str) -> str:
    """The subset of a file that lies in a folder of that name, such as Train/ or valid/; "" for any other."""
    return next((_FOLDERS[part.lower()] for part in name.split("/")[:-1] if part.lower() in _FOLDERS), "")


def stack_images(pictures: list[np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    """Puts N pictures (H, W) uint8 into one array, those of another size than (H, W) px resized.

    Returns:
        (N, H, W) uint8, and sentences that say what was resized, if anything.
    """
    return fit_images(pictures, size)[:, 0], _resize_notes(pictures, size)


def _resize_notes(pictures: list[np.ndarray], size: tuple[int, int]) -> list[str]:
    (height, width), usual = size, usual_size(pictures)
    odd = sum(picture.shape != usual for picture in pictures)
    notes = [] if usual == size else [f"images of {usual[1]} x {usual[0]} px are read at {width} x {height} px."]
    if odd:
        notes.append(f"{odd} of {len(pictures)} images had another size and were resized to {width} x {height} px.")
    return notes


def usual_size(pictures: list[np.ndarray]) -> tuple[int, int]:
    """The most frequent size, (H, W) in px."""
    return Counter(picture.shape for picture in pictures).most_common(1)[0][0]
