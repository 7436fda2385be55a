"""Any number of image files -> a row each: what was read, or why not. It goes on where it was stopped.

Files are read a batch at a time, so that memory does not grow with their number. Nothing here imports torch.
"""

import csv
import hashlib
import io
import json
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from captcha_lib.config import InputError, printable
from captcha_lib.files import progress
from captcha_lib.images import SUFFIXES_IN_WORDS, decode_image, find_images, fit_images, read_bytes

if TYPE_CHECKING:
    from captcha_lib.onnx_reader import OnnxReader
    from captcha_lib.reader import Reader

BATCH = 256  # files
COLUMNS = ("file", "text", "confidence")


@dataclass(frozen=True)
class ImageFile:
    """An image file, and the folder that it was found in, if it was not named itself."""

    path: Path
    root: Path | None = None

    def stamp(self) -> list:
        """Changes when the file does: its name, size in bytes and time of change in ns."""
        try:
            status = self.path.stat()
        except OSError:
            return [str(self.path), 0, 0]
        return [str(self.path), status.st_size, status.st_mtime_ns]


def image_files(paths: Iterable[Path]) -> list[ImageFile]:
    """The files among the paths, and the image files in the folders among them.

    Raises:
        InputError: a path that leads nowhere, or a folder without images.
    """
    return [file for path in paths for file in _image_files(path)]


def read_files(
    files: list[ImageFile],
    reader: "Reader | OnnxReader",
    length: int | None = None,
    allowed: str | None = None,
    journal: Path | None = None,
) -> Iterator[dict]:
    """Reads files: one row each with file, text, confidence, resized and, of a file that cannot be read, error.

    Args:
        files: which.
        reader: whatever `reading.load_reader` gives.
        length, allowed: see `Decoder.decode`.
        journal: a file in which finished batches are kept. Those that are there already and whose files have not
            changed since are not read again; the caller removes it when all is done.

    Raises:
        OSError: the journal cannot be written.
    """
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    done = 0 if journal is None or not journal.exists() else _count_done(journal, batches)
    if done:
        with journal.open(encoding="utf-8") as lines:
            for line in islice(lines, done):
                yield from json.loads(line)["rows"]
    for batch in progress(batches[done:]):
        stamps = [file.stamp() for file in batch]  # before reading: a change in between is seen the next time
        rows = _read_batch(batch, reader, length, allowed)
        if journal is not None:
            _append(journal, {"stamps": stamps, "rows": rows})
        yield from rows


def journal_of(out: Path, weights: Path, *asked: object) -> Path:
    """Where the batches for a file `out` are kept: another place for other weights or another question."""
    told = hashlib.sha256(weights.read_bytes() + repr(asked).encode()).hexdigest()[:16]
    return out.with_name(f".rows-{told}-{out.name}")


def as_table(rows: Iterable[dict], wide: int) -> Iterator[str]:
    """Columns for people; `wide` is the width of the first one in characters."""
    for row in rows:
        text = "(withheld)" if row["text"] is None else row["text"]
        yield f"{printable(row['file']):{wide}}  {text}  {row['confidence']:.4f}\n"


def as_json(rows: Iterable[dict], wide: int) -> Iterator[str]:
    """A list of objects."""
    yield "["
    for i, row in enumerate(rows):
        told = json.dumps({name: row[name] for name in COLUMNS}, indent=2, ensure_ascii=False)
        yield (",\n" if i else "\n") + textwrap.indent(told, "  ")
    yield "\n]\n"


def as_csv(rows: Iterable[dict], wide: int) -> Iterator[str]:
    """A table with a header."""
    line = io.StringIO()
    table = csv.DictWriter(line, COLUMNS, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    yield line.getvalue()
    for row in rows:
        line.seek(0)
        line.truncate()
        table.writerow(row)
        yield line.getvalue()


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
        yield ImageFile(file, path)


def _read_batch(batch: list[ImageFile], reader, length: int | None, allowed: str | None) -> list[dict]:
    rows, pictures = [], []
    for file in batch:
        row = {"file": str(file.path), "text": None, "confidence": None, "resized": False, "error": None}
        try:
            picture = decode_image(read_bytes(file.path, row["file"], file.root), row["file"])
        except InputError as error:
            row["error"] = str(error)
        else:
            row["resized"] = picture.shape != reader.image_size
            pictures.append(fit_images([picture], reader.image_size))  # at once, for pictures can be large
        rows.append(row)
    readings = reader.read(np.concatenate(pictures), length, allowed) if pictures else []
    read = (row for row in rows if row["error"] is None)
    for row, reading in zip(read, readings, strict=True):
        row["text"], row["confidence"] = reading.text, round(reading.confidence, 6)
    return rows


def _count_done(journal: Path, batches: list[list[ImageFile]]) -> int:
    """How many of the batches are in the journal; what stands there after them, such as half a line, is cut off."""
    done = whole = 0
    with journal.open("rb") as lines:
        for line, batch in zip(lines, batches, strict=False):
            if _stamps(line) != [file.stamp() for file in batch]:
                break
            done, whole = done + 1, whole + len(line)
    with journal.open("rb+") as lines:
        lines.truncate(whole)
    return done


def _stamps(line: bytes) -> list | None:
    """Those of a line of the journal; None if it is not whole."""
    try:
        return json.loads(line)["stamps"] if line.endswith(b"\n") else None
    except (ValueError, TypeError, KeyError):
        return None


def _append(journal: Path, entry: dict) -> None:
    with journal.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(entry) + "\n")
