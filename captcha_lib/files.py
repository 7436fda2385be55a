"""Atomic writes, one writer a folder, and progress bars.

A file or folder is written in a folder `.part-<name>` beside its place and renamed once it is complete. What a killed
run left there is replaced when the same thing is written again.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captcha_lib.config import InputError

if TYPE_CHECKING:  # the commands' --help imports this module and is not to wait for pandas
    import pandas as pd

_LOCK = ".lock"


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Creates a folder if there is none, and locks it until the block ends. Blocks of one process may be nested.

    Raises InputError if another run writes there, or the folder is not writable.
    """
    with _locked(folder, folder):
        for left in folder.glob(".part-*"):  # of a killed run
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which is renamed to it once the block has ended well.

    Raises InputError if the place is not writable, or another run is writing it.
    """
    path = Path(path)
    folder = part_of(path)
    if folder.is_symlink():  # its target is not ours to empty
        raise InputError(f"{folder}: a link is in the place of a temporary folder; remove it")
    with _locked(folder, path):
        try:
            for left in [left for left in folder.iterdir() if left.name != _LOCK]:  # of a killed run
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            part = folder / path.name
            yield part
            part.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Like `replacing`, for a folder that must be new or empty."""
    check_new(path)
    with replacing(path) as part:
        part.mkdir()
        yield part


def part_of(path: Path) -> Path:
    """The folder beside `path` in which it is written until it is complete."""
    return path.with_name(f".part-{path.name}")


def check_new(path: Path) -> None:
    """Raises InputError if `path` exists already and is not an empty folder."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: it exists already and is not empty; name a new folder")


def check_writable(path: Path) -> None:
    """Raises InputError if no file can be written at `path`; leaves nothing behind."""
    if path.is_dir():
        raise InputError(f"{path}: it is a folder; name a file")
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise _unwritable(path, OSError(None, f"no permission to write in {nearest}"))


def progress(things: Iterable) -> Iterable:
    """The same things; on a terminal, if they take more than a second, with a bar (where tqdm is installed)."""
    try:
        from tqdm import tqdm
    except ImportError:  # reading does without
        return things
    return tqdm(things, unit="", delay=1, leave=False, disable=None)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Writes a table atomically, without its index and with the same line ends on every system."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


@contextmanager
def _locked(folder: Path, named: Path) -> Iterator[None]:
    """See `sole_writer`; errors name `named`. Without filelock (extra `train`) nobody is kept out."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(None, "no permission to write there")
        lock = _acquire(folder)
    except TimeoutError:
        raise InputError(f"{named}: another run is writing there; wait for its end or name another place") from None
    except OSError as error:
        raise _unwritable(named, error) from None
    with lock:
        yield


def _acquire(folder: Path) -> Any:
    """Locks a folder; leaving the context that is returned releases it. Raises TimeoutError if it is locked already."""
    try:
        from filelock import FileLock
    except ImportError:
        return nullcontext()
    lock = FileLock(folder.resolve() / _LOCK, timeout=0, thread_local=False, is_singleton=True)
    lock.acquire()
    held = ExitStack()
    held.callback(lock.release)
    if lock.lock_counter == 1:  # the outermost block of this process
        held.callback(Path(lock.lock_file).unlink, missing_ok=True)
    return held


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: not writable ({error.strerror or error}); name another place")
