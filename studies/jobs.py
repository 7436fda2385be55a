"""Trainings side by side: a process each, of one thread; what is done is not done again."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import joblib
import torch

from captcha_lib.config import InputError
from captcha_lib.files import sole_writer, write_text

Figures = dict


def run_in_processes(calls: Iterable, jobs: int) -> Iterable:
    """Runs calls made with `joblib.delayed`, so many at a time; yields their results as they come in."""
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1, initializer=_follow_parent):
        yield from joblib.Parallel(return_as="generator_unordered")(calls)


def run_jobs(
    out: Path,
    work: dict[str, tuple[Callable[..., Figures], tuple]],
    identity: dict,
    jobs: int,
    report: Callable[[str], None] = print,
) -> dict[str, Figures]:
    """Runs named jobs that each come back with figures, and keeps these as a JSON file a job.

    Args:
        out: the folder of the files.
        work: name -> a function and its arguments.
        identity: what has to agree for two runs to be the same one; plain values only.
        jobs: processes at a time.
        report: gets one line a job.

    Returns:
        name -> figures, in the order of `work`.

    Raises:
        InputError: the folder belongs to another run, or one writes there at this time.
    """
    with sole_writer(out):
        return _run_jobs(out, work, identity, jobs, report)


def of_another_run(place: Path, name: str, theirs: object, ours: object) -> InputError:
    """What to say where results lie that belong to another run, which differs in what is called `name`."""
    said = f"{place}: it belongs to another run ({name} {theirs}, here {ours})"
    return InputError(f"{said}; give another --out or remove it")


def read_json(path: Path) -> dict:
    """Reads a file that a job left; raises InputError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: it cannot be read ({error}); remove it and start again") from None


def _run_jobs(out: Path, work: dict, identity: dict, jobs: int, report: Callable[[str], None]) -> dict[str, Figures]:
    identity = json.loads(json.dumps(identity))  # as it comes back from a file
    found = {name: _load(out / f"{name}.json", identity) for name in work}
    todo = [name for name in work if found[name] is None]
    report(f"{len(work)} jobs: {len(todo)} to do, {len(work) - len(todo)} are done already")
    calls = (joblib.delayed(_run)(out / f"{name}.json", identity, *work[name]) for name in todo)
    for done, (name, figures) in enumerate(run_in_processes(calls, jobs), len(work) - len(todo) + 1):
        found[name] = figures
        said = ", ".join(f"{key} {value}" for key, value in figures.items() if not isinstance(value, list | dict))
        report(f"[{done}/{len(work)}] {name}: {said}")
    return found


def _follow_parent() -> None:
    """Leaves Ctrl-C to the parent, and ends with it: a run that was killed leaves nobody who still writes results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _run(path: Path, identity: dict, function: Callable[..., Figures], arguments: tuple) -> tuple[str, Figures]:
    torch.set_num_threads(1)
    figures = function(*arguments)
    write_text(path, json.dumps({"identity": identity, "figures": figures}) + "\n")
    return path.stem, figures


def _load(path: Path, identity: dict) -> Figures | None:
    """The figures of a finished job, or None; raises InputError if they are those of another run."""
    if not path.exists():
        return None
    saved = read_json(path)
    for name, value in identity.items():
        if saved["identity"].get(name) != value:
            raise of_another_run(path, name, saved["identity"].get(name), value)
    return saved["figures"]
