"""Notebooks 01 to 05 as a reader meets them: opened in JupyterLab, run by its menu, looked at in a real browser."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from captcha_lib.config import CHECKOUT as ROOT
from captcha_lib.config import RUN_DIR

NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[1-5]*.ipynb"))
SCREENSHOTS = RUN_DIR / "browser"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SETTINGS = {
    # All cells are in the page, not only those that fit the window.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none", "scrollPastEnd": False},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
PATIENCE = 900  # s a notebook; the third trains
TALLEST = 16_000  # px; Chromium draws no taller page
ERRORS = '[data-mime-type="application/vnd.jupyter.error"], [data-mime-type="application/vnd.jupyter.stderr"]'
# All cells have run, or something has happened after which they will not: an error, or a dialog about a dead kernel.
FINISHED = f"""() => {{
    const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].map(prompt => prompt.textContent);
    return prompts.every(text => /\\[\\d+\\]/.test(text))
        || document.querySelector('{ERRORS}') || document.querySelector(".jp-Dialog");
}}"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    api = pytest.importorskip("playwright.sync_api", reason="the extra 'dev' is not installed")
    home = {"HOME": str(tmp_path_factory.mktemp("browser"))}
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS, env=os.environ | home)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory) -> Iterator[dict]:
    """A JupyterLab on copies of the notebooks without their outputs, away from the settings of whoever runs this."""
    place = tmp_path_factory.mktemp("lab")
    folders = {name: place / name for name in ("notebooks", "home", "config", "data", "runtime", "ipython", "out")}
    for folder in folders.values():
        folder.mkdir()
    for path in NOTEBOOKS:
        _write_cleared(path, folders["notebooks"] / path.name)
    shutil.copy(ROOT / "notebooks" / "plots.py", folders["notebooks"])
    overrides = folders["config"] / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir()
    overrides.write_text(json.dumps(SETTINGS), encoding="utf-8")
    environment = os.environ | {
        "HOME": str(folders["home"]),
        "JUPYTER_CONFIG_DIR": str(folders["config"]),
        "JUPYTER_DATA_DIR": str(folders["data"]),
        "JUPYTER_RUNTIME_DIR": str(folders["runtime"]),
        "IPYTHONDIR": str(folders["ipython"]),
        "CAPTCHA_DATA": "generated",
        "CAPTCHA_OUT": str(folders["out"]),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0",
        f"--ServerApp.root_dir={folders['notebooks']}", f"--IdentityProvider.token={secrets.token_hex()}",
    ]  # fmt: skip
    with (place / "log.txt").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield _wait_for_server(server, folders["runtime"], place / "log.txt")
    finally:
        server.terminate()  # and with it the kernels
        server.wait(timeout=60)


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport={"width": 1400, "height": 1000})
    yield page
    page.close()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_its_figures(path, lab, page):
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{lab['url']}lab/tree/{path.name}?reset&token={lab['token']}")
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120_000)  # before, there is no kernel to run it
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(FINISHED, timeout=1000 * PATIENCE)
    _take_picture(page, SCREENSHOTS / f"{path.stem}.png")

    assert page.locator(".jp-Dialog").all_inner_texts() == []
    assert page.locator(ERRORS).all_inner_texts() == []
    counts = page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
    assert [int(re.sub(r"\D", "", count)) for count in counts] == list(range(1, len(counts) + 1))
    figures = page.locator(".jp-OutputArea-output img")
    assert figures.count() == _count_figures(path)
    for figure in figures.all():
        assert figure.evaluate("image => image.complete && image.naturalWidth > 0")
        box, around = figure.bounding_box(), page.locator(".jp-NotebookPanel").bounding_box()
        assert box["x"] + box["width"] <= around["x"] + around["width"], "a figure is cut off"
    assert problems == []


def _write_cleared(path: Path, to: Path) -> None:
    """Writes a notebook without its outputs, so that what the page shows later was made there."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, to)


def _wait_for_server(server: subprocess.Popen, runtime: Path, log: Path, seconds: float = 120) -> dict:
    """The server's address and token, from the file that it writes once it listens."""
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        for path in runtime.glob("jpserver-*.json"):
            return json.loads(path.read_text(encoding="utf-8"))
        time.sleep(0.2)
    pytest.fail(f"JupyterLab does not start:\n{log.read_text(encoding='utf-8')}")


def _take_picture(page, to: Path) -> None:
    """A screenshot of the whole notebook, in a window as tall as that."""
    to.parent.mkdir(parents=True, exist_ok=True)
    notebook = page.locator(".jp-WindowedPanel-outer")
    height = notebook.evaluate("panel => window.innerHeight + panel.scrollHeight - panel.clientHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": min(TALLEST, height)})
    page.screenshot(path=to)


def _count_figures(path: Path) -> int:
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)
