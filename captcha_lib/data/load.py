"""`load_data`: folder, zip, Kaggle or generator -> `Captchas`.

The data is chosen in words and never guessed: "generated", "kaggle", or the path of a folder or zip of labelled images;
and so is where their labels stand, see `labels`.
"""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError, data_choice, generated_dir, optional_module
from captcha_lib.data.captchas import SUBSETS, Captchas, stack_images, usual_size
from captcha_lib.data.folders import SUFFIXES_IN_WORDS, AnyPath, find_images, open_zip, read_bytes, relative_name
from captcha_lib.data.images import decode_image
from captcha_lib.data.labels import LabelRule
from captcha_lib.data.sizes import reading_size
from captcha_lib.files import new_folder, progress
from captcha_lib.generator.draw import generate_captchas

KAGGLE_HANDLE = "fournierp/captcha-version-2-images"
GENERATED_COUNT, GENERATED_SEED = 1070, 0


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
        size: (H, W) in px of the images; None takes what suits their most frequent size and their longest text, see
            `images.reading_size`.
        rule: where the labels stand; None takes what the environment says, and without it the files' names.

    Raises:
        InputError: no such folder or zip, no images, a file that is not an image or truncated, a label that is empty or
            leaves the alphabet, or one picture under two labels.
    """
    choice = data_choice(choice)
    root = locate(choice)
    files = list(find_images(root))
    if not files:
        raise InputError(f"{choice}: no images there; expected {SUFFIXES_IN_WORDS} files named by their text")
    manifest, pictures = _read_files(root, files, rule or LabelRule.chosen(), alphabet)
    kept = _first_of_each_picture(manifest)
    notes = [] if len(kept) == len(manifest) else [f"{len(manifest) - len(kept)} copies of the same picture left out."]
    manifest = manifest.iloc[kept].reset_index(drop=True)
    names = manifest["file"].str.rpartition("/")[2]
    manifest["file"] = names if names.is_unique else manifest["file"]  # without folders, where that tells them apart
    pictures = [pictures[i] for i in kept]
    pixels, resized = stack_images(pictures, size or _size_for(pictures, manifest))
    source = choice if choice in ("generated", "kaggle") else Path(choice).expanduser().resolve().name
    return Captchas(source, manifest, pixels, [files[i] for i in kept], notes + resized, alphabet)


def _read_files(
    root: AnyPath, files: list[AnyPath], rule: LabelRule, alphabet: Alphabet | None
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """The manifest of image files, and their grey pixels."""
    rows, pictures = [], []
    for path, label in zip(progress(files), rule.read(root, files), strict=True):
        name = relative_name(path, root)
        raw = read_bytes(path, name, root)
        picture = decode_image(raw, name)
        pictures.append(picture)
        rows.append(
            {
                "file": name,
                "label": _checked(label, name, alphabet),
                "sha256": hashlib.sha256(raw).hexdigest(),
                "width": picture.shape[1],
                "height": picture.shape[0],
                "subset": next((folder for folder in name.split("/")[:-1] if folder in SUBSETS), ""),
            }
        )
    return pd.DataFrame(rows), pictures


def locate(choice: str) -> AnyPath:
    """The folder or zip that a choice of data names; the generated captchas are drawn, those of Kaggle downloaded."""
    if choice == "generated":
        folder = generated_dir()
        if not folder.exists():
            write_captchas(*generate_captchas(GENERATED_COUNT, GENERATED_SEED), folder)
        return folder
    if choice == "kaggle":
        return _download_kaggle()
    if not choice:
        raise InputError("data '': it is empty; give 'generated', 'kaggle' or a path")
    try:
        path = Path(choice).expanduser()
        return path if path.is_dir() else open_zip(path, choice)
    except InputError:
        raise
    except zipfile.BadZipFile:
        raise InputError(f"data {choice!r}: not a zip; give a folder or a zip of images") from None
    except (OSError, RuntimeError, ValueError):  # such as a name too long, or the home of a user who does not exist
        raise InputError(f"data {choice!r}: no such folder or zip; give 'generated', 'kaggle' or a path") from None


def write_captchas(texts: list[str], images: torch.Tensor, folder: Path) -> None:
    """Writes images (N, 1, H, W) uint8 as `folder/<text>.png`, all of them or none, into a new folder."""
    with new_folder(folder) as part:
        for text, image in zip(progress(texts), images, strict=True):
            Image.fromarray(image[0].numpy()).save(part / f"{text}.png")


def _download_kaggle() -> Path:
    kagglehub = optional_module("kagglehub")
    try:
        return Path(kagglehub.dataset_download(KAGGLE_HANDLE))
    except Exception as error:  # kagglehub lets many kinds through: requests', urllib3's, its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"kaggle: the download failed ({reason}); get the images and give their folder") from None


def _size_for(pictures: list[np.ndarray], manifest: pd.DataFrame) -> tuple[int, int]:
    """The size to read pictures at; what hinders it is said of the file with the longest label."""
    longest = manifest.loc[manifest["label"].str.len().idxmax()]
    try:
        return reading_size(usual_size(pictures), len(longest["label"]))
    except InputError as error:
        raise InputError(f"{longest['file']}: {error}") from None


def _checked(label: str, file: str, alphabet: Alphabet | None) -> str:
    if not file.isprintable():  # no table could hold it and be read again
        raise InputError(f"{file}: its name holds non-printable characters; rename it")
    if not label:
        raise InputError(f"{file}: the label is empty; name the file by its text, as in 2b827.png, or use a labels.csv")
    if not label.isprintable():
        raise InputError(f"{file}: the label {label!r} holds non-printable characters; correct it")
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
