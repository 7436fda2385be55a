"""Tables of labels beside images, or above them: file -> label, whatever the table and its columns are called."""

import csv
import json
import re
import unicodedata
from collections.abc import Iterator
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


class Row(NamedTuple):
    """A row of a table: its line, its cells, and what is wrong with it."""

    line: int
    cells: list[str]
    fault: str = ""


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
    tables = [other for other in others if is_table(other.name)]
    for table in sorted(tables, key=lambda table: -relative_name(table, root).count("/")):
        name = relative_name(table, root)
        at = name.rpartition("/")[0]
        inside = {one.removeprefix(at).lstrip("/"): one for one in names if not at or one.startswith(f"{at}/")}
        if inside:
            found = _labels_of(table, name, inside, set(found), report) | found
    if not tables and isinstance(root, Path):
        folder = root.absolute()
        inside = {f"{folder.name}/{one}": one for one in names}
        for table in sorted(path for path in folder.parent.iterdir() if is_table(path.name) and path.is_file()):
            quiet = Report("")
            above = _labels_of(table, f"../{table.name}", inside, set(), quiet)
            if any(label is not None for label in above.values()):
                found |= above
                report.troubles += [one for one in quiet.troubles if one.kind != "rows without an image"]
                report.doubts += quiet.doubts
    return found


def _labels_of(
    table: AnyPath, name: str, inside: dict[str, str], covered: set[str], report: Report
) -> dict[str, str | None]:
    """The labels that one table gives to the files `inside` its folder (path there -> name) but for those `covered`."""
    keys = _keys(inside)
    found: dict[str, str | None] = {file: None for file in inside.values() if file not in covered}
    try:
        rows, file_at, label_at = _read(table, name, keys)
    except InputError as error:
        report.refuse("tables that do not fit", name, f"{name}: {error}")
        return found
    labels = _unguarded([row.cells[label_at] if not row.fault else "" for row in rows], name, report)
    faulty = set()
    for row, label in zip(rows, labels, strict=True):
        said = row.cells[file_at] if file_at < len(row.cells) else ""
        file = _found(said, keys)
        if row.fault:
            faulty.add(file)
            report.refuse("faulty rows", file or name, f"{name}, row {row.line}: {row.fault}")
        elif file is None:
            advice = "remove the row or add the image"
            report.refuse("rows without an image", f"{name}:{row.line}", f"{name}: {said!r} is not beside it; {advice}")
        elif file in covered:
            continue
        elif _ROUNDED.fullmatch(label):
            faulty.add(file)
            advice = "is a number that a spreadsheet has rounded; make the column text and enter the label again"
            report.refuse("rounded numbers", file, f"{name}, row {row.line}: {label!r} {advice}")
        elif found[file] not in (None, label):
            advice = "has a duplicate entry with another label; keep one row"
            report.refuse("disputed labels", file, f"{name}: {said!r} {advice}")
        else:
            found[file] = label
    for file in [file for file, label in found.items() if label is None and file not in faulty]:
        report.refuse("files without a label", file, f"{file}: {name} has no row for it; add one")
    return found


def _read(table: AnyPath, name: str, keys: dict[str, str | None]) -> tuple[list[Row], int, int]:
    """The rows of a table, and its columns of files and labels; raises InputError if no row names a file."""
    try:
        lines = read_bytes(table, name).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError("cannot be read as a table, since it is not UTF-8; save it as UTF-8") from None
    suffix = Path(name.lower()).suffix
    rows = list(_json_rows(lines) if suffix == ".jsonl" else _cell_rows(lines, _SEPARATORS[suffix]))
    begin, file_at, label_at = _columns([row.cells for row in rows[:2]], keys)
    wide = len(rows[0].cells)
    said = f"cells, and the first row {wide}; put a label that holds a separator in double quotes"
    rows = [
        row if row.fault or len(row.cells) == wide else row._replace(fault=f"it has {len(row.cells)} {said}")
        for row in rows[begin:]
    ]
    if not any(_found(cell, keys) for row in rows for cell in row.cells[file_at : file_at + 1]):
        raise InputError("none of its rows is an image here; correct it, remove it, or give --labels-from name")
    return rows, file_at, label_at


def _json_rows(lines: list[str]) -> Iterator[Row]:
    header: list[str] = []
    for number, line in enumerate(lines, 1):
        try:
            one = json.loads(line) if line.strip() else None
        except ValueError:
            one = ()
        if isinstance(one, dict):
            if not header:
                header = list(one)
                yield Row(number, header)
            yield Row(number, ["" if one.get(key) is None else str(one[key]) for key in header])
        elif one is not None:
            yield Row(number, header, "it is no JSON object; correct it")


def _cell_rows(lines: list[str], separators: str) -> Iterator[Row]:
    first = next((line for line in lines if line.strip()), "")
    separator = next((one for one in separators if one in first), separators[0])
    for number, line in enumerate(lines, 1):
        if separator == " ":
            cells = line.split(None, 1)
        elif separator == "\t":  # quotes are characters there
            cells = line.split("\t")
        else:
            try:
                cells = next(csv.reader([line], delimiter=separator, strict=True), [])
            except csv.Error:
                fault = 'its quotes do not match; put the label in double quotes, with "" for each quote in it'
                yield Row(number, line.split(separator), fault)
                continue
        if line.strip():
            yield Row(number, cells)


def _columns(first: list[list[str]], keys: dict[str, str | None]) -> tuple[int, int, int]:
    """Where the rows begin, and the columns of files and labels: by the header, or else by what the first rows hold."""
    if not first or not first[0]:
        raise InputError("cannot be read as a table, since it is empty; fill it or remove it")
    header = [re.sub(r"[^a-z]", "", cell.lower()) for cell in first[0]]
    file_at = next((header.index(one) for one in _FILES if one in header), None)
    label_at = next((header.index(one) for one in _LABELS if one in header), None)
    begin = 1
    if file_at is None:
        places = [(i, at) for i, row in enumerate(first) for at, cell in enumerate(row) if _found(cell, keys)]
        begin, file_at = places[0] if places else (1, None)
        label_at = label_at if begin else None
    if label_at is None and file_at is not None and len(header) == 2:
        label_at = 1 - file_at
    if file_at is None or label_at is None:
        missing = "file" if file_at is None else "label"
        raise InputError(f"the column {missing!r} is missing among {','.join(first[0])!r}; it needs 'file,label'")
    return begin, file_at, label_at


def _keys(inside: dict[str, str]) -> dict[str, str | None]:
    """What a table may call each file: its path, its name, and both without suffix; None for what two are called."""
    keys: dict[str, str | None] = {}
    for pattern in (r"", r"\.[^./]*$", r".*/", r".*/|\.[^./]*$"):  # what is left out, the surest first
        new: dict[str, str | None] = {}
        for path, file in inside.items():
            key = _folded(re.sub(pattern, "", path) if pattern else path)
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
    """Labels without spaces around them and without what spreadsheets add, which is reported."""
    stripped = [label.strip() for label in labels]
    plain = [guarded[1] or guarded[2] if (guarded := _GUARD.fullmatch(label)) else label for label in stripped]
    if plain and all(re.fullmatch(r"[0-9]+\.0", label) for label in plain):
        plain = [label[:-2] for label in plain]
    for before, after in zip(stripped, plain, strict=True):
        if before != after:
            report.doubt("labels as a spreadsheet writes them", before, f"{name}: {before!r} is read as {after!r}")
    return plain
