"""Trainings side by side, a process each, of one thread. Finished jobs are kept, unless the code has changed since.

Results are kept with an identity: the data, the hyperparameters, a digest of the code and torch's version. Results of
other data or hyperparameters are another run's, and an error; those of other code are made again.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import torch

from captcha_lib.config import InputError
from captcha_lib.files import sole_writer, write_text
from captcha_lib.runs.checkpoint import CODE, differences
from studies.digest import made_by

Figures = dict[str, Any]


class Job(NamedTuple):
    """A function that comes back with figures, its arguments, and what identifies it beside its name."""

    function: Callable[..., Figures]
    arguments: tuple
    identity: dict = {}  # noqa: RUF012  # never changed


def run_in_processes(calls: Iterable, jobs: int) -> Iterator:
    """Runs calls made with `joblib.delayed`, `jobs` at a time; yields their results as they come in.

    The calls are taken one by one. An array of more than a megabyte that several calls share is handed over once, as a
    file that the processes map into their memory.
    """
    # the process's own number, since a worker that starts after its parent was killed cannot find it out any more
    follow = {"initializer": _follow_parent, "initargs": (os.getpid(),)}
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1, **follow):
        yield from joblib.Parallel(return_as="generator_unordered")(calls)


def run_jobs(
    out: Path, work: dict[str, Job], identity: dict, jobs: int, report: Callable[[str], None] = print
) -> dict[str, Figures]:
    """Runs named jobs, and keeps the figures that each comes back with as a JSON file.

    Args:
        out: the folder of the files.
        work: the jobs by name.
        identity: identifies the run, as each job's own identity does the job; plain values only. The code of the jobs'
            modules is added here.
        jobs: processes at a time.
        report: gets one line a job.

    Returns:
        name -> figures, in the order of `work`.

    Raises:
        InputError: the folder belongs to another run, or one writes there at this time.
    """
    with sole_writer(out):
        return _run_jobs(out, work, identity, jobs, report)


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs a job on one thread; one that runs in the parent's own process leaves its threads as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def is_done(place: Path, theirs: dict, ours: dict) -> bool:
    """Whether results with the identity `theirs` can stand for those of `ours`; False where other code made them.

    Raises:
        InputError: they belong to another run.
    """
    ours = json.loads(json.dumps(ours))  # as it comes back from a file
    differing = differences(theirs, ours)
    if differing and differing[0] not in CODE:
        name = differing[0]
        said = f"{place}: it belongs to another run ({name} {theirs.get(name)}, here {ours[name]})"
        raise InputError(f"{said}; give another --out or remove it")
    return not differing


def report_outdated(count: int, report: Callable[[str], None]) -> None:
    """Says that results are made again, if there are any such."""
    if count:
        report(f"{count} results were made by other code or another version of torch; they are made again")


def read_json(path: Path) -> dict:
    """Reads a file that a job left; raises InputError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: it cannot be read ({error}); remove it and start again") from None


def _run_jobs(
    out: Path, work: dict[str, Job], identity: dict, jobs: int, report: Callable[[str], None]
) -> dict[str, Figures]:
    identity = identity | made_by(*sorted({job.function.__module__ for job in work.values()}))
    paths = {name: out / f"{name}.json" for name in work}
    there = {name for name, path in paths.items() if path.exists()}
    loaded = {name: _load(paths[name], identity | work[name].identity) for name in there}
    found = {name: figures for name, figures in loaded.items() if figures is not None}
    todo = [name for name in work if name not in found]
    report_outdated(len(there.intersection(todo)), report)
    report(f"{len(work)} jobs: {len(todo)} to do, {len(work) - len(todo)} are done already")
    calls = (joblib.delayed(_run)(paths[name], identity | work[name].identity, *work[name][:2]) for name in todo)
    for done, (name, figures) in enumerate(run_in_processes(calls, jobs), len(work) - len(todo) + 1):
        found[name] = figures
        said = ", ".join(f"{key} {value}" for key, value in figures.items() if not isinstance(value, list | dict))
        report(f"[{done}/{len(work)}] {name}: {said}")
    return {name: found[name] for name in work}


def _follow_parent(parent: int) -> None:
    """Leaves Ctrl-C to the parent, and ends with it: a killed run leaves no process that still writes results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@one_thread()
def _run(path: Path, identity: dict, function: Callable[..., Figures], arguments: tuple) -> tuple[str, Figures]:
    figures = function(*arguments)
    write_text(path, json.dumps({"identity": identity, "figures": figures}) + "\n")
    return path.stem, figures


def _load(path: Path, identity: dict) -> Figures | None:
    """The figures of a finished job, or None where other code made them; see `is_done`."""
    saved = read_json(path)
    return saved["figures"] if is_done(path, saved["identity"], identity) else None
