"""The files of a folder or a zip: which of them are images, and their bytes.

The files may come from anybody. What is read of each has bounds, before anything is unpacked, and a link is followed no
further than the folder that it lies in.
"""

import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from captcha_lib.config import InputError

AnyPath = Path | zipfile.Path
SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff",
    ".pgm", ".ppm", ".pbm",
)  # fmt: skip
SUFFIXES_IN_WORDS = ".png, .jpg, .gif, .webp, .bmp or .tif"
MAX_BYTES = 32 * 2**20  # of a file
# How the formats begin that are read; the content decides, not the name.
_STARTS = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P2\n", b"P3\n", b"P5\n", b"P6\n",
)  # fmt: skip
# What lies beside images and is none; these are not opened to look.
_OTHERS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".md", ".html", ".xml", ".py", ".ipynb", ".zip", ".db", ".ini")
# The encodings of names in zips that do not say theirs, and what such names are made of. Those of one word with Latin
# letters are none of the first two: cp866 has Cyrillic where cp437 has accents, and GBK has Han.
_ENCODINGS = {
    "utf-8": r"[^\0-\x1f]*",
    "cp866": r"[^A-Za-z\u0080-\u03ff\u0460-\uffff]*",  # of Windows and DOS
    "gb2312": r"[\0-\x7f\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]*",  # of Windows
    "gbk": r"[^A-Za-z\u0080-\u2fff]*",
    "cp437": r"[\0-\x7f\u00c0-\u017f]*",  # which the zip format means
}


def begins_as_image(start: bytes) -> bool:
    """Whether a file that begins with these bytes (12 or more) has a format that is read."""
    return start.startswith(_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def find_images(folder: AnyPath, others: list[AnyPath] | None = None) -> Iterator[AnyPath]:
    """All the image files under a folder, in a fixed order: a folder's own files first, by name, then its folders.

    A file is an image by its suffix or, if that says nothing, by its content. Links to folders are given, too, and not
    gone into: `read_bytes` says so of each. All other files are added to `others`.
    """
    folders: list[AnyPath] = []
    entries: list[AnyPath] = sorted(folder.iterdir(), key=lambda entry: entry.name)
    for entry in entries:
        if not entry.is_dir():
            if _is_image(entry):
                yield entry
            elif others is not None:
                others.append(entry)
        elif isinstance(entry, Path) and entry.is_symlink():
            yield entry
        elif not entry.name.startswith((".", "__")):
            folders.append(entry)
    for inner in folders:
        yield from find_images(inner, others)


def _is_image(file: AnyPath) -> bool:
    # "._" begins the shadow files of macOS; ".png" is an image whose label is empty, and is to be found
    name = file.name.lower()
    if name.startswith("._") or (name.startswith(".") and not name.endswith(SUFFIXES)):
        return False
    if name.endswith(SUFFIXES):
        return True
    if name.endswith(_OTHERS) or (isinstance(file, Path) and not file.is_file()):  # reading from a pipe would wait
        return False
    try:
        with file.open("rb") as opened:
            return begins_as_image(opened.read(16))
    except Exception:  # zipfile lets through what any decompressor raises; a file of no image's name is none then
        return False


def relative_name(path: AnyPath, root: AnyPath) -> str:
    """The path inside the folder or zip, with forward slashes."""
    return path.at if isinstance(path, zipfile.Path) else path.relative_to(str(root)).as_posix()


def read_bytes(path: AnyPath, name: str, root: AnyPath | None = None) -> bytes:
    """Reads a file, in a folder or a zip.

    Errors call it `name`. A link must not lead out of the folder `root`; without that links are followed anywhere.
    Raises InputError if it cannot be read, is too large for a captcha, or a link that leads elsewhere.
    """
    try:
        size = MAX_BYTES if isinstance(path, zipfile.Path) else _checked_size(path, name, root)
        with path.open("rb") as file:
            raw = file.read(size + 1)
    except InputError:
        raise
    except Exception as error:  # zipfile lets through what any decompressor raises
        raise InputError(f"{name}: cannot be read ({reason(error)}); check the file or its rights") from None
    if len(raw) > MAX_BYTES:
        raise InputError(f"{name}: it holds more than {MAX_BYTES // 2**20} MB, too much for a captcha; remove it")
    return raw


def open_zip(path: Path, choice: str) -> zipfile.Path:
    """A zip whose names are those of files in it, each once. Others could be read twice, or never to an end."""
    archive = zipfile.ZipFile(path)
    if any(entry.flag_bits & 1 for entry in archive.infolist()):
        raise InputError(f"data {choice!r}: it is encrypted; unpack it and give the folder")
    _mend_names(archive.infolist(), choice)
    archive.NameToInfo = {entry.filename: entry for entry in archive.infolist()}
    names = Counter(archive.namelist())
    strange = [name for name in names if name.startswith("/") or {"", ".", ".."} & set(name.rstrip("/").split("/"))]
    if strange:
        raise InputError(f"data {choice!r}: it holds {strange[0]!r}, which is not a valid path; pack it again")
    name, times = names.most_common(1)[0] if names else ("", 1)
    if times > 1:
        raise InputError(f"data {choice!r}: {times} files in it are called {name!r}; rename them, or zip a folder")
    return zipfile.Path(archive)


def reason(error: Exception) -> str:
    """What an error says, without its number and path."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _mend_names(entries: list[zipfile.ZipInfo], choice: str) -> None:
    """Gives the files of a zip forward slashes, and names in the encoding that suits all which do not say theirs."""
    unsaid = [entry for entry in entries if not entry.flag_bits & 0x800 and not entry.filename.isascii()]
    names = _decoded([entry.filename.encode("cp437") for entry in unsaid])  # which `zipfile` decoded them by
    if names is None:
        said = f"the encoding of {unsaid[0].filename!r} in it is not known"
        raise InputError(f"data {choice!r}: {said}; pack the folder again with names in UTF-8")
    for entry, name in zip(unsaid, names, strict=True):
        entry.filename = name
    for entry in entries:
        entry.filename = entry.filename.replace("\\", "/")


def _decoded(raws: list[bytes]) -> list[str] | None:
    for encoding, made_of in _ENCODINGS.items():
        with suppress(UnicodeDecodeError):
            names = [raw.decode(encoding) for raw in raws]
            if all(re.fullmatch(made_of, PurePosixPath(name.replace("\\", "/")).stem) for name in names):
                return names
    return None


def _checked_size(path: Path, name: str, root: AnyPath | None) -> int:
    """The bytes of a file, at most MAX_BYTES; raises InputError for a link that leads elsewhere, OSError for a pipe."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        if path.is_dir():
            raise InputError(f"{name}: it is a link to a folder; copy the folder there, or give it itself")
        if isinstance(root, Path) and _leads_out(path, root):
            raise InputError(f"{name}: it is a link that leads out of the folder; copy the file there")
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # reading from a pipe would wait
        raise OSError("not a file")
    return min(status.st_size, MAX_BYTES)


def _leads_out(link: Path, root: Path) -> bool:
    try:
        return not link.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links in a circle, which cannot be opened either
        return False
