"""Runs commands that are killed at a chosen moment. Not a test itself; test_faults.py uses it.

Commands run in processes forked off one that has imported everything, so that a start takes no second of imports.
"""

import io
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from captcha_lib.commands.main import main
from studies.__main__ import build_parser as studies_parser

CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")  # audit events of file systems
_CONTEXT = multiprocessing.get_context("forkserver")
# torch._dynamo: what an optimizer imports when it is first used
_CONTEXT.set_forkserver_preload(
    ["torch._dynamo", "captcha_lib.run", "captcha_lib.reading.predict", "studies.__main__", "studies.crossval"]
)
STUDIES = ("bench", "crossval", "stream")  # the commands of `python -m studies`


@dataclass(frozen=True)
class Moment:
    """When a run is killed, or its disk is full."""

    step: int | None = None  # before its n-th step in the file system
    seconds: float | None = None  # after so many
    size: int | None = None  # in the middle of the write that makes a file longer than so many bytes
    full: int | None = None  # no kill; no file can be longer than so many bytes


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: int  # exit status, negative for a signal
    steps: int  # how many it took in the file system, under the folder
    said: str  # its output
    seconds: float


def run(words: list, folder: Path, moment: Moment = Moment()) -> Outcome:
    """Runs a command; `folder` is the one whose steps count."""
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_child, args=([str(word) for word in words], str(folder), moment, theirs))
    process.start()
    theirs.close()
    began, told = time.perf_counter(), {"step": [], "said": []}
    while True:
        try:
            kind, text = ours.recv()
        except EOFError:
            break
        told[kind].append(text)
    process.join()
    return Outcome(process.exitcode, len(told["step"]), "".join(told["said"]), time.perf_counter() - began)


class _Said(io.TextIOBase):
    """An output that goes through a pipe, so that a full disk does not silence it."""

    def __init__(self, pipe) -> None:
        self.pipe = pipe

    def write(self, text: str) -> int:
        self.pipe.send(("said", text))
        return len(text)


def _child(words: list[str], folder: str, moment: Moment, pipe) -> None:
    sys.stdout = sys.stderr = _Said(pipe)
    steps = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal steps
        if event not in CHANGES or not str(arguments[0]).startswith(folder):
            return
        steps += 1
        if moment.step == steps:
            os.kill(os.getpid(), signal.SIGKILL)
        pipe.send(("step", str(arguments[0])))

    if moment.size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # ends the process at this byte; Python would ignore it
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    longest = moment.size or moment.full
    if longest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest, longest))
    if moment.seconds is not None:
        threading.Thread(target=_kill_after, args=(moment.seconds,), daemon=True).start()
    sys.addaudithook(watch)
    os._exit(main(words, studies_parser if words[0] in STUDIES else None))


def _kill_after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
