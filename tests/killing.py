"""Runs commands that are killed at a chosen moment. Not a test itself; test_faults.py uses it.

Commands run in processes forked off one that has imported everything, so that a start takes no second of imports.
"""

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from captcha_lib.__main__ import main

CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")  # audit events of file systems
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.killing"])


@dataclass(frozen=True)
class Moment:
    """When a run is killed: before its n-th step in the file system, after seconds, or when a file gets so long."""

    step: int | None = None
    seconds: float | None = None
    size: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: exit status, negative for a signal.
        steps: how many it took in the file system, under the folder.
        opened: the files there that it opened.
        said: its output.
        seconds: how long it took.
    """

    status: int
    steps: int
    opened: list[str]
    said: str
    seconds: float


def run(words: list, folder: Path, moment: Moment | None = None) -> Outcome:
    """Runs a command; `folder` is the one whose steps count."""
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    said = folder.with_name(folder.name + ".said")
    process = _CONTEXT.Process(target=_child, args=([str(w) for w in words], str(folder), moment, theirs, str(said)))
    process.start()
    theirs.close()
    began, opened = time.perf_counter(), []
    while True:
        try:
            opened.append(ours.recv())
        except EOFError:
            break
    process.join()
    names = [name for step, name in opened if step == "open"]
    return Outcome(process.exitcode, len(opened), names, said.read_text(), time.perf_counter() - began)


def _child(words: list[str], folder: str, moment: Moment | None, pipe, said: str) -> None:
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
    steps = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal steps
        if event not in CHANGES or not str(arguments[0]).startswith(folder):
            return
        steps += 1
        if moment is not None and moment.step == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        pipe.send((event, str(arguments[0])))

    if moment is not None and moment.size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # ends the process in the middle of a write, at this byte
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (moment.size, moment.size))
    if moment is not None and moment.seconds is not None:
        threading.Thread(target=_kill_after, args=(moment.seconds,), daemon=True).start()
    sys.addaudithook(watch)
    os._exit(main(words))


def _kill_after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
