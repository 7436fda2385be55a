"""Tables of labels beside images, or above them: file -> label, whatever the table and its columns are called."""

import csv
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from captcha_lib.config import InputError
from captcha_lib.data.folders import AnyPath, read_bytes, relative_name
from captcha_lib.data.report import Report

# What tables of labels are called, in any case: one of these words, alone or beside others, and one of the suffixes.
_WORDS = (
    r"labels?|metadata|annotations?|train|training|val|valid|validation|dev|test|testing|texts?|captions?|captchas?|"
    r"data|dataset|gt|truth|groundtruth|answers?|solutions?|transcriptions?"
)
_SEPARATORS = {".csv": ",;\t|", ".tsv": "\t", ".txt": "\t,;| ", ".jsonl": ""}
# What the columns are called, in any case and without the signs between words; the first that is there is taken.
_FILES = (
    "file", "filename", "filepath", "image", "imagename", "imagepath", "imagefile", "img", "imgname", "imgpath", "path",
    "picture", "name", "id", "key",
)  # fmt: skip
_LABELS = (
    "label", "labels", "text", "captcha", "solution", "answer", "value", "caption", "transcription", "groundtruth",
    "gt", "code", "word", "string",
)  # fmt: skip
_GUARD = re.compile(r"""="(.*)"|'([0-9]+)""")  # what people put around a number so that a spreadsheet keeps its zeros
_ROUNDED = re.compile(r"[0-9](\.[0-9]+)?E\+[0-9]+")


class Table(NamedTuple):
    """The rows of a table: their lines, what they call their files, the labels, and what is wrong with some lines."""

    lines: list[int]
    files: list[str]
    labels: list[str]
    faults: dict[int, str]


def is_table(name: str) -> bool:
    """Whether a file that is called so should be a table of labels."""
    path = Path(name.lower())
    return path.suffix in _SEPARATORS and any(re.fullmatch(_WORDS, word) for word in re.split(r"[^a-z]+", path.stem))


def labels_of_tables(root: AnyPath, names: list[str], others: list[AnyPath], report: Report) -> dict[str, str | None]:
    """The label of each file that a table covers, by its name; None where the table has none for it, which is reported.

    A table covers the files of its folder and of those in it; of several the nearest holds. One above `root` covers
    these files if it names one of them.

    Args:
        names: of the image files, as in `relative_name`.
        others: the files that are no images.
    """
    found: dict[str, str | None] = {}
    tables = {relative_name(other, root): other for other in others if is_table(other.name)}
    for name, table in sorted(tables.items(), key=lambda one: -one[0].count("/")):
        at = name.rpartition("/")[0]
        inside = {one.removeprefix(at).lstrip("/"): one for one in names if not at or one.startswith(f"{at}/")}
        found = (_labels_of(table, name, inside, set(found), report) if inside else {}) | found
    if tables or not isinstance(root, Path):
        return found
    folder = root.absolute()
    inside = {f"{folder.name}/{one}": one for one in names}
    for path in sorted(path for path in folder.parent.iterdir() if is_table(path.name) and path.is_file()):
        of_all = Report("")
        above = _labels_of(path, f"../{path.name}", inside, set(), of_all)
        if any(label is not None for label in above.values()):
            found |= above
            report.troubles += [one for one in of_all.troubles if one.kind != "rows without an image"]
            report.doubts += of_all.doubts
    return found


def _labels_of(
    path: AnyPath, name: str, inside: dict[str, str], covered: set[str], report: Report
) -> dict[str, str | None]:
    """The labels that one table gives to the files `inside` its folder (path there -> name) but for those `covered`."""
    keys = _keys(inside)
    found: dict[str, str | None] = {file: None for file in inside.values() if file not in covered}
    try:
        table = _read(path, name, keys)
    except InputError as error:
        report.refuse("tables that do not fit", name, f"{name}: {error}")
        return found
    faulty = set()
    for line, said, label in zip(table.lines, table.files, _unguarded(table.labels, name, report), strict=True):
        file, kind, reason = _found(said, keys), "", ""
        if line in table.faults:
            kind, reason = "faulty rows", table.faults[line]
        elif file is None:
            kind, reason = "rows without an image", f"{said!r} is not beside it; remove the row or add the image"
        elif file in covered:
            continue
        elif _ROUNDED.fullmatch(label):
            advice = "is a number that a spreadsheet has rounded; make the column text and enter the label again"
            kind, reason = "rounded numbers", f"{label!r} {advice}"
        elif found[file] not in (None, label):
            kind, reason = "disputed labels", f"{said!r} has a duplicate entry with another label; keep one row"
        else:
            found[file] = label
            continue
        faulty.add(file)
        report.refuse(kind, file or f"{name}, row {line}", f"{name}, row {line}: {reason}")
    for file in [file for file, label in found.items() if label is None and file not in faulty]:
        report.refuse("files without a label", file, f"{file}: {name} has no row for it; add one")
    return found


def _read(path: AnyPath, name: str, keys: dict[str, str | None]) -> Table:
    """The rows of a table below its header; raises InputError if none names a file."""
    try:
        all_lines = read_bytes(path, name).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError("cannot be read as a table, since it is not UTF-8; save it as UTF-8") from None
    suffix = Path(name.lower()).suffix
    numbers = [number for number, line in enumerate(all_lines, 1) if line.strip()]
    if suffix == ".jsonl":
        numbers = numbers[:1] + numbers  # the first line tells the columns, too
    lines, separators = [all_lines[number - 1] for number in numbers], _SEPARATORS[suffix]
    first = list(islice(_cells(lines, separators), 2))
    begin, file_at, label_at = _columns(first, keys)
    wide = len(first[0]) if begin else Counter(map(len, _cells(lines, separators))).most_common(1)[0][0]
    table = Table(numbers[begin:], [], [], {})
    for number, row in zip(table.lines, islice(_cells(lines, separators), begin, None), strict=True):
        if len(row) != wide:
            advice = "put a label that holds a separator or quotes in double quotes, and each quote in it twice"
            table.faults[number] = f"it cannot be read as {wide} cells; {advice}"
        table.files.append(row[file_at] if file_at < len(row) else "")
        table.labels.append(row[label_at].strip() if len(row) == wide else "")
    if not any(_found(file, keys) for file in table.files):
        raise InputError("none of its rows is an image here; correct it, remove it, or give --labels-from name")
    return table


def _cells(lines: list[str], separators: str) -> Iterator[list[str]]:
    """The cells of each line, fewer where it cannot be read; of JSON the keys of the first line come first."""
    separator = next((one for one in separators if one in lines[0]), separators[:1]) if lines else ""
    header: list[str] = []
    for line in lines:
        try:
            if not separators:
                row = json.loads(line)
                yield ["" if row.get(key) is None else str(row[key]) for key in header] if header else [*row.keys()]
                header = header or list(row)
            elif separator in " \t":  # quotes are characters there
                yield line.split(None, 1) if separator == " " else line.split("\t")
            else:
                yield next(csv.reader([line], delimiter=separator, strict=True))
        except (ValueError, AttributeError, TypeError, csv.Error):
            yield line.split(separator)[:1] if separator else []


def _columns(first: list[list[str]], keys: dict[str, str | None]) -> tuple[int, int, int]:
    """Where the rows begin, and the columns of files and labels: by the header, or else by what the first rows hold."""
    if not first or not first[0]:
        raise InputError("cannot be read as a table, since it is empty; fill it or remove it")
    header = [re.sub(r"[^a-z]", "", str(cell).lower()) for cell in first[0]]
    file_at, label_at = (
        next((header.index(one) for one in usual if one in header), None) for usual in (_FILES, _LABELS)
    )
    begin = 1
    if file_at is None:
        places = [(i, at) for i, row in enumerate(first) for at, cell in enumerate(row) if _found(cell, keys)]
        begin, file_at = places[0] if places else (1, None)
        label_at = label_at if begin else None
    if label_at is None and file_at is not None and max(map(len, first)) == 2:
        label_at = 1 - file_at
    if file_at is None or label_at is None:
        missing = "file" if file_at is None else "label"
        raise InputError(f"the column {missing!r} is missing among {','.join(first[0])!r}; it needs 'file,label'")
    return begin, file_at, label_at


def _keys(inside: dict[str, str]) -> dict[str, str | None]:
    """What a table may call each file: its path, its name, and both without suffix; None for what two are called."""
    keys: dict[str, str | None] = {}
    for left_out in (r"$", r"\.[^./]*$", r".*/", r".*/|\.[^./]*$"):  # the surest first
        new: dict[str, str | None] = {}
        for path, file in inside.items():
            key = _folded(re.sub(left_out, "", path))
            new[key] = file if key not in new else None
        keys = new | keys
    return keys


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path.strip().replace("\\", "/").removeprefix("./"))


def _found(path: str, keys: dict[str, str | None]) -> str | None:
    """The file that a table means by a path, whose first folders may lie elsewhere."""
    rest = _folded(path)
    while rest and not keys.get(rest):
        rest = rest.partition("/")[2]
    return keys.get(rest) if rest else None


def _unguarded(labels: list[str], name: str, report: Report) -> list[str]:
    """Labels without what spreadsheets add, which is reported."""
    plain = [guarded[1] or guarded[2] if (guarded := _GUARD.fullmatch(label)) else label for label in labels]
    if all(re.fullmatch(r"[0-9]+\.0", label) for label in plain):
        plain = [label[:-2] for label in plain]
    for before, after in zip(labels, plain, strict=True):
        if before != after:
            report.doubt("labels as a spreadsheet writes them", before, f"{name}: {before!r} is read as {after!r}")
    return plain
