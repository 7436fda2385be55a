"""Where the labels of images stand: in a labels.csv beside them, in the names of the files, or in those of folders."""

import io
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from captcha_lib.config import InputError
from captcha_lib.data.folders import AnyPath, read_bytes, relative_name

NAME, FOLDER = "name", "folder"


@dataclass(frozen=True)
class LabelRule:
    """How a label is told from a file; a labels.csv beside the images comes before it.

    Args:
        source: "name" is the file's name up to its first dot, "folder" the name of the folder that the file lies in.
            All else is a regular expression for the file's name without its suffix, in which one group is the label,
            such as "(.+)_[0-9]+" for abcd_17.png.
        ignore_case: makes all labels lower case.
    """

    source: str = NAME
    ignore_case: bool = False

    def __post_init__(self) -> None:
        if self.source in (NAME, FOLDER):
            return
        advice = "give 'name', 'folder' or a pattern such as '(.+)_[0-9]+'"
        try:
            groups = re.compile(self.source).groups
        except re.error as error:
            raise InputError(f"--labels-from {self.source!r}: not a regular expression ({error}); {advice}") from None
        if groups != 1:
            raise InputError(f"--labels-from {self.source!r}: the pattern has {groups} groups and needs one; {advice}")

    @classmethod
    def chosen(cls, source: str | None = None, ignore_case: bool | None = None) -> "LabelRule":
        """The rule in words; what is None is taken from CAPTCHA_LABELS_FROM and CAPTCHA_IGNORE_CASE."""
        if source is None:
            source = os.environ.get("CAPTCHA_LABELS_FROM") or NAME
        if ignore_case is None:
            ignore_case = os.environ.get("CAPTCHA_IGNORE_CASE", "") not in ("", "0")
        return cls(source, ignore_case)

    def read(self, root: AnyPath, files: list[AnyPath]) -> list[str]:
        """The label of each file under `root`; raises InputError where there is none, or labels.csv does not fit."""
        tables: dict[str, dict[str, str] | None] = {}
        labels = [self._label_of(path, relative_name(path, root), tables) for path in files]
        labels = [unicodedata.normalize("NFC", label) for label in labels]  # a Mac stores й as two characters
        return [label.lower() for label in labels] if self.ignore_case else labels

    def _label_of(self, path: AnyPath, name: str, tables: dict[str, dict[str, str] | None]) -> str:
        folder = name.rpartition("/")[0]
        if folder not in tables:
            beside: Any = path.parent
            tables[folder] = _read_table(beside / "labels.csv")
        table = tables[folder]
        if table is not None:
            if path.name not in table:
                raise InputError(f"{name}: labels.csv beside it has no row for it; add one")
            return table[path.name]
        if self.source == NAME:
            return path.name.split(".")[0]
        if self.source == FOLDER:
            if not folder:
                raise InputError(f"{name}: it lies in no folder that could name its label; give another --labels-from")
            return folder.rpartition("/")[2]
        found = re.fullmatch(self.source, Path(path.name).stem)
        if found is None:
            raise InputError(f"{name}: it does not match {self.source!r}; rename it or give another --labels-from")
        return found[1] or ""


def _read_table(csv: AnyPath) -> dict[str, str] | None:
    """The labels of a labels.csv by file name, or None if there is none."""
    if not csv.is_file():
        return None
    try:
        raw = read_bytes(csv, "labels.csv")
        table = pd.read_csv(io.BytesIO(raw), dtype=str, keep_default_na=False, index_col=False)
    except ValueError as error:
        reason = str(error).strip().removeprefix("labels.csv: ")
        raise InputError(f"labels.csv: cannot be read as a table ({reason})") from None
    missing = {"file", "label"} - set(table.columns)
    if missing:
        said = f"labels.csv: the column {sorted(missing)[0]!r} is missing among {','.join(table.columns)!r}"
        raise InputError(f"{said}; it needs 'file,label'")
    unlisted = sorted(file for file in table["file"] if "/" in file or not (csv.parent / file).is_file())
    if unlisted:
        raise InputError(f"labels.csv: {unlisted[0]!r} is not beside it; remove the row or add the image")
    twice = table["file"][table["file"].duplicated()]
    if len(twice):
        raise InputError(f"labels.csv: {twice.iloc[0]!r} is a duplicate entry; keep one row")
    return dict(zip(table["file"], table["label"], strict=True))
