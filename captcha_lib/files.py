"""Writing without halves: a file or folder appears under its name when it is whole, or not at all. And progress.

What is not whole yet lies beside its place in a folder `.part-<name>`. One that a killed run left is replaced when the
same thing is written again, so nothing stays behind once the run has been gone on with.
"""

import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from captcha_lib.config import InputError

try:
    import fcntl
except ImportError:  # on Windows, where nobody is kept out of a folder
    fcntl = None

# Its own lock spans processes, and says on stderr that it leaks when one of them is killed.
tqdm.set_lock(threading.RLock())

if TYPE_CHECKING:  # the commands' --help imports this module and is not to wait for pandas
    import pandas as pd

_claimed: dict[Path, int] = {}  # the folders that this process keeps for itself, each with its file descriptor


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Makes a folder if there is none, and keeps other runs out of it until the block ends.

    The system forgets the claim when the process ends, however it ends, and no file is needed for it. Blocks of one
    process may lie within each other.

    Raises:
        InputError: another run writes there, or nobody can.
    """
    with _claim(folder, folder):
        yield


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which is moved into place once the block has ended well.

    Raises:
        InputError: the place cannot be written, or another run is writing it.
    """
    folder = part_of(path)
    if folder.is_symlink():  # what it leads to is not ours to empty
        raise InputError(f"{folder}: a link stands where a temporary folder belongs; remove it")
    with _claim(folder, path):
        try:
            _empty(folder)
            part = folder / path.name
            yield part
            part.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Like `replacing`, for a folder that must not hold anything yet."""
    check_new(path)
    with replacing(path) as part:
        part.mkdir()
        yield part


def part_of(path: Path) -> Path:
    """The folder beside `path` in which it is written until it is whole."""
    return path.with_name(f".part-{path.name}")


def check_new(path: Path) -> None:
    """Raises InputError if there is something at `path` already."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: it holds something already; name a new folder")


def check_writable(path: Path) -> None:
    """Raises InputError if no file can be written at `path`; leaves nothing behind."""
    if path.is_dir():
        raise InputError(f"{path}: it is a folder; name a file")
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise _unwritable(path, OSError(None, f"no right to write in {nearest}"))


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


@contextmanager
def _claim(folder: Path, named: Path) -> Iterator[None]:
    """See `sole_writer`; what goes wrong is said of `named`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve()
        first = place not in _claimed
        if first:
            _claimed[place] = _lock(folder)
    except BlockingIOError:
        raise InputError(f"{named}: another run is writing there; wait for its end or name another place") from None
    except OSError as error:
        raise _unwritable(named, error) from None
    try:
        yield
    finally:
        if first:
            os.close(_claimed.pop(place))


def _lock(folder: Path) -> int:
    """Locks a folder; returns the file descriptor that holds the lock. Raises OSError where nothing can be written."""
    if not os.access(folder, os.W_OK):
        raise PermissionError(None, "no right to write there")
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _forget_claims() -> None:
    """A process that was forked off holds no claims, or they would outlive the one that made them."""
    while _claimed:
        os.close(_claimed.popitem()[1])


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_claims)


def _empty(folder: Path) -> None:
    """Removes what a killed run left in it."""
    for left in folder.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be written ({error.strerror or error}); name another place")
