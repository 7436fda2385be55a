"""Where the real sets come from, and their download: `python -m studies real --fetch`. None of their pictures is here.

`data/real_sets.csv` has a row for each picture: set, part ("labelled" to learn from, "fresh" to read), file (what it is
called when it was fetched), repository, commit, sha256, label. The checksum finds a picture in the repository's
archive, whatever it is called there, in archives within it, too.
"""

import hashlib
import io
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.request import urlopen

import pandas as pd

from captcha_lib.config import InputError
from captcha_lib.files import new_folder, write_csv
from studies.evidence import ROOT

TABLE, FOLDER = ROOT / "data" / "real_sets.csv", ROOT / "data" / "real"
ARCHIVE = "https://github.com/{}/archive/{}.zip"  # of a repository at a commit
_LARGEST, _LARGEST_ARCHIVE = 2**24, 2**29  # bytes, of a picture and of an archive within another
_PATIENCE = 60  # seconds without a byte


def fetch_sets(
    out: Path, names: Collection[str] = (), archive: str = ARCHIVE, report: Callable[[str], None] = print
) -> None:
    """Downloads sets into out/SET/labelled and out/SET/fresh, each part with a labels.csv; those that are there stay.

    Args:
        out: the folder of the sets.
        names: of the sets; none means all.
        archive: the address of an archive, with places for the repository and the commit.
        report: gets a line a set.

    Raises InputError for a set that is not in the table; or that names all sets of which pictures are missing. These
    are not written.
    """
    table = pd.read_csv(TABLE, dtype=str, keep_default_na=False)
    if unknown := sorted(set(names) - set(table["set"])):
        raise InputError(f"set {unknown[0]!r}: not one of {', '.join(table['set'].unique())}; give one of these")
    wanted = table[table["set"].isin(list(names) or table["set"]) & ~table["set"].map(lambda one: (out / one).exists())]
    faults: list[str] = []
    for (repository, commit), of_archive in wanted.groupby(["repository", "commit"], sort=False):
        address = archive.format(repository, commit)
        try:
            pictures = _download(address, set(of_archive["sha256"]))
        except (OSError, EOFError, HTTPException, zipfile.BadZipFile, zlib.error) as error:
            faults.append(f"{address}: it cannot be downloaded ({error})")
            continue
        for name, rows in of_archive.groupby("set"):
            if missing := (~rows["sha256"].isin(list(pictures))).sum():
                faults.append(f"{name}: {missing} of its {len(rows)} pictures are not in {address}")
                continue
            _write(out / str(name), rows, pictures)
            report(f"{name}: {len(rows):,} pictures in {out / str(name)}")
    if faults:
        raise InputError(f"{len(faults)} downloads failed; start it again", *faults)


def _download(address: str, wanted: Collection[str]) -> dict[str, bytes]:
    """The files of an archive that have one of these checksums, by it."""
    with tempfile.TemporaryFile() as whole:
        with urlopen(address, timeout=_PATIENCE) as answer:  # noqa: S310  # the address is ours, or the caller's
            shutil.copyfileobj(answer, whole)
        return {digest: raw for digest, raw in _files(whole) if digest in wanted}


def _files(archive: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """The files of a zip, and of those within it, each after its checksum."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            archived = member.filename.lower().endswith(".zip")
            locked = member.flag_bits & 1  # it needs a password
            if member.is_dir() or locked or member.file_size > (_LARGEST_ARCHIVE if archived else _LARGEST):
                continue
            raw = opened.read(member)
            if archived and zipfile.is_zipfile(io.BytesIO(raw)):
                yield from _files(io.BytesIO(raw))
            else:
                yield hashlib.sha256(raw).hexdigest(), raw


def _write(folder: Path, rows: pd.DataFrame, pictures: dict[str, bytes]) -> None:
    with new_folder(folder) as part:
        for name, of_part in rows.groupby("part"):
            (part / str(name)).mkdir()
            for row in of_part.itertuples():
                (part / str(name) / str(row.file)).write_bytes(pictures[str(row.sha256)])
            write_csv(part / str(name) / "labels.csv", of_part[["file", "label"]])
