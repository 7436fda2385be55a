"""The steps of the Dockerfile, done in a fresh folder: what it copies, installs and starts, by a user who is not root.

Only Docker itself and the base image are not tested: a fresh virtual environment stands for the image's Python, the
folder for its root, and this machine's system libraries are there. All dependencies are installed: two to five
minutes, 7 GB.
"""

import fnmatch
import json
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest

from captcha_lib.config import CHECKOUT as ROOT

PATIENCE = 120  # s until JupyterLab answers
IS_ROOT = os.geteuid() == 0
# The user may search and read every folder, since this machine's Python may lie in root's home; it writes as itself.
READS_ALL = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
# What leads to the index, and to Python's own library; nothing else of this environment reaches the image.
KEPT = re.compile("PIP_.+|SSL_.+|.+_proxy|.+_PROXY|OMP_NUM_THREADS|LD_LIBRARY_PATH")


def git(*arguments: str) -> set[str]:
    done = subprocess.run(["git", "ls-files", "-z", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(filter(None, done.stdout.split("\0")))


def ignored(path: str) -> bool:
    """Whether .dockerignore leaves a file out: a pattern meets the file itself or a folder above it."""
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    forms = {*patterns, *(pattern.removeprefix("**/") for pattern in patterns)}
    places = [path, *map(str, PurePosixPath(path).parents)]
    return any(fnmatch.fnmatchcase(place, form) for place in places for form in forms)


class Image:
    """What the steps have built so far; its paths lie under `root`. Only today's instructions are known."""

    def __init__(self, root: Path, python: Path):
        self.root, self.python = root, python
        self.workdir, self.user, self.command = root, 0, []
        self.homes = {0: root / "root"}
        self.make(self.homes[0], 0)

    def own(self, path: Path, owner: int) -> None:
        if IS_ROOT:
            os.chown(path, owner, owner)

    def make(self, folder: Path, owner: int) -> None:
        """Folders that are there already keep their owner, as in Docker."""
        if not folder.exists():
            self.make(folder.parent, owner)
            folder.mkdir()
            self.own(folder, owner)

    def start(self, command: list[str], **options) -> subprocess.Popen:
        """Starts a command as the image's user, with the image's environment and an empty home."""
        environment = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        environment |= {"HOME": str(self.homes[self.user]), "LANG": "C.UTF-8"}
        environment["PATH"] = f"{self.python / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        if IS_ROOT and self.user:
            who = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", *READS_ALL]
            command = ["setpriv", *who, *command]
        return subprocess.Popen(command, cwd=self.workdir, env=environment, **options)

    def run(self, *command: str) -> None:
        with self.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            said, _ = process.communicate()
        assert process.returncode == 0, f"{shlex.join(command)}\n{said}"

    def step(self, line: str) -> None:
        instruction, arguments = line.split(maxsplit=1)
        match instruction, arguments.split():
            case "FROM", [base]:
                version = "{}.{}".format(*sys.version_info)
                assert base.startswith(f"python:{version}-"), f"run this test with the image's Python, not {version}"
            case "WORKDIR", [folder]:
                self.workdir = self.root / folder.lstrip("/")
                self.make(self.workdir, 0)
            case "USER", [user]:
                self.user = int(user)
            case "CMD", _:
                self.command = json.loads(arguments)
            case "COPY", [chown, *sources, target] if chown.startswith("--chown="):
                self.copy(sources, target, int(chown.removeprefix("--chown=")))
            case "COPY", [*sources, target]:
                self.copy(sources, target, 0)
            case "RUN", ["useradd", "--create-home", "--uid", user, name]:
                self.homes[int(user)] = self.root / "home" / name
                self.make(self.homes[int(user)].parent, 0)
                self.make(self.homes[int(user)], int(user))
            case "RUN", ["chown", *_] if not IS_ROOT:
                pass  # all files are this user's already
            case "RUN", _:
                self.run("sh", "-c", arguments)
            case "EXPOSE", _:
                pass
            case _:
                raise NotImplementedError(f"this test does not know {line}")

    def copy(self, sources: list[str], target: str, owner: int) -> None:
        """Copies what a fresh clone sends to Docker; a file that is new and not yet committed counts."""
        assert target in (".", "./", *sources), "each file keeps its path below the working folder"
        names = [name for name in git("--cached", "--others", "--exclude-standard") if not ignored(name)]
        for source in sources:
            found = [name for name in names if source in (".", name) or name.startswith(f"{source}/")]
            assert found, f"nothing to copy: {source}"
            for name in filter(lambda name: (ROOT / name).is_file(), found):
                self.make((self.workdir / name).parent, owner)
                shutil.copy(ROOT / name, self.workdir / name)
                self.own(self.workdir / name, owner)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with tempfile.TemporaryDirectory(prefix="captcha_lib-image-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o755)  # the user is another one than the folder's
        (place / "root").mkdir()
        venv.create(place / "python", with_pip=True)
        image = Image(place / "root", place / "python")
        for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                image.step(line)
        yield image


@pytest.fixture(scope="module")
def lab(image) -> Iterator[str]:
    """Starts what the image starts, on this machine's loopback alone; gives the address with its token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    command = [word.replace("0.0.0.0", "127.0.0.1") for word in image.command]
    command = ["env", f"JUPYTER_TOKEN={token}", *command, f"--port={port}", "--ServerApp.port_retries=0"]
    with (image.root / "log.txt").open("w") as log:
        process = image.start(command, stdout=log, stderr=log, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}/{{}}?token={token}"
            assert _answers(address.format("api/status"), process), (image.root / "log.txt").read_text()
            yield address
            process.terminate()  # as `docker stop` does, which kills after ten seconds
            assert process.wait(10) in (0, -15)
        finally:
            process.kill()


def _answers(address: str, process: subprocess.Popen) -> bool:
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError):
            return _get(address).status == 200
        time.sleep(0.5)
    return False


def _get(address: str):
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=30)


def test_nothing_that_git_ignores_gets_into_the_image():
    assert not [name for name in git("--others", "--ignored", "--exclude-standard") if not ignored(name)]


def test_the_image_has_a_user_of_its_own_and_listens_to_the_outside(image):
    assert image.user != 0
    assert image.homes[image.user].is_relative_to(image.root / "home")
    assert "--ip=0.0.0.0" in image.command


def test_the_lab_shows_the_notebooks(lab):
    assert b"JupyterLab" in _get(lab.format("lab")).read()
    names = [entry["name"] for entry in json.load(_get(lab.format("api/contents")))["content"]]
    assert {path.name for path in (ROOT / "notebooks").glob("*.ipynb")} <= set(names)


@pytest.mark.parametrize("folder", ["", "data", "notebooks", "output", "output/reference"])
def test_the_user_may_write(image, folder):
    image.run("touch", str(image.workdir / folder / "written"))


def test_the_first_notebook_runs(image):
    out = image.workdir / "output" / "run"
    image.run("python", "notebooks/execute.py", "--out", str(out), "notebooks/01_explore_data.ipynb")
    cells = json.loads((out / "01_explore_data.ipynb").read_text(encoding="utf-8"))["cells"]
    assert any(cell.get("outputs") for cell in cells)


def test_an_image_is_read(image):
    image.run("python", "-m", "captcha_lib", "predict", "data/generated", "--csv", "--out", "output/run/read.csv")
