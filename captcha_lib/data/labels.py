"""Where the labels of images stand: in a table beside them, in the names of the files, or in those of folders."""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

from captcha_lib.alphabet import named
from captcha_lib.config import InputError
from captcha_lib.data.folders import SUFFIXES, AnyPath
from captcha_lib.data.report import Report
from captcha_lib.data.tables import labels_of_tables

NAME, FOLDER = "name", "folder"
_COPY = re.compile(r"( \([0-9]+\)| - Copy( \([0-9]+\))?| copy( [0-9]+)?)$")  # what systems add to the name of a copy
_WIDE = {0xFF01 + i: 0x21 + i for i in range(94)} | {0x3000: 0x20}  # full-width twins of ASCII, as of Unicode's block
_FORMS = {"i\u0307": "i", "\u03c2": "\u03c3"}  # of lower case: what becomes of a dotted I, and of a sigma at the end
_LOOK_LIKE = {  # Latin letters, and those of Cyrillic and Greek with their shapes
    "ABCEHKMOPTX": "\u0410\u0412\u0421\u0415\u041d\u041a\u041c\u041e\u0420\u0422\u0425",
    "aceopx": "\u0430\u0441\u0435\u043e\u0440\u0445",
    "ABEHKMOPTXop": "\u0391\u0392\u0395\u0397\u039a\u039c\u039f\u03a1\u03a4\u03a7\u03bf\u03c1",
}
_FEW, _MOST = 20, 0.9  # labels from which on, and a share of them from which on, something is no accident


@dataclass(frozen=True)
class LabelRule:
    """How a label is told from a file.

    Args:
        source: "" is a table beside or above the images, or else the file's name; "name" the file's name up to its
            first dot, "folder" the name of the folder that the file lies in. All else is a regular expression for the
            file's name without its suffix, in which one group is the label, such as "(.+)_[0-9]+" for abcd_17.png.
        ignore_case: makes all labels lower case.
        same: groups of characters that nobody tells apart, such as ("0O", "Il1"); each becomes its first one.
    """

    source: str = ""
    ignore_case: bool = False
    same: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if short := [group for group in self.same if len(group) < 2]:
            raise InputError(f"--same {short[0]!r}: give two characters or more, such as --same 0O")
        if twice := [c for c, times in Counter("".join(self.same)).items() if times > 1]:
            raise InputError(f"--same: {twice[0]!r} is in two groups; make them one")
        if self.source in ("", NAME, FOLDER):
            return
        advice = "give 'name', 'folder' or a pattern such as '(.+)_[0-9]+'"
        try:
            groups = re.compile(self.source).groups
        except re.error as error:
            raise InputError(f"--labels-from {self.source!r}: not a regular expression ({error}); {advice}") from None
        if groups != 1:
            raise InputError(f"--labels-from {self.source!r}: the pattern has {groups} groups and needs one; {advice}")

    @classmethod
    def chosen(
        cls, source: str | None = None, ignore_case: bool | None = None, same: list[str] | None = None
    ) -> "LabelRule":
        """The rule in words; what is None is taken from CAPTCHA_LABELS_FROM, CAPTCHA_IGNORE_CASE, CAPTCHA_SAME."""
        if source is None:
            source = os.environ.get("CAPTCHA_LABELS_FROM") or ""
        if ignore_case is None:
            ignore_case = os.environ.get("CAPTCHA_IGNORE_CASE", "") not in ("", "0")
        if same is None:
            same = os.environ.get("CAPTCHA_SAME", "").split()
        return cls(source, ignore_case, tuple(same))

    def read(self, root: AnyPath, names: list[str], others: list[AnyPath], report: Report) -> list[str | None]:
        """The label of each file under `root`; None where there is none, which is reported.

        Args:
            root: a folder or zip.
            names: of the images in it, as in `relative_name`.
            others: the other files in it, tables of labels among them.
            report: gets what is wrong or in doubt.
        """
        tables = labels_of_tables(root, names, others, report) if not self.source else {}
        by_name = [name for name in names if name not in tables]
        if not self.source and _are_numbered(by_name):
            said = "are numbered, and no table holds their labels; add a labels.csv with the columns file,label beside "
            said += "them, or, if the numbers are the labels, give --labels-from name"
            report.refuse("file names that number the images", by_name[0], f"the files {by_name[0]} ... {said}")
            tables |= dict.fromkeys(by_name)
        labels = [self.plain(tables[name] if name in tables else self._of_name(name, report)) for name in names]
        _doubt_labels(names, labels, report)
        return labels

    def plain(self, label: str | None) -> str | None:
        """A label as it is learnt: composed (NFC), ASCII instead of full-width twins, case and look-alikes as asked."""
        if label is None:
            return None
        label = unicodedata.normalize("NFC", label).translate(_WIDE)  # a Mac stores й as two characters
        if self.ignore_case:
            label = label.lower()
            for form, usual in _FORMS.items():
                label = label.replace(form, usual)
        return label.translate({ord(c): group[0] for group in self.same for c in group})

    def _of_name(self, name: str, report: Report) -> str | None:
        """The label that the name or the folder of a file holds."""
        path = PurePosixPath(name)
        if self.source == NAME:
            return path.name.split(".")[0]
        if self.source == FOLDER:
            if not path.parent.name:
                return _none(report, name, "it lies in no folder that could name its label")
            return path.parent.name
        stem = path.name
        while stem.lower().endswith(SUFFIXES):
            stem = stem[: stem.rindex(".")]
        if self.source:
            found = re.fullmatch(self.source, path.stem)
            return (found[1] or "") if found else _none(report, name, f"it does not match {self.source!r}")
        if "." in stem:
            return _none(report, name, f"is its label {stem.partition('.')[0]!r} or {stem!r}? '(.+)' is all of it")
        if copy := _COPY.search(stem):
            report.doubt("names of copies, which end before ' (1)' or the like", name, f"{name}: {copy[0]!r} left out")
            stem = stem[: copy.start()]
        return stem


def _none(report: Report, name: str, reason: str) -> str | None:
    """Reports that a file has no label."""
    report.refuse("files without a label", name, f"{name}: {reason}; rename it or give another --labels-from")
    return None


def _are_numbered(names: list[str]) -> bool:
    """Whether files are called by running numbers, alone or behind one word: img_000.png, img_001.png, ..."""
    parts = [re.fullmatch(r"(.*?)([0-9]+)\)?", PurePosixPath(name).stem) for name in names]
    found = [part for part in parts if part]
    if len(found) < max(_FEW, _MOST * len(names)):
        return False
    word, count = Counter(part[1] for part in found).most_common(1)[0]
    numbers = {int(part[2]) for part in found if part[1] == word}
    dense = len(numbers) >= _MOST * (max(numbers) - min(numbers) + 1)
    return count >= _MOST * len(names) and min(numbers) <= 1 and dense


def _doubt_labels(names: list[str], labels: list[str | None], report: Report) -> None:
    """Reports labels that look as if they were meant otherwise."""
    known = [(name, label) for name, label in zip(names, labels, strict=True) if label]
    alphabet = set("".join(label for _, label in known))
    for latin, others in _LOOK_LIKE.items():
        for both in zip(latin, others, strict=True):
            if alphabet.issuperset(both):
                said = " and ".join(map(named, both))
                report.doubt("pairs of characters that look alike; --same makes them one", "".join(both), said)
    lengths = Counter(len(label) for _, label in known)
    if len(known) >= _FEW and all(label.isdecimal() for _, label in known):
        usual, count = lengths.most_common(1)[0]
        short = [(name, label) for name, label in known if len(label) < usual]
        if short and count >= 0.7 * len(known) and not any(label[0] == "0" for _, label in known):
            for name, label in short:
                said = f"{name}: {label!r} is shorter than most; has a spreadsheet cut a zero?"
                report.doubt("short numbers among others, none of which begins with 0", name, said)
    seen = Counter(c for _, label in known for c in set(label) if not c.isalnum())
    for name, label in known if len(known) >= _FEW else []:
        if odd := [c for c in label if c in seen and seen[c] <= (1 - _MOST) * len(known) / 2]:
            report.doubt("labels with a sign that few others have", name, f"{name}: {label!r} has {named(odd[0])}")
