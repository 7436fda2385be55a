"""Any number of image files -> a row each: what was read, or why not. Nothing here imports torch.

Files are read a batch at a time, so that memory does not grow with their number.
"""

import csv
import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from captcha_lib.config import InputError, printable
from captcha_lib.data.folders import SUFFIXES_IN_WORDS, find_images, read_bytes
from captcha_lib.data.images import decode_image
from captcha_lib.data.sizes import fit_image
from captcha_lib.decode import Length
from captcha_lib.files import progress
from captcha_lib.reading.base import Reader
from captcha_lib.reading.read import read_views, views

BATCH = 64  # files
COLUMNS = ("file", "text", "confidence")


class ImageFile(NamedTuple):
    """An image file, and the folder that it was found in, if it was not named itself."""

    path: Path
    root: Path | None = None


def image_files(paths: Iterable[Path]) -> list[ImageFile]:
    """The files among the paths, and the image files in the folders among them; raises InputError if there are none."""
    return [file for path in paths for file in _image_files(path)]


def load_pictures(files: list[ImageFile], reader: Reader) -> np.ndarray:
    """Files at the size that a reader takes, (N, 1, H, W) uint8; raises InputError that names all bad ones."""
    pictures, bad = [], []
    for file in progress(files):
        try:
            raw = read_bytes(file.path, str(file.path), file.root)
            pictures.append(fit_image(decode_image(raw, str(file.path), reader.conversion), reader.image_size))
        except InputError as error:
            bad.append(str(error))
    if bad:
        raise InputError(f"{len(bad):,} files cannot be read; remove them", *bad)
    return np.stack(pictures)[:, None]


def read_files(
    files: list[ImageFile],
    reader: Reader,
    length: Length | None = None,
    allowed: str | None = None,
    characters: bool = False,
) -> Iterator[dict]:
    """Reads files as `read` does: a row each with file, text, confidence, resized, note, and error where it fails.

    With `characters` the probability of each character is computed, too.
    """
    for batch in progress([files[start : start + BATCH] for start in range(0, len(files), BATCH)]):
        rows, shown = [], []
        for file in batch:
            name = str(file.path)
            row: dict = {"file": name, "text": None, "confidence": None, "error": None}
            try:
                picture = decode_image(read_bytes(file.path, name, file.root), name, reader.conversion)
                shown.append(views(picture, reader))  # at once, for pictures can be large
                row["resized"] = picture.shape != reader.image_size
            except InputError as error:
                row["error"] = str(error)
            rows.append(row)
        readings = iter(read_views(shown, reader, length, allowed, characters=characters))
        for row in rows:
            if row["error"] is None:
                reading = next(readings)
                row |= {"text": reading.text, "confidence": round(reading.confidence, 6), "note": reading.note}
                row |= {"characters": [round(p, 6) for p in reading.characters]} if characters else {}
            yield row


def as_table(rows: Iterable[dict], wide: int) -> Iterator[str]:
    """Columns for people; `wide` is the width of the first one in characters."""
    for row in rows:
        text = "(withheld)" if row["text"] is None else row["text"]
        yield f"{printable(row['file']):{wide}}  {text}  {row['confidence']:.4f}\n"


def as_json(rows: Iterable[dict], wide: int) -> Iterator[str]:
    """A list of objects."""
    yield "["
    for i, row in enumerate(rows):
        shown = {name: row[name] for name in (*COLUMNS, "characters") if name in row}
        item = json.dumps(shown, indent=2, ensure_ascii=False)
        yield (",\n" if i else "\n") + textwrap.indent(item, "  ")
    yield "\n]\n"


def as_csv(rows: Iterable[dict], wide: int) -> Iterator[str]:
    """A table with a header."""
    echo = SimpleNamespace(write=str)  # gives each line back
    table = csv.DictWriter(echo, COLUMNS, lineterminator="\n", extrasaction="ignore")
    yield table.writeheader()
    yield from map(table.writerow, rows)


FORMS = {"table": as_table, "json": as_json, "csv": as_csv}


def _image_files(path: Path) -> Iterator[ImageFile]:
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: no such file or folder")
        yield ImageFile(path)
        return
    found = list(find_images(path))
    if not found:
        raise InputError(f"{path}: no images in this folder; expected {SUFFIXES_IN_WORDS}")
    for file in found:
        yield ImageFile(file, path)  # type: ignore[arg-type]  # a zip is no folder here
