"""`Report`: what is wrong with the files of a data set, and what was understood in a way worth a line; all at once."""

from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from captcha_lib.config import InputError, printable
from captcha_lib.data.folders import AnyPath

_NAMED = 10  # files that are named of each kind


class Finding(NamedTuple):
    """Something found about a file, of a kind such as "bad files"."""

    kind: str
    file: str
    reason: str


@dataclass
class Report:
    """What was found in the files of `source`, in `root`: troubles, with which they cannot be learnt, and doubts."""

    source: str
    troubles: list[Finding] = field(default_factory=list)
    doubts: list[Finding] = field(default_factory=list)
    root: AnyPath | None = None

    def refuse(self, kind: str, file: str, reason: str) -> None:
        self.troubles.append(Finding(kind, file, reason))

    def doubt(self, kind: str, file: str, reason: str) -> None:
        self.doubts.append(Finding(kind, file, reason))

    def skipped(self) -> pd.DataFrame:
        """The files with troubles: file, reason; each once."""
        found = pd.DataFrame(self.troubles, columns=Finding._fields)
        return found.drop_duplicates("file")[["file", "reason"]].reset_index(drop=True)

    def notes(self) -> list[str]:
        """A sentence for each kind of doubt."""
        named = {kind: [one.file for one in found] for kind, found in _by_kind(self.doubts).items()}
        return [f"{kind}: {len(files):,} ({', '.join(_first(files, 3))})." for kind, files in named.items()]

    def lines(self) -> list[str]:
        """All that was found, some lines a kind."""
        lines = []
        for kind, found in _by_kind([*self.troubles, *self.doubts]).items():
            reasons = list(dict.fromkeys(one.reason for one in found))
            lines += [f"  {kind}: {len(found):,}", *(f"    {line}" for line in _first(reasons, _NAMED))]
        return lines

    def error(self) -> InputError:
        """The error that names all troubles; a single one in its own words."""
        if len({one.reason for one in self.troubles}) == 1:
            return InputError(self.troubles[0].reason)
        said = f"{self.source}: {len(self.skipped()):,} files have faults; mend them, or leave them out with --skip-bad"
        return InputError(said, *Report(self.source, self.troubles).lines())


def _by_kind(findings: list[Finding]) -> dict[str, list[Finding]]:
    return {kind: [one for one in findings if one.kind == kind] for kind in dict.fromkeys(one.kind for one in findings)}


def _first(texts: list[str], count: int) -> list[str]:
    more = [f"and {len(texts) - count:,} more"] if len(texts) > count else []
    return [printable(text) for text in texts[:count]] + more
