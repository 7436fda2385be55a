"""Writing without halves: a file or folder appears under its name when it is whole, or not at all. And progress."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from captcha_lib.config import InputError

if TYPE_CHECKING:  # the commands' --help imports this module and is not to wait for pandas
    import pandas as pd


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which is moved into place once the block has ended well.

    Raises:
        InputError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as folder:
            part = Path(folder) / path.name
            yield part
            part.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Like `replacing`, for a folder that must not hold anything yet."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: it holds something already; name a new folder")
    with replacing(path) as part:
        part.mkdir()
        yield part


def check_writable(path: Path) -> None:
    """Raises InputError if no file can be written at `path`; leaves nothing behind."""
    if path.is_dir():
        raise InputError(f"{path}: it is a folder; name a file")
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".part-"):
            return
    except OSError as error:
        raise _unwritable(path, error) from None


def progress(things: Iterable) -> Iterable:
    """The same things; on a terminal, if they take more than a second, with a bar."""
    return tqdm(things, unit="", delay=1, leave=False, disable=None)


def write_text(path: Path, text: str) -> None:
    """Writes a whole text file."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Writes a whole table, without its index and with the same line ends everywhere."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be written ({error.strerror or error}); name another place")
