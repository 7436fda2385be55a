"""Any number of image files -> a row each: what was read, or why not. Nothing here imports torch.

Files are read a batch at a time, so that memory does not grow with their number.
"""

import csv
import json
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captcha_lib.config import InputError, printable
from captcha_lib.data.folders import SUFFIXES_IN_WORDS, find_images, read_bytes
from captcha_lib.data.images import decode_image
from captcha_lib.data.sizes import fit_image, fit_images
from captcha_lib.decode import Length
from captcha_lib.files import progress
from captcha_lib.reading.base import Reader

BATCH = 64  # files
COLUMNS = ("file", "text", "confidence")


class ImageFile(NamedTuple):
    """An image file, and the folder that it was found in, if it was not named itself."""

    path: Path
    root: Path | None = None


def image_files(paths: Iterable[Path]) -> list[ImageFile]:
    """The files among the paths, and the image files in the folders among them; raises InputError if there are none."""
    return [file for path in paths for file in _image_files(path)]


def read_files(
    files: list[ImageFile],
    reader: Reader,
    length: Length | None = None,
    allowed: str | None = None,
    characters: bool = False,
) -> Iterator[dict]:
    """Reads files as `Reader.read` does: a row each with file, text, confidence, resized, and error where it fails.

    With `characters` the probability of each character is computed, too.
    """
    for batch in progress([files[start : start + BATCH] for start in range(0, len(files), BATCH)]):
        for row, scores in _read_batch(batch, reader, length, allowed):
            if characters and scores is not None:
                found = reader.characters(scores, row["text"], allowed)
                row["characters"] = [round(p, 6) for p in found]
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
    table = csv.DictWriter(_Echo(), COLUMNS, lineterminator="\n", extrasaction="ignore")
    yield table.writeheader()
    yield from map(table.writerow, rows)


class _Echo:
    write = staticmethod(str)  # gives each line back to its writer


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


def _read_batch(
    batch: list[ImageFile], reader: Reader, length: Length | None, allowed: str | None
) -> Iterator[tuple[dict, np.ndarray | None]]:
    """Rows, and the scores (T, K) of those that could be read."""
    rows, pictures = [], []
    for file in batch:
        row: dict = {"file": str(file.path), "text": None, "confidence": None, "resized": False, "error": None}
        try:
            picture = decode_image(read_bytes(file.path, row["file"], file.root), row["file"])
        except InputError as error:
            row["error"] = str(error)
        else:
            row["resized"] = picture.shape != reader.image_size
            pictures.append(fit_image(picture, reader.image_size))  # at once, for pictures can be large
        rows.append(row)
    logits = reader.logits(fit_images(pictures, reader.image_size)) if pictures else []
    found = iter(zip(reader.decode(logits, length, allowed) if pictures else [], logits, strict=True))
    for row in rows:
        scores = None
        if row["error"] is None:
            reading, scores = next(found)
            row["text"], row["confidence"] = reading.text, round(reading.confidence, 6)
        yield row, scores
