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
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

from captcha_lib.config import ROOT

PATIENCE = 120  # s until JupyterLab answers
IS_ROOT = os.geteuid() == 0
# The user may search and read every folder, since this machine's Python may lie in root's home; it writes as itself.
READS_ALL = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
# What leads to the index, and to Python's own library; nothing else of this environment reaches the image.
KEPT = re.compile("PIP_.+|SSL_.+|.+_proxy|.+_PROXY|OMP_NUM_THREADS|LD_LIBRARY_PATH")


def steps(text: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions and their arguments, a continued line as one."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]


def ignored(path: str) -> bool:
    """Whether .dockerignore leaves a file out: a pattern meets the file itself or a folder above it."""
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    places = [path, *map(str, PurePosixPath(path).parents)]
    spelt = [form for pattern in patterns for form in {pattern, pattern.removeprefix("**/")}]
    return any(fnmatch.fnmatchcase(place, pattern) for place in places for pattern in spelt)


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name]


def context() -> list[str]:
    """What a fresh clone sends to Docker; a file that is new and not yet committed counts."""
    names = git("--cached", "--others", "--exclude-standard")
    return sorted(name for name in set(names) if (ROOT / name).is_file() and not ignored(name))


@dataclass
class Image:
    """What the steps have built so far. Paths in the image lie under `root`."""

    root: Path
    python: Path
    workdir: Path = field(init=False)
    user: int = 0
    homes: dict[int, Path] = field(default_factory=dict)
    command: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.workdir = self.root
        self.homes[0] = self.make(self.root / "root", 0)

    def make(self, folder: Path, owner: int) -> Path:
        for place in reversed([folder, *folder.parents]):
            if not place.exists():
                place.mkdir()
                self.own(place, owner)
        return folder

    def own(self, path: Path, owner: int) -> None:
        if IS_ROOT:
            os.chown(path, owner, owner)

    def start(self, command: list[str], **options) -> subprocess.Popen:
        """Starts a command as the image's user, with the image's environment and an empty home."""
        environment = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        environment |= {"HOME": str(self.homes[self.user]), "LANG": "C.UTF-8"}
        environment["PATH"] = f"{self.python / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        if IS_ROOT and self.user:
            who = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", *READS_ALL]
            command = ["setpriv", *who, *command]
        environment |= options.pop("env", {})
        return subprocess.Popen(command, cwd=self.workdir, env=environment, **options)

    def run(self, command: list[str]) -> None:
        with self.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            said, _ = process.communicate()
        assert process.returncode == 0, f"{shlex.join(command)}\n{said}"

    def step(self, instruction: str, arguments: str) -> None:
        match instruction:
            case "FROM":
                version = "{}.{}".format(*sys.version_info)
                assert arguments.startswith(f"python:{version}-"), (
                    f"run this test with the image's Python, not {version}"
                )
            case "WORKDIR":
                self.workdir = self.make(self.root / arguments.lstrip("/"), 0)
            case "USER":
                self.user = int(arguments)
            case "CMD":
                self.command = json.loads(arguments)
            case "COPY":
                self.copy(*shlex.split(arguments))
            case "RUN" if added := re.fullmatch(r"useradd --create-home --uid (\d+) (\w+)", arguments):
                self.homes[int(added[1])] = self.make(self.root / "home" / added[2], 0)
                self.own(self.homes[int(added[1])], int(added[1]))
            case "RUN" if arguments.startswith("chown ") and not IS_ROOT:
                pass  # all files are this user's already
            case "RUN":
                self.run(["sh", "-c", arguments])
            case "EXPOSE":
                pass
            case _:
                raise NotImplementedError(f"this test does not know {instruction}")

    def copy(self, *words: str) -> None:
        """Folders that are there already keep their owner, as in Docker."""
        owner = next((int(word.removeprefix("--chown=")) for word in words if word.startswith("--chown=")), 0)
        *sources, target = [word for word in words if not word.startswith("--")]
        for source in sources:
            names = [name for name in context() if source in (".", name) or name.startswith(f"{source}/")]
            assert names, f"nothing to copy: {source}"
            for name in names:
                place = self.workdir / target / _below(name, source)
                self.make(place.parent, owner)
                shutil.copy(ROOT / name, place)
                self.own(place, owner)


def _below(name: str, source: str) -> str:
    """What remains of a file's name when `source` is copied: a folder itself is not, what is in it is."""
    if name == source:
        return PurePosixPath(name).name
    return name if source == "." else name.removeprefix(f"{source}/")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with tempfile.TemporaryDirectory(prefix="captcha_lib-image-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o755)  # the user is another one than the folder's
        (place / "root").mkdir()
        venv.create(place / "python", with_pip=True)
        image = Image(place / "root", place / "python")
        for step in steps((ROOT / "Dockerfile").read_text(encoding="utf-8")):
            image.step(*step)
        yield image


@pytest.fixture(scope="module")
def lab(image) -> Iterator[str]:
    """Starts what the image starts, on this machine's loopback alone; gives the address with its token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    command = [word.replace("0.0.0.0", "127.0.0.1") for word in image.command]
    command += [f"--port={port}", "--ServerApp.port_retries=0"]
    with (image.root / "log.txt").open("w") as log:
        process = image.start(command, env={"JUPYTER_TOKEN": token}, stdout=log, stderr=log, start_new_session=True)
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
        try:
            return _get(address).status == 200
        except OSError:
            time.sleep(0.5)
    return False


def _get(address: str):
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=30)


def test_nothing_that_git_ignores_gets_into_the_image():
    assert [name for name in git("--others", "--ignored", "--exclude-standard") if not ignored(name)] == []


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
    image.run(["touch", str(image.workdir / folder / "written")])


def test_the_first_notebook_runs(image):
    out = image.workdir / "output" / "run"
    image.run(["python", "notebooks/execute.py", "--out", str(out), "notebooks/01_explore_data.ipynb"])
    cells = json.loads((out / "01_explore_data.ipynb").read_text(encoding="utf-8"))["cells"]
    assert any(cell.get("outputs") for cell in cells)


def test_an_image_is_read(image):
    image.run(["python", "-m", "captcha_lib", "predict", "data/generated", "--csv", "--out", "output/run/read.csv"])
