"""Running the notebooks: what notebooks/execute.py stores; what it and `pytest --nbval` say when something fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from captcha_lib.config import CHECKOUT as ROOT

SCRIPT = ROOT / "notebooks" / "execute.py"
KILL = "import os\nos.kill(os.getpid(), 9)  # as the system does where memory runs out"


def write(path: Path, *sources: str) -> Path:
    cells = [new_code_cell(source, id=f"code-{n}", execution_count=n + 1) for n, source in enumerate(sources)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def run(*arguments: object, **settings: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments), env=os.environ | settings, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_copy_holds_what_the_cells_print(tmp_path):
    source = write(tmp_path / "a.ipynb", "import studies, os.path", "print(1, flush=True)\nprint(2)", "os.getcwd()")
    before = source.read_bytes()
    done = run("--out", tmp_path / "out", source)
    assert (done.returncode, done.stderr) == (0, "")
    cells = nbformat.read(tmp_path / "out" / "a.ipynb", as_version=4).cells
    assert [cell.execution_count for cell in cells] == [1, 2, 3]
    assert [output.text for output in cells[1].outputs] == ["1\n2\n"]
    assert cells[2].outputs[0].data == {"text/plain": repr(str(tmp_path))}
    assert source.read_bytes() == before


def test_in_place_twice_gives_the_same_bytes(tmp_path):
    path = tmp_path / "noisy.ipynb"
    stale = new_output("execute_result", {"text/plain": "3"}, execution_count=7)
    noise = {"execution": {"iopub.status.busy": "2026-01-01"}, "collapsed": True, "tags": ["nbval-ignore-output"]}
    cells = [
        new_markdown_cell("# 1. Größe", id="01-00", metadata={"jp-MarkdownHeadingCollapsed": True}),
        new_code_cell("1 + 1", id="01-01", execution_count=7, outputs=[stale], metadata=noise),
    ]
    kernel = {"display_name": "captcha (Python 3.13)", "language": "python", "name": "captcha"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel, "widgets": {}, "toc": {"base_numbering": 1}})
    nbformat.write(notebook, path)
    for _ in range(2):
        assert run("--in-place", path, CAPTCHA_DATA="generated").returncode == 0
        once = path.read_text(encoding="utf-8")
        assert once == nbformat.writes(nbformat.reads(once, as_version=4)) + "\n"
        text, code = json.loads(once)["cells"]
        assert (text["id"], text["metadata"]) == ("01-00", {})
        assert (code["id"], code["metadata"]) == ("01-01", {"tags": ["nbval-ignore-output"]})
        assert code["execution_count"] == code["outputs"][0]["execution_count"] == 1
        metadata = json.loads(once)["metadata"]
        assert metadata.keys() == {"kernelspec", "language_info"}
        assert metadata["kernelspec"]["name"] == "python3"
        assert "version" not in metadata["language_info"]
        notebook = path.read_bytes()
    assert path.read_bytes() == notebook


def test_captchas_of_others_are_not_stored_in_place(tmp_path):
    path = write(tmp_path / "a.ipynb", "1")
    before = path.read_bytes()
    for where in (["--in-place"], ["--out", tmp_path]):
        done = run(*where, path, CAPTCHA_DATA="kaggle")
        assert done.returncode == 1
        assert done.stderr == (
            f"error: {path}: only outputs on generated captchas are stored here; unset CAPTCHA_DATA, or give --out\n"
        )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("# divides\n1 / 0", "cell 2 raised ZeroDivisionError: division by zero (the cell begins: # divides)"),
        (KILL, "the kernel died in cell 2, perhaps out of memory; free some and run it again"),
    ],
)
def test_a_cell_that_fails(source, says, tmp_path):
    path = write(tmp_path / "a.ipynb", "1", source, "2")
    done = run("--out", tmp_path / "out", path)
    assert done.returncode == 1
    assert done.stderr == f"error: {path}: {says}\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file or directory); name a notebook"),
        (b"\xff\x00", "not a notebook; name a file that Jupyter wrote"),
    ],
)
def test_what_is_not_a_notebook(content, says, tmp_path):
    path = tmp_path / "a.ipynb"
    if content is not None:
        path.write_bytes(content)
    done = run("--out", tmp_path / "out", path)
    assert (done.returncode, done.stderr) == (1, f"error: {path}: {says}\n")


def test_ctrl_c_stops_the_kernel(tmp_path):
    begun = tmp_path / "begun"
    source = f"import os, pathlib, time\npathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    path = write(tmp_path / "a.ipynb", source)
    process = subprocess.Popen(command("--out", tmp_path / "out", path), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: begun.exists() and begun.read_text())
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == f"interrupted in {path}; nothing of it is stored\n"
    assert process.returncode == 130
    assert not (tmp_path / "out").exists()
    wait_until(lambda: not Path(f"/proc/{begun.read_text()}").exists())


@pytest.mark.parametrize(
    ("sources", "says", "counts"),
    [
        (("import studies", KILL), "Cell 1: the kernel died, perhaps out of memory; free some", "1 failed, 1 passed"),
        (("%no_such_magic",), "Cell 0: UsageError: Line magic function `%no_such_magic` not found.", "1 failed"),
    ],
)
def test_nbval_names_a_dead_kernel_and_a_bad_magic(sources, says, counts, tmp_path, monkeypatch):
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    path = write(tmp_path / "a.ipynb", *sources, "x = 2")
    options = ["-q", "-p", "no:cacheprovider", "--nbval", "--nbval-cell-timeout=900", f"--rootdir={tmp_path}"]
    words = [sys.executable, "-m", "pytest", *options, str(path)]
    output = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False).stdout
    assert f"\n{says}" in output
    assert f"{counts}, 1 skipped" in output
    assert "Traceback" not in output


def wait_until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
