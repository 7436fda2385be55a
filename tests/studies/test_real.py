"""Real sets learnt with the defaults: what is learnt, and what is read."""

from pathlib import Path

import numpy as np
import pytest

from captcha_lib.data.load import write_captchas
from captcha_lib.generator.draw import generate_captchas
from studies import real
from studies.real import ALL, COLUMNS, Part, learn_sets, parts_of, rows_of


def drawn(folder: Path, n: int, seed: int) -> Path:
    write_captchas(*generate_captchas(n, seed), folder)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(real, "LEAST_TEST", 10)
    monkeypatch.setattr(real, "FOLDS", 3)


def quick(monkeypatch):
    """Two epochs of a few images."""
    train = real.train
    monkeypatch.setattr(real, "train", lambda *given, **named: train(*given, **named, epochs=2, per_epoch=32))


def test_a_smaller_number_of_labels_is_part_of_a_larger_one():
    few, others = rows_of(50, Part(10, 3))
    more, _ = rows_of(50, Part(20, 3))
    assert set(few) < set(more)
    assert sorted([*few, *others]) == [*range(50)]
    assert set(few) != set(rows_of(50, Part(10, 4))[0])


def test_each_image_is_in_one_fold():
    folds = [rows_of(50, Part(ALL, 0, fold)) for fold in range(3)]
    assert sorted(np.concatenate([tested for _, tested in folds])) == [*range(50)]
    assert all(not set(learnt) & set(tested) for learnt, tested in folds)


@pytest.mark.parametrize(
    ("fresh", "expected"),
    [(0, ["20-0", "all-0-fold-0", "all-0-fold-1", "all-0-fold-2"]), (5, ["20-0", "30-0", "all-0"])],
)
def test_what_is_trained(tmp_path, fresh, expected):
    folder = drawn(tmp_path / "labelled", 35, 1)
    if fresh:
        drawn(tmp_path / "fresh", fresh, 2)
    assert [*map(str, parts_of(folder, (20, 30, 100, ALL), 1))] == expected


def test_a_set_is_a_row_for_each_number_of_labels(tmp_path, monkeypatch):
    quick(monkeypatch)
    folder, said = drawn(tmp_path / "labelled", 45, 1), []
    table = learn_sets({"ours": folder}, tmp_path / "out", (30, ALL), 1, 1, said.append, tmp_path / "no peers")
    assert [*table] == COLUMNS
    assert table[["ddddocr_plain", "ddddocr_given"]].isna().all(axis=None)
    assert table[["set", "labels", "seed", "n"]].to_numpy().tolist() == [["ours", 30, 0, 15], ["ours", 30, 0, 45]]
    assert (table["exact"] <= table["n"]).all()
    assert (table["seconds"] > 0).all()
    again = learn_sets({"ours": folder}, tmp_path / "out", (30, ALL), 1, 1, said.append, tmp_path / "no peers")
    assert again.equals(table)
    assert "4 jobs: 0 to do, 4 are done already" in said


def test_what_is_beside_is_read(tmp_path, monkeypatch):
    quick(monkeypatch)
    folder = drawn(tmp_path / "labelled", 30, 1)
    drawn(tmp_path / "fresh", 7, 2)
    (row,) = learn_sets({"ours": folder}, tmp_path / "out", (ALL,), 1, 1, str, tmp_path / "no peers").to_dict("records")
    assert (row["labels"], row["n"]) == (30, 7)


@pytest.mark.parametrize("fresh", [0, 7])
def test_ddddocr_reads_the_same_images(tmp_path, monkeypatch, fresh):
    """A reader that reads every other image, and all but one where it knows the alphabet."""

    def theirs(captchas, model, given, peers):
        texts = captchas.labels if model == "ddddocr" else [""] * len(captchas)
        keep = 2 if given == "nothing" else len(texts) - 1
        return [text.upper() if i % keep or i == 0 else "" for i, text in enumerate(texts)]

    quick(monkeypatch)
    monkeypatch.setattr(real, "theirs", theirs)
    folder = drawn(tmp_path / "labelled", 45, 1)
    if fresh:
        drawn(tmp_path / "fresh", fresh, 2)
    table = learn_sets({"ours": folder}, tmp_path / "out", (30, ALL), 1, 1, str, tmp_path)
    if fresh:
        assert table["n"].tolist() == [7, 7]
        assert table["ddddocr_plain"].tolist() == [4, 4], "the first, and those of odd numbers"
        assert table["ddddocr_given"].tolist() == [6, 6]
        return
    _, read = rows_of(45, Part(30, 0))
    assert table["ddddocr_plain"].tolist() == [sum(i == 0 or i % 2 for i in read), 23]
    assert table["ddddocr_given"].tolist() == [sum(i != 44 for i in read), 44]
