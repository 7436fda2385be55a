"""Jobs: each once, in a process of its own; results of other code are made again, those of another run refused."""

import os
from pathlib import Path

import pytest

from captcha_lib.config import InputError
from studies import jobs as module
from studies.digest import made_by
from studies.jobs import Job, run_jobs


def square(n: int, log: Path) -> dict:
    with log.open("a") as lines:
        lines.write(f"{n}\n")
    return {"square": n * n, "process": os.getpid()}


def fail() -> dict:
    return {"share": 1 / 0}


def work(log: Path, *numbers: int) -> dict:
    return {f"job {n}": Job(square, (n, log)) for n in numbers}


def test_what_is_done_is_not_done_again(tmp_path):
    said, log = [], tmp_path / "log"
    found = run_jobs(tmp_path / "jobs", work(log, 2, 1), {"seed": 0}, jobs=2, report=said.append)
    assert all(figures["process"] != os.getpid() for figures in found.values())
    found = run_jobs(tmp_path / "jobs", work(log, 2, 3, 1), {"seed": 0}, jobs=1, report=said.append)
    assert [figures["square"] for figures in found.values()] == [4, 9, 1], "in the order of the work"
    assert sorted(log.read_text().split()) == ["1", "2", "3"]
    assert said[0] == "2 jobs: 2 to do, 0 are done already"
    assert said[3] == "3 jobs: 1 to do, 2 are done already"
    assert said[4].startswith("[3/3] job 3: square 9")


def test_results_of_another_run_are_refused(tmp_path):
    run_jobs(tmp_path / "jobs", work(tmp_path / "log", 1), {"sizes": (1, 2)}, jobs=1, report=str)
    run_jobs(tmp_path / "jobs", work(tmp_path / "log", 1), {"sizes": (1, 2)}, jobs=1, report=str)
    with pytest.raises(InputError, match=r"job 1.json: it belongs to another run \(sizes \[1, 2\], here \[1, 3\]\)"):
        run_jobs(tmp_path / "jobs", work(tmp_path / "log", 1), {"sizes": (1, 3)}, jobs=1, report=str)
    other = {"job 1": Job(square, (1, tmp_path / "log"), {"style": "wavy"})}  # a job has an identity of its own, too
    with pytest.raises(InputError, match=r"another run \(style .*, here wavy\)"):
        run_jobs(tmp_path / "jobs", other, {"sizes": (1, 2)}, jobs=1, report=str)


def test_results_of_other_code_are_made_again(tmp_path, monkeypatch):
    said, log, asked = [], tmp_path / "log", []
    monkeypatch.setattr(module, "made_by", lambda *names: asked.extend(names) or made_by(*names))
    run_jobs(tmp_path / "jobs", work(log, 1, 2), {"seed": 0}, jobs=1, report=str)
    assert set(asked) == {__name__}, "the code is that of the jobs' module"
    for change in ({"code": "otherwise"}, {"torch": "0.4.1"}):
        monkeypatch.setattr(module, "made_by", lambda *names, change=change: made_by(*names) | change)
        said.clear()
        run_jobs(tmp_path / "jobs", work(log, 1, 2), {"seed": 0}, jobs=1, report=said.append)
        assert said[0] == "2 results were made by other code or another version of torch; they are made again"
        assert said[1] == "2 jobs: 2 to do, 0 are done already"
    run_jobs(tmp_path / "jobs", work(log, 1, 2), {"seed": 0}, jobs=1, report=said.append)
    assert said[-1] == "2 jobs: 0 to do, 2 are done already"
    assert sorted(log.read_text().split()) == ["1"] * 3 + ["2"] * 3


def test_a_job_that_fails_leaves_nothing(tmp_path):
    broken = {"broken": Job(fail, ())}
    with pytest.raises(ZeroDivisionError):
        run_jobs(tmp_path / "jobs", broken, {}, jobs=1, report=str)
    assert not (tmp_path / "jobs" / "broken.json").exists()


def test_damaged_figures_are_named(tmp_path):
    run_jobs(tmp_path / "jobs", work(tmp_path / "log", 1), {}, jobs=1, report=str)
    (tmp_path / "jobs" / "job 1.json").write_text('{"identity": {')
    with pytest.raises(InputError, match=r"job 1.json: it cannot be read .*; remove it and start again"):
        run_jobs(tmp_path / "jobs", work(tmp_path / "log", 1), {}, jobs=1, report=str)
