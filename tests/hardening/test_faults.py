"""Runs that are killed, meet a full disk or another run, or that somebody stops: nothing is lost or half-written."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from captcha_lib.config import CHECKOUT, WEIGHTS_DIR, InputError
from captcha_lib.data.labels import LabelRule
from captcha_lib.data.load import load_data, write_captchas
from captcha_lib.data.split import split_captchas, write_layout, write_split
from captcha_lib.files import sole_writer
from tests.hardening.killing import STUDIES, Moment, run

KILLS = 20
KAGGLE = WEIGHTS_DIR / "kaggle.pth"
MEASURED = {"metrics.json": "train_seconds", "crossval.json": "train_seconds_median", "job.json": "seconds"}


def tree(folder: Path) -> dict[str, bytes]:
    """All the files under a folder, without what a clock measured and the locks of processes that are gone."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): _content(path) for path in files}


def _content(path: Path) -> bytes:
    if path.name == "checkpoint.pth":  # holds the seconds of its epochs
        return b""
    if path.name not in MEASURED or any(name.startswith(".part-") for name in path.parts):  # half a file, maybe
        return path.read_bytes()
    figures = json.loads(path.read_bytes())
    del figures[MEASURED[path.name]]
    return json.dumps(figures).encode()


def moments(steps: int, seconds: float, largest: int) -> list[Moment]:
    """20 random moments of a run: between steps in the file system, in the middle of a write, whenever."""
    chance = random.Random(0)
    between = [Moment(step=step) for step in chance.sample(range(1, steps + 1), min(9, steps))]
    within = [Moment(size=chance.randrange(1, largest)) for _ in range(6)]
    by_clock = [Moment(seconds=chance.uniform(0, 0.7 * seconds)) for _ in range(KILLS - len(between) - len(within))]
    return between + within + by_clock


@pytest.fixture
def keep(tmp_path) -> Path:
    """The folder that holds all that a command writes."""
    (tmp_path / "keep").mkdir()
    return tmp_path / "keep"


@pytest.fixture(scope="module")
def few(drawn, tmp_path_factory) -> Path:
    """A folder of twelve captchas."""
    texts, images = drawn
    place = tmp_path_factory.mktemp("few") / "images"
    write_captchas(texts[:12], images[:12], place)
    return place


def test_workers_end_with_a_killed_crossval(few, tmp_path):
    """Two worker processes must not go on writing where the next run writes."""
    words = ["crossval", "--data", few, "--folds", 2, "--seeds", 1, "--epochs", 40, "--out", tmp_path / "out"]
    process = start(words, until="networks to train")
    time.sleep(4)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while states := alive(process.pid):
        assert time.monotonic() < deadline, states
        time.sleep(0.1)


def alive(session: int) -> list[str]:
    """The states of the processes of a terminal's session; Z is one that has ended and is not yet cleared away."""
    states = subprocess.run(["ps", "--sid", str(session), "-o", "stat="], capture_output=True, text=True).stdout
    return [state for state in states.split() if not state.startswith("Z")]


def one_line(said: str) -> str:
    """The last line, which has to be the only one about an error."""
    lines = said.splitlines()
    assert [line for line in lines if line.startswith(("error:", "Traceback"))] == lines[-1:], said
    return lines[-1]


COMMANDS = {
    "train": ["--epochs", 4, "--threads", 1, "--data"],
    "split": ["--data"],
    "predict": ["--length", 0, "--csv", "--threads", 1],
    "generate": ["--count", 60],
    "export": ["--weights", KAGGLE],
    "crossval": ["--folds", 3, "--seeds", 1, "--epochs", 1, "--jobs", 1, "--data"],
}


@pytest.fixture
def words(request, few) -> list:
    """A command on few images, without its --out."""
    takes_images = COMMANDS[request.param][-1:] == ["--data"] or request.param == "predict"
    return [request.param, *COMMANDS[request.param], *([few] if takes_images else [])]


@pytest.mark.parametrize("words", ["train", "generate", "crossval", "predict"], indirect=True)
def test_a_killed_command_goes_on(words, keep):
    """Killed at 20 moments and started again, it leaves what an unbroken run leaves."""
    words = [*words, "--out", keep / "out"]
    again = [*words, "--resume"] if words[0] == "train" else words
    whole = run(words, keep)
    assert whole.status == 0, whole.said
    expected = tree(keep)
    largest = max(path.stat().st_size for path in keep.rglob("*") if path.is_file())
    killed = 0
    for moment in moments(whole.steps, whole.seconds, largest):
        shutil.rmtree(keep)
        keep.mkdir()
        killed += run(words, keep, moment).status < 0
        if tree(keep) != expected:  # killed before the end
            done = run(again, keep)
            assert done.status == 0, (moment, done.said)
        assert tree(keep) == expected, moment
    assert killed >= 0.8 * KILLS  # on a machine that is quicker now a moment of the clock lies after the end


@pytest.mark.parametrize("words", COMMANDS, indirect=True)
def test_a_full_disk(words, keep):
    out = keep / "out"
    said = one_line(run([*words, "--out", out], keep, Moment(full=300)).said)
    assert "not writable (File too large)" in said
    assert str(out) in said
    assert tree(keep) == {}
    assert run([*words, "--out", out], keep).status == 0


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["train"], ""),
        (["bench", "--own-splits"], "seed-0"),
        (["crossval", "--folds", 2, "--seeds", 1, "--jobs", 1], "jobs"),
    ],
)
def test_a_second_run_into_the_same_folder_stops(words, place, few, keep):
    with sole_writer(keep / "out" / place):
        done = run([*words, "--data", few, "--out", keep / "out"], keep)
    assert done.status == 2
    assert "another run is writing there" in one_line(done.said)
    assert tree(keep) == {}


def start(words: list, until: str | None = None) -> subprocess.Popen:
    """Starts a command in a group of its own, as a terminal does, and waits for a line."""
    out = words[words.index("--out") + 1]
    process = subprocess.Popen(
        [sys.executable, "-m", "studies" if words[0] in STUDIES else "captcha_lib", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
        env=os.environ | {"CAPTCHA_TEST": str(Path(out).parent)},
        start_new_session=True,
    )
    if until is not None:
        next(line for line in process.stdout if until in line)
    return process


@pytest.mark.parametrize(
    ("words", "until"),
    [
        (["train", "--epochs", 100, "--threads", 1], "epoch  2/100"),
        (["stream", "--data", "generated", "--n", 4000, "--epochs", 100, "--threads", 1], "epoch  1/100"),
        (["crossval", "--folds", 2, "--seeds", 1, "--epochs", 100], "networks to train"),
        (["bench", "--own-splits", "--threads", 1], "epoch  1"),
    ],
)
def test_ctrl_c_says_one_line(words, until, few, tmp_path):
    data = [] if "--data" in words else ["--data", few]
    process = start([*words, *data, "--out", tmp_path / "out"], until)
    if words[0] == "crossval":
        time.sleep(3)  # the workers are at work, too
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.startswith("interrupted; the same command continues from here")
    assert len(errors.splitlines()) == 1
    assert process.returncode == 130
    assert not list((tmp_path / "out").rglob(".part-*"))


def test_an_image_that_vanishes_while_it_is_read(own_folder, monkeypatch):
    def read_and_remove(*given) -> object:
        labels = read(*given)
        min(own_folder.iterdir()).unlink()
        return labels

    read = LabelRule.read
    monkeypatch.setattr(LabelRule, "read", read_and_remove)
    with pytest.raises(InputError, match=r"png: cannot be read \(No such file or directory\)"):
        load_data(str(own_folder))


def swap_two(folder: Path) -> str:
    """Puts another image, upside down, under an image's name; returns that name."""
    one, two = sorted(folder.iterdir())[:2]
    ImageOps.flip(Image.open(two)).save(one)
    return one.name


def test_an_image_that_has_changed_since_the_split(own_folder, tmp_path):
    write_split(split_captchas(load_data(str(own_folder))).manifest, tmp_path / "split.csv")
    name = swap_two(own_folder)
    with pytest.raises(InputError, match=f"'{name}' has changed since the split was made"):
        split_captchas(load_data(str(own_folder)), tmp_path / "split.csv")


def test_an_image_that_has_changed_since_it_was_read(own_folder, tmp_path):
    captchas = split_captchas(load_data(str(own_folder)))
    name = swap_two(own_folder)
    with pytest.raises(InputError, match=f"{name}: it has changed since it was read"):
        write_layout(captchas, tmp_path / "layout")
    assert not (tmp_path / "layout").exists()


def test_an_image_that_has_changed_since_the_run_was_stopped(own_folder, keep):
    words = ["train", "--data", own_folder, "--epochs", 3, "--threads", 1, "--out", keep / "out"]
    assert run(words, keep, Moment(step=40)).status < 0
    swap_two(own_folder)
    assert "it belongs to another run (images" in one_line(run([*words, "--resume"], keep).said)


def peak(words: list) -> float:
    """Runs a command in a process of its own; returns its largest resident memory in MB."""
    code = """
import pathlib, sys
from captcha_lib.__main__ import main
assert main(sys.argv[1:]) == 0
print(int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000)
"""
    words = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=CHECKOUT)
    return float(done.stdout.splitlines()[-1])


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")


@needs_proc
def test_training_on_1070_images_takes_less_than_1200_mb(tmp_path):
    assert peak(["train", "--data", "generated", "--epochs", 1, "--threads", 1, "--out", tmp_path]) < 1200


@needs_proc
def test_reading_one_image_takes_little_memory(few):
    """Fault 4: it took 730 MB, since torch was imported for it."""
    assert peak(["predict", min(few.iterdir())]) < 120
