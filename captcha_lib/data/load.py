"""`load_data`: "generated", "kaggle", or the path of a folder or zip of labelled images -> `Captchas`."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from captcha_lib.alphabet import ANY, Alphabet, named
from captcha_lib.config import InputError, data_choice, generated_dir, optional_module
from captcha_lib.data.captchas import Captchas, stack_images, subset_of, usual_size
from captcha_lib.data.colour import GREY
from captcha_lib.data.copies import without_copies
from captcha_lib.data.folders import SUFFIXES_IN_WORDS, AnyPath, find_images, open_zip, read_bytes, relative_name
from captcha_lib.data.images import decode, decode_image
from captcha_lib.data.labels import LabelRule
from captcha_lib.data.report import Report
from captcha_lib.data.sizes import reading_size
from captcha_lib.data.tables import is_table
from captcha_lib.files import new_folder, progress
from captcha_lib.generator.draw import generate_captchas

KAGGLE_HANDLE = "fournierp/captcha-version-2-images"
GENERATED_COUNT, GENERATED_SEED = 1070, 0


def load_data(
    choice: str | None = None,
    alphabet: Alphabet | None = None,
    size: tuple[int, int] | None = None,
    rule: LabelRule | None = None,
    skip_bad: bool = False,
    conversion: str = GREY,
) -> Captchas:
    """Finds, checks and reads labelled images.

    Args:
        choice: "generated", "kaggle", or a folder or zip; None takes CAPTCHA_DATA, and without it "generated".
        alphabet: if given, every label has to be written in it.
        size: (H, W) in px of the images; None takes what suits them, see `sizes.reading_size`.
        rule: where the labels stand; None takes what the environment says, see `LabelRule.chosen`.
        skip_bad: leaves files out that cannot be learnt, instead of refusing all; they are listed in `skipped`.
        conversion: from colours to grey, see `colour`.

    Raises InputError: no such folder or zip, no images; or files that cannot be learnt, all of which it names.
    """
    captchas, report = examine(choice, alphabet, size, rule)
    if captchas is None or (report.troubles and not skip_bad):
        raise report.error()
    return captchas.seen_through(conversion)


def examine(
    choice: str | None = None,
    alphabet: Alphabet | None = None,
    size: tuple[int, int] | None = None,
    rule: LabelRule | None = None,
) -> tuple[Captchas | None, Report]:
    """`load_data` of the files that can be learnt, None where there are none, and what was found in all files."""
    choice = data_choice(choice)
    root, rule = locate(choice), rule or LabelRule.chosen()
    others: list[AnyPath] = []
    files = {relative_name(path, root): path for path in find_images(root, others)}
    if not files:
        raise InputError(f"{choice}: no images there; expected {SUFFIXES_IN_WORDS} files named by their text")
    source = choice if choice in ("generated", "kaggle") else Path(choice).expanduser().resolve().name
    report = Report(source, root=root)
    for name in [other.name for other in others if not is_table(other.name) and not other.name.startswith(".")]:
        report.doubt(f"other files left out, {Path(name).suffix or 'without a suffix'}", name, name)
    labels = rule.read(root, list(files), others, report)
    manifest, pictures = _read_files(root, files, labels, alphabet, report)
    paths = [files[name] for name in manifest["file"]]

    def in_colours(i: int) -> bytes:
        raw, name = read_bytes(paths[i], "", root), manifest["file"][i]
        return b"".join(decode_image(raw, name, f"{channel} channel").tobytes() for channel in ("red", "green", "blue"))

    kept = without_copies(manifest, pictures, in_colours, report)
    if not kept:
        return None, report
    manifest, skipped = manifest.iloc[kept].reset_index(drop=True), report.skipped()
    pictures, paths = [pictures[i] for i in kept], [paths[i] for i in kept]
    names = manifest["file"].str.rpartition("/")[2]
    manifest["file"] = names if names.is_unique else manifest["file"]  # without folders, where that tells them apart
    pixels, resized = stack_images(pictures, size or _size_for(pictures, manifest))
    left_out = [f"{len(skipped):,} files left out, see skipped.csv."] if len(skipped) else []
    notes = [*report.notes(), *resized, *left_out]
    return Captchas(source, manifest, pixels, paths, notes, alphabet, skipped=skipped), report


def _read_files(
    root: AnyPath, files: dict[str, AnyPath], labels: list[str | None], alphabet: Alphabet | None, report: Report
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """The manifest of the files that are images with a label, and their grey pixels."""
    rows, pictures = [], []
    for (name, path), label in zip(progress(files.items()), labels, strict=True):
        try:
            raw = read_bytes(path, name, root)
            picture, notes = decode(raw, name)
        except InputError as error:
            report.refuse("bad files", name, str(error))
            continue
        if fault := _fault(label, name, alphabet):
            report.refuse("faulty labels", name, fault)
        elif label is not None:
            for note in notes:
                report.doubt(f"images: {note}", name, f"{name}: {note}")
            height, width = picture.shape
            rows.append((name, label, hashlib.sha256(raw).hexdigest(), width, height, subset_of(name)))
            pictures.append(picture)
    return pd.DataFrame(rows, columns=["file", "label", "sha256", "width", "height", "subset"]), pictures


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


def _fault(label: str | None, file: str, alphabet: Alphabet | None) -> str | None:
    """What is wrong with a label, if anything."""
    if not file.isprintable():  # no table could hold it and be read again
        return f"{file}: its name holds non-printable characters; rename it"
    if label == "":
        return f"{file}: the label is empty; name the file by its text, as in 2b827.png, or use a labels.csv"
    if label and not label.isprintable():
        hidden = next(character for character in label if not character.isprintable())
        return f"{file}: the label {label!r} holds non-printable characters, {named(hidden)}; correct it"
    if label and ANY in label:
        return f"{file}: the label {label!r} holds {named(ANY)}, the mark of a wrong encoding; write it in UTF-8"
    try:
        if label and alphabet is not None:
            alphabet.encode(label)
    except InputError as error:
        return f"{file}: {error}"
    return None
