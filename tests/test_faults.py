"""Runs that are killed, meet a full disk or another run, or that somebody stops: nothing is lost or half-written."""

import json
import random
import shutil
from pathlib import Path

import pytest

from captcha_lib.data import write_captchas
from tests.killing import Moment, run

KILLS = 20
MEASURED = {"metrics.json": "train_seconds", "crossval.json": "train_seconds_median", "job.json": "seconds"}


def tree(folder: Path) -> dict[str, bytes]:
    """All the files under a folder, without what a clock measured."""
    return {str(path.relative_to(folder)): _content(path) for path in folder.rglob("*") if path.is_file()}


def _content(path: Path) -> bytes:
    if path.name == "checkpoint.pth":  # holds the seconds of its epochs
        return b""
    if path.name not in MEASURED:
        return path.read_bytes()
    figures = json.loads(path.read_bytes())
    del figures[MEASURED[path.name]]
    return json.dumps(figures).encode()


def moments(steps: int, seconds: float, largest: int) -> list[Moment]:
    """20 random moments of a run: between steps in the file system, in the middle of a write, whenever."""
    chance = random.Random(0)
    between = [Moment(step=step) for step in chance.sample(range(1, steps + 1), min(9, steps))]
    within = [Moment(size=chance.randrange(1, largest)) for _ in range(6)]
    return (
        between + within + [Moment(seconds=chance.uniform(0, 0.7 * seconds)) for _ in range(KILLS - len(between) - 6)]
    )


def goes_on(words: list, again: list, out: Path, keep: Path, status: int = 0) -> None:
    """Kills a command that writes to `out` at 20 moments, goes on with it, and compares with an unbroken run."""
    whole = run([*words, "--out", out], keep)
    assert whole.status == status, whole.said
    expected = tree(keep)
    largest = max(path.stat().st_size for path in keep.rglob("*") if path.is_file())
    killed = 0
    for moment in moments(whole.steps, whole.seconds, largest):
        shutil.rmtree(keep)
        keep.mkdir()
        killed += run([*words, "--out", out], keep, moment).status < 0
        if tree(keep) != expected:  # killed before the end
            done = run([*again, "--out", out], keep)
            assert done.status == status, (moment, done.said)
        assert tree(keep) == expected, moment
    assert killed >= 0.8 * KILLS  # on a machine that is quicker now a moment of the clock lies after the end


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


def test_training_goes_on_after_a_kill(few, keep):
    words = ["train", "--data", few, "--epochs", 4, "--threads", 1]
    goes_on(words, [*words, "--resume"], keep / "run", keep)


def test_generate_after_a_kill(keep):
    words = ["generate", "--count", 60]
    goes_on(words, words, keep / "captchas", keep)


def test_crossval_goes_on_after_a_kill(few, keep):
    words = ["crossval", "--data", few, "--folds", 3, "--seeds", 1, "--epochs", 1, "--jobs", 1]
    goes_on(words, words, keep / "crossval", keep)


@pytest.fixture
def many(few, tmp_path) -> Path:
    """A folder of 1,000 files, four batches, some of them no images."""
    place = tmp_path / "many"
    place.mkdir()
    images = sorted(few.iterdir())
    for i in range(1000):
        (place / f"{i:04}.png").write_bytes(images[i % 12].read_bytes()[: 700 if i % 100 == 7 else None])
    return place


def test_predict_goes_on_after_a_kill(many, weights, keep):
    words = ["predict", many, "--weights", weights, "--csv", "--length", 0, "--threads", 1]
    goes_on(words, words, keep / "read.csv", keep, status=1)
