"""Folder, zip, Kaggle or generator -> a checked manifest and one tensor of all the images.

The data is chosen in words and never guessed: "generated", "kaggle", or the path of a folder or zip of labelled images;
and so is where their labels stand, see `labels`.
"""

import hashlib
import zipfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import GENERATED_DIR, InputError, data_choice
from captcha_lib.files import new_folder, progress
from captcha_lib.generate import generate_captchas
from captcha_lib.images import (
    SUFFIXES_IN_WORDS,
    AnyPath,
    decode_image,
    find_images,
    fit_images,
    read_bytes,
    reading_size,
    relative_name,
)
from captcha_lib.labels import LabelRule
from captcha_lib.style import KAPTCHA, Style

KAGGLE_HANDLE = "fournierp/captcha-version-2-images"
SUBSETS = ("train", "val", "test")
GENERATED_COUNT, GENERATED_SEED = 1070, 0


@dataclass(frozen=True)
class Captchas:
    """Labelled images.

    Attributes:
        source: where they come from, for people: "generated", "kaggle" or the name of the folder or zip.
        manifest: one row an image: file, label, sha256 (of the file's bytes), width, height (px, as stored), subset.
        images: (N, 1, H, W) uint8, 0 is black, in the manifest's order.
        paths: where each file lies.
        notes: what was done to the files on the way, one sentence each.
    """

    source: str
    manifest: pd.DataFrame
    images: torch.Tensor
    paths: list[AnyPath]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def labels(self) -> list[str]:
        return self.manifest["label"].tolist()

    @property
    def length(self) -> int | None:
        """The length of all the labels, or None if they have several."""
        lengths = set(map(len, self.labels))
        return lengths.pop() if len(lengths) == 1 else None

    def identity(self) -> str:
        """Tells these images and labels from others."""
        listed = self.manifest[["sha256", "label"]].to_csv(index=False)
        return f"{len(self)} ({hashlib.sha256(listed.encode()).hexdigest()[:8]})"

    def subset(self, name: str) -> "Captchas":
        """The images of one subset: "train", "val" or "test"."""
        return self.rows(np.flatnonzero(self.manifest["subset"] == name))

    def rows(self, rows: np.ndarray) -> "Captchas":
        """The images of the given rows, in their order."""
        manifest = self.manifest.iloc[rows].reset_index(drop=True)
        return replace(self, manifest=manifest, images=self.images[rows], paths=[self.paths[i] for i in rows])

    def summary(self) -> str:
        """One line: which data this is and how many images."""
        height, width = self.images.shape[-2:]
        return " ".join([f"data: {self.source}, {len(self):,} images of {width} x {height} px.", *self.notes])


def load_data(
    choice: str | None = None,
    alphabet: Alphabet | None = None,
    size: tuple[int, int] | None = None,
    rule: LabelRule | None = None,
) -> Captchas:
    """Finds, checks and reads labelled images.

    Args:
        choice: "generated", "kaggle", or a folder or zip; None takes CAPTCHA_DATA, and without it "generated".
        alphabet: if given, every label has to be written in it.
        size: (H, W) in px of the tensor's images; None takes what suits their most frequent size and their longest
            text, see `images.reading_size`.
        rule: where the labels stand; None takes what the environment says, and without it the files' names.

    Raises:
        InputError: nothing there, no images, a file that is no image or is cut off, a label that is empty or leaves
            the alphabet, or one picture under two labels.
    """
    choice = data_choice(choice)
    root = locate(choice)
    files = list(find_images(root))
    if not files:
        raise InputError(f"{choice}: no images there; expected {SUFFIXES_IN_WORDS} files named by their text")
    rows, pictures = [], []
    labels = (rule or LabelRule.chosen()).read(root, files)
    for path, label in zip(progress(files), labels, strict=True):
        name = relative_name(path, root)
        raw = read_bytes(path, name, root)
        picture = decode_image(raw, name)
        rows.append(
            {
                "file": name,
                "label": _checked(label, name, alphabet),
                "sha256": hashlib.sha256(raw).hexdigest(),
                "width": picture.shape[1],
                "height": picture.shape[0],
                "subset": _subset_folder(name),
            }
        )
        pictures.append(picture)
    manifest = pd.DataFrame(rows)
    kept = _first_of_each_picture(manifest)
    notes = [] if len(kept) == len(manifest) else [f"{len(manifest) - len(kept)} copies of the same picture left out."]
    manifest = manifest.iloc[kept].reset_index(drop=True)
    manifest["file"] = _short_names(manifest["file"])
    pictures = [pictures[i] for i in kept]
    size = size or _size_for(pictures, manifest)
    images, resized = stack_images(pictures, size)
    source = choice if choice in ("generated", "kaggle") else Path(choice).expanduser().resolve().name
    return Captchas(source, manifest, images, [files[i] for i in kept], notes + resized)


def locate(choice: str) -> AnyPath:
    """The folder or zip that a choice of data names; the generated captchas are drawn, those of Kaggle downloaded.

    Raises:
        InputError: there is none, or the download failed.
    """
    if choice == "generated":
        if not GENERATED_DIR.exists():
            write_captchas(*generate_captchas(GENERATED_COUNT, GENERATED_SEED), GENERATED_DIR)
        return GENERATED_DIR
    if choice == "kaggle":
        return _download_kaggle()
    if not choice:
        raise InputError("data '': it is empty; give 'generated', 'kaggle' or a path")
    try:
        path = Path(choice).expanduser()
        return path if path.is_dir() else _open_zip(path, choice)
    except InputError:
        raise
    except zipfile.BadZipFile:
        raise InputError(f"data {choice!r}: this file is no zip; give a folder or a zip of images") from None
    except (OSError, RuntimeError, ValueError):  # such as a name too long, or the home of a user who does not exist
        raise InputError(f"data {choice!r}: no such folder or zip; give 'generated', 'kaggle' or a path") from None


def in_memory(labels: list[str], images: torch.Tensor, source: str) -> Captchas:
    """Labelled images (N, 1, H, W) uint8 that lie in no file, called by their number and label."""
    rows = [
        {"file": f"{i}_{label}.png", "label": label, "sha256": hashlib.sha256(image.numpy().tobytes()).hexdigest()}
        for i, (label, image) in enumerate(zip(labels, images, strict=True))
    ]
    manifest = pd.DataFrame(rows).assign(width=images.shape[3], height=images.shape[2], subset="")
    return Captchas(source, manifest, images, [Path(file) for file in manifest["file"]])


def generated_captchas(n: int, seed: int, style: Style = KAPTCHA) -> Captchas:
    """Draws `n` captchas with different texts that lie in no file."""
    return in_memory(*generate_captchas(n, seed, style), "generated")


def concatenate(one: Captchas, two: Captchas) -> Captchas:
    """The images of both, in this order.

    Raises:
        InputError: they have different sizes.
    """
    sizes = [tuple(captchas.images.shape[:1:-1]) for captchas in (one, two)]
    if sizes[0] != sizes[1]:
        raise InputError(f"{one.source}: images of {sizes[0]} px do not go with {two.source} ones of {sizes[1]} px")
    manifest = pd.concat([one.manifest, two.manifest], ignore_index=True)
    return replace(one, manifest=manifest, images=torch.cat([one.images, two.images]), paths=one.paths + two.paths)


def repeated(captchas: Captchas, n: int) -> Captchas:
    """The images over and over until there are `n`; as they are where there are as many already."""
    return captchas.rows(np.resize(np.arange(len(captchas)), max(n, len(captchas))))


def stack_images(pictures: list[np.ndarray], size: tuple[int, int]) -> tuple[torch.Tensor, list[str]]:
    """Puts pictures into one tensor, those of another size resized.

    Args:
        pictures: N arrays (H, W) uint8.
        size: (H, W) in px.

    Returns:
        (N, 1, H, W) uint8, and sentences that say what was resized, if anything.
    """
    (height, width), usual = size, _usual_size(pictures)
    odd = sum(picture.shape != usual for picture in pictures)
    notes = [] if usual == size else [f"images of {usual[1]} x {usual[0]} px are read at {width} x {height} px."]
    if odd:
        notes.append(f"{odd} of {len(pictures)} images had another size and were resized to {width} x {height} px.")
    return torch.from_numpy(fit_images(pictures, size)), notes


def write_captchas(texts: list[str], images: torch.Tensor, folder: Path) -> None:
    """Writes images (N, 1, H, W) uint8 as `folder/<text>.png`, all of them or none.

    Raises:
        InputError: the folder holds something already, or cannot be written.
    """
    with new_folder(folder) as part:
        for text, image in zip(progress(texts), images, strict=True):
            Image.fromarray(image[0].numpy()).save(part / f"{text}.png")


def _open_zip(path: Path, choice: str) -> zipfile.Path:
    """A zip whose names are those of files in it, each once. Others could be read twice, or never to an end."""
    archive = zipfile.ZipFile(path)
    names = Counter(archive.namelist())
    strange = [name for name in names if name.startswith("/") or {"", ".", ".."} & set(name.rstrip("/").split("/"))]
    if strange:
        raise InputError(f"data {choice!r}: it holds {strange[0]!r}, which is no place in it; pack it anew")
    name, times = names.most_common(1)[0] if names else ("", 1)
    if times > 1:
        raise InputError(f"data {choice!r}: {times} files in it are called {name!r}; rename them, or zip a folder")
    return zipfile.Path(archive)


def _download_kaggle() -> Path:
    import kagglehub  # here, because only this word needs it and it is slow to import

    try:
        return Path(kagglehub.dataset_download(KAGGLE_HANDLE))
    except Exception as error:  # kagglehub lets many kinds through: requests', urllib3's, its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"kaggle: the download failed ({reason}); get the images and give their folder") from None


def _size_for(pictures: list[np.ndarray], manifest: pd.DataFrame) -> tuple[int, int]:
    """The size to read pictures at; what hinders it is said of the file with the longest label."""
    longest = manifest.loc[manifest["label"].str.len().idxmax()]
    try:
        return reading_size(_usual_size(pictures), len(longest["label"]))
    except InputError as error:
        raise InputError(f"{longest['file']}: {error}") from None


def _usual_size(pictures: list[np.ndarray]) -> tuple[int, int]:
    """The most frequent size, (H, W) in px."""
    return Counter(picture.shape for picture in pictures).most_common(1)[0][0]


def _subset_folder(file: str) -> str:
    """The subset that a train/ val/ test/ layout puts the file in, or ""."""
    return next((folder for folder in file.split("/")[:-1] if folder in SUBSETS), "")


def _checked(label: str, file: str, alphabet: Alphabet | None) -> str:
    if not file.isprintable():  # no table could hold it and be read again
        raise InputError(f"{file}: its name holds characters that cannot be seen; rename it")
    if not label:
        raise InputError(f"{file}: the label is empty; name the file by its text, as in 2b827.png, or use a labels.csv")
    if not label.isprintable():
        raise InputError(f"{file}: the label {label!r} holds characters that cannot be seen; correct it")
    if alphabet is not None:
        try:
            alphabet.encode(label)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
    return label


def _first_of_each_picture(manifest: pd.DataFrame) -> list[int]:
    """The rows left when every picture is kept once; one picture under two labels is an error."""
    labels = manifest.groupby("sha256")["label"].nunique()
    disputed = manifest[manifest["sha256"].isin(labels.index[labels > 1])]
    if len(disputed):
        one = disputed[disputed["sha256"] == disputed["sha256"].iloc[0]].drop_duplicates("label")
        said = " and ".join(f"{row.label!r} ({row.file})" for row in one.itertuples())
        raise InputError(f"one picture has different labels: {said}; keep the right one")
    return np.flatnonzero(~manifest["sha256"].duplicated()).tolist()


def _short_names(files: pd.Series) -> pd.Series:
    """Drops the folders from the names, unless two files would then be called the same."""
    names = files.str.rpartition("/")[2]
    return names if names.is_unique else files
