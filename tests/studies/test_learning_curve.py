"""Exact match against the number of labels: what is trained on, and which results are kept."""

from dataclasses import replace

import pandas as pd
import pytest

from captcha_lib.config import Config, InputError
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.recipe import config_for
from captcha_lib.training import fit
from studies import learning_curve
from studies.captchas import generated_captchas
from studies.learning_curve import label_curve, sizes_for, summarise
from studies.stream import Stream

TINY = Config(epochs=1, batch_size=16, warmup_epochs=0, augment_ramp=0, channels=(4, 4, 8), hidden=16)


@pytest.fixture(scope="module")
def captchas():
    drawn = generated_captchas(40, 1)
    return drawn.replace(manifest=drawn.manifest.assign(subset=["train"] * 20 + ["val"] * 10 + ["test"] * 10))


@pytest.fixture(scope="module")
def starts():
    return [fit(Stream(16, seed=seed, workers=0), None, replace(TINY, seed=seed))[0] for seed in (0, 1)]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("curve")


@pytest.fixture(scope="module")
def table(captchas, starts, out):
    return label_curve(captchas, starts, KAPTCHA, out, (0, 4, 20, 400), TINY, TINY, jobs=1, report=str)


def test_results_after_other_starts_are_another_run(table, captchas, starts, out):
    with pytest.raises(InputError, match=r"another run \(start"):
        label_curve(captchas, starts[::-1], KAPTCHA, out, (0, 4, 20), TINY, TINY, jobs=1, report=str)


def test_a_row_for_each_start_size_and_draw(table):
    assert table.columns.tolist() == ["labels", "start", "draw", "exact", "n", "seconds"]
    rows = set(zip(table["start"], table["labels"], table["draw"], strict=True))
    assert rows == {(start, n, draw) for start in ("scratch", "generated") for n in (0, 4, 20) for draw in (0, 1)}
    assert table["n"].eq(10).all()
    assert not table.loc[table["labels"] == 0, ["exact", "seconds"]].to_numpy().any(), "untrained, it reads nothing"
    assert sizes_for(802) == (0, 10, 25, 50, 100, 200, 400, 802)
    assert sizes_for(60) == (0, 10, 25, 60)
    assert sizes_for(3000) == (0, 10, 25, 50, 100, 200, 400, 800, 1600, 3000)


def run_here(out, work, *others) -> dict:
    return {name: job.function(*job.arguments) for name, job in work.items()}


def test_what_is_trained_on(monkeypatch, captchas, starts, tmp_path):
    """Labels come from the training images, smaller draws lie in larger ones, and the test is never trained on."""
    seen, configs = {}, {}

    def fit_nothing(train, val, config, start=None):
        assert val is None
        if start is None:
            seen[config.seed, len(train)] = set(train.labels)
            configs[len(train)] = replace(config, seed=Config().seed)
        else:
            generated = set(train.labels[-learning_curve.PER_EPOCH :])
            assert not generated & set(captchas.labels)
        return starts[0], pd.DataFrame({"seconds": [1.0]})

    monkeypatch.setattr(learning_curve, "fit", fit_nothing)
    monkeypatch.setattr(learning_curve, "run_jobs", run_here)
    label_curve(captchas, starts, KAPTCHA, tmp_path, (4, 8, 20), None, TINY, jobs=1, report=str)
    training = set(captchas.subset("train").labels)
    for draw in (0, 1):
        assert seen[draw, 4] < seen[draw, 8] < seen[draw, 20] == training
    assert seen[0, 4] != seen[1, 4]
    assert configs == {n: config_for(n) for n in (4, 8, 20)}, "each number of labels has its recipe"


def test_summary_by_hand():
    rows = [
        (10, "scratch", 0, 4, 10),
        (10, "scratch", 1, 6, 10),
        (10, "generated", 0, 9, 10),
        (20, "scratch", 0, 7, 10),
    ]
    summary = summarise(pd.DataFrame(rows, columns=["labels", "start", "draw", "exact", "n"]))
    found = summary.set_index(["start", "labels"]).loc[("scratch", 10)]
    assert (found["draws"], found["n"], found["mean"], found["lowest"], found["highest"]) == (2, 10, 0.5, 0.4, 0.6)
    assert len(summary) == 3
