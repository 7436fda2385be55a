"""Sets whose labels score a reader that teaches itself, and teach it nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captcha_lib import adapting
from captcha_lib.data.load import write_captchas
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.reading.torch_reader import load_start
from studies import self_taught
from studies.benchmarks.first_sight import named_sets, read_sets, summary
from studies.self_taught import COLUMNS, load_set, teach_set


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(adapting, "BELIEVED", (0.9,))
    monkeypatch.setattr(adapting, "STEPS", replace(adapting.STEPS, epochs=1, per_epoch=64))
    monkeypatch.setattr(self_taught, "UNLABELLED", 30)
    monkeypatch.setattr(self_taught, "LEAST_TEST", 10)


def drawn(folder: Path, n: int, seed: int) -> Path:
    write_captchas(*generate_captchas(n, seed), folder)
    return folder


@pytest.mark.parametrize(("n", "fresh", "same"), [(45, 0, False), (35, 0, True), (45, 12, False)])
def test_what_is_learnt_from_and_what_is_scored(tmp_path, n, fresh, same):
    folder = drawn(tmp_path / "labelled", n, 1)
    if fresh:
        drawn(tmp_path / "fresh", fresh, 2)
    data = load_set(folder, load_start("kaggle"))
    assert len(data.images) == 30
    assert data.length == 5
    assert set(data.alphabet) <= set("2345678bcdefgmnpwxy")
    assert len(data.test_texts) == (fresh or (30 if same else 15))
    assert (data.test_texts == data.texts) == same


def test_a_set_is_one_row(tmp_path):
    (row,) = teach_set("ours", drawn(tmp_path / "labelled", 45, 1), 0, 0, "kaggle")["rows"]
    assert list(row) == COLUMNS
    assert (row["set"], row["labels"], row["seed"], row["n"]) == ("ours", 0, 0, 15)
    assert row["exact_before"] >= 14
    assert row["exact"] >= 13
    assert 0 <= row["exact_expected"] <= 15


@pytest.mark.parametrize(("n", "scored"), [(45, 15), (35, 27)])
def test_what_a_person_was_asked_for_is_not_scored(tmp_path, n, scored):
    before, after = teach_set("ours", drawn(tmp_path / "labelled", n, 1), 0, 3, "kaggle")["rows"]
    assert (before["labels"], before["n"]) == (0, 15 if n == 45 else 30)
    assert (after["labels"], after["n"]) == (3, scored)
    assert after["exact"] >= scored - 2


def test_sets_are_called_by_what_tells_them_apart(tmp_path):
    assert named_sets(["/a/one", "/a/two"]) == {"one": Path("/a/one"), "two": Path("/a/two")}
    assert [*named_sets(["/a/one/labelled", "/a/two/labelled"])] == ["one", "two"]


def test_first_sight_is_a_row_for_each_reader_and_what_it_is_given(tmp_path):
    table = read_sets({"ours": drawn(tmp_path / "labelled", 12, 1)}, "kaggle", tmp_path / "no-python", tmp_path / "out")
    assert table["given"].tolist() == ["nothing", "alphabet and length"]
    assert set(table["n"]) == {12}
    assert table["exact"].min() >= 11
    wide = summary(table)
    assert wide.index.tolist() == ["ours", "mean"]
    assert np.allclose(wide.loc["mean"], wide.loc["ours"])


def test_a_person_is_asked_with_the_first_seed_alone(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(self_taught, "run_jobs", lambda out, work, *rest: asked.extend(work.values()) or {})
    self_taught.teach_sets({"ours": tmp_path}, tmp_path, 3, 30, "kaggle")
    assert [job.arguments[2:4] for job in asked] == [(0, 30), (1, 0), (2, 0)]
    assert [job.identity["labels"] for job in asked] == [30, 0, 0]
