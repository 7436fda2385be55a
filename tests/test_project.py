"""The stored evidence is consistent in itself: figures follow from the predictions beside them."""

import json

import numpy as np
import pandas as pd
import pytest

from captcha_lib.config import SPLITS_DIR, WEIGHTS_DIR
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.metrics import count_exact, score
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.runs.results import read_table
from studies import learning_curve, protect, zero
from studies.audit import SUSPECTS, apply_rule
from studies.benchmarks import train as bench_train
from studies.benchmarks.readers import READERS
from studies.confidence import clustered_interval
from studies.evidence import REFERENCE_DIR, read_entries
from studies.out_of_fold import calibration_figures, relabelled


def evidence(name: str) -> dict | list:
    return json.loads((REFERENCE_DIR / name).read_text(encoding="utf-8"))


def has_digest(name: str) -> bool:
    """Whether a file was made since results are kept with the digest of their code; older intervals were pooled."""
    return read_entries()[name]["code"] is not None


def kaggle_labels() -> pd.Series:
    return read_table(SPLITS_DIR / "kaggle.csv").set_index("file")["label"]


def exact_by_seed(predictions: pd.DataFrame) -> list[int]:
    return (predictions["label"] == predictions["text"]).groupby(predictions["seed"]).sum().tolist()


def interval(predictions: pd.DataFrame) -> tuple[float, float]:
    ordered = predictions.sort_values(["seed", "file"])
    return clustered_interval((ordered["label"] == ordered["text"]).to_numpy().reshape(-1, 1070))


@pytest.mark.parametrize("name", ["kaggle", "generated"])
def test_official_split_is_whole_and_disjoint(name):
    table = read_table(SPLITS_DIR / f"{name}.csv")
    assert table.columns.tolist() == ["file", "label", "sha256", "subset"]
    assert table["subset"].value_counts().to_dict() == {"train": 802, "val": 134, "test": 134}
    assert table["sha256"].is_unique
    assert table["file"].is_unique


def test_the_predictions_of_the_reference_run_give_its_score():
    assert (WEIGHTS_DIR / "kaggle.pth").stat().st_size <= 600_000
    predictions = read_table(REFERENCE_DIR / "predictions.csv")
    split = read_table(SPLITS_DIR / "kaggle.csv")
    assert set(predictions["file"]) == set(split.loc[split["subset"] == "test", "file"])
    assert evidence("metrics.json")["test"] == pytest.approx(score(predictions))


def test_seeds_are_whole():
    for name, seeds in (("seeds", 10), ("seeds_own_splits", 5), ("seeds_generated", 5)):
        table = pd.read_csv(REFERENCE_DIR / f"{name}.csv")
        assert table["seed"].tolist() == list(range(seeds)), name
        assert table["n"].eq(134).all()


def out_of_fold() -> pd.DataFrame:
    return read_table(REFERENCE_DIR / "crossval_predictions.csv")


def label_audit() -> pd.DataFrame:
    return read_table(REFERENCE_DIR / "label_audit.csv")


def on_audited_labels() -> pd.DataFrame:
    return relabelled(out_of_fold(), label_audit().set_index("file")["audited"])


def test_every_kaggle_image_was_read_once_a_seed():
    for _, seed in out_of_fold().groupby("seed"):
        assert seed["file"].is_unique
        assert seed.set_index("file")["label"].sort_index().equals(kaggle_labels().sort_index())
        assert seed["fold"].value_counts().eq(107).all()


def test_crossval_figures_are_those_of_its_predictions():
    figures, predictions = evidence("crossval.json"), out_of_fold()
    wrong, listed = predictions.query("label != text"), read_table(REFERENCE_DIR / "crossval_misread.csv")
    assert set(zip(listed["file"], listed["seed"], strict=True)) == set(zip(wrong["file"], wrong["seed"], strict=True))
    by_seed = exact_by_seed(predictions)
    assert (figures["n"], figures["seeds"], figures["folds"]) == (1070, 3, 10)
    assert figures["exact_by_seed"] == by_seed
    assert figures["exact_mean"] == pytest.approx(sum(by_seed) / 3 / 1070)
    assert figures["exact_audited_by_seed"] == exact_by_seed(on_audited_labels())
    assert figures["exact_audited"] == pytest.approx(sum(figures["exact_audited_by_seed"]) / 3 / 1070)
    if has_digest("crossval.json"):
        assert (figures["exact_low"], figures["exact_high"]) == pytest.approx(interval(predictions))


def test_calibration_figures_are_those_of_the_predictions():
    figures = evidence("calibration.json")
    as_given = {f"{name}_as_given": value for name, value in calibration_figures(out_of_fold()).items()}
    again = calibration_figures(on_audited_labels()) | as_given
    assert {name: figures[name] for name in again} == pytest.approx(again)


def test_labels_are_changed_by_the_rule_and_its_witnesses():
    table = label_audit()
    again = apply_rule(table.drop(columns=["votes", "audited"]))
    assert table["votes"].tolist() == again["votes"].tolist()
    assert table["audited"].tolist() == again["audited"].tolist()
    readers = read_table(REFERENCE_DIR / "readers.csv").set_index("file")
    for reader in ("ddddocr_exact", "captcha_whisperer_exact"):
        assert table[reader].tolist() == readers.loc[table["file"], reader].tolist()
    judge = read_table(REFERENCE_DIR / "label_judge.csv").set_index("file")["chosen"]
    assert set(table.loc[table["judge"] != "", "file"]) == set(judge.index)
    assert (table["judge"] != "")[table["rank"] <= SUSPECTS].all()


def test_zero_label_figures_are_those_of_the_readings():
    figures, readings = evidence("zero_labels.json"), read_table(REFERENCE_DIR / "zero_labels_readings.csv")
    for kind, again in json.loads(json.dumps(zero.summarise(readings))).items():
        names = again if has_digest("zero_labels.json") else ("n", "seeds", "exact_by_seed", "exact_mean", "exact_std")
        assert all(figures[kind][name] == pytest.approx(again[name]) for name in names), kind
    for _, rows in readings.groupby(["kind", "seed"]):
        assert rows.set_index("file")["label"].sort_index().equals(kaggle_labels().sort_index())


def test_the_committed_pure_weights_are_those_of_seed_0():
    reader = TorchReader.load(REFERENCE_DIR / "zero_pure.pth")
    assert (reader.length, reader.image_size) == (5, (50, 200))
    texts, images = generate_captchas(200, seed=2026)
    assert count_exact(reader.spell(reader.logits(images)), texts) >= 198


def test_the_label_curve_is_whole_and_reaches_its_goals():
    curve = learning_curve.summarise(pd.read_csv(REFERENCE_DIR / "label_curve.csv")).set_index(["start", "labels"])
    for start in ("scratch", "generated"):
        assert curve.loc[start].index.tolist() == [0, 10, 25, 50, 100, 200, 400, 802]
    assert curve["draws"].eq(5).all()
    assert curve["mean"]["generated", 50] >= 0.993
    assert curve["mean"]["scratch", 100] >= 0.9
    assert curve["mean"]["scratch", 200] >= 0.97


def test_what_protects_is_whole():
    table = pd.read_csv(REFERENCE_DIR / "what_protects.csv")
    assert set(table["setting"]) == set(protect.settings())
    assert table.groupby("setting")["labels"].agg(list).tolist() == [[100, 1000]] * len(protect.settings())
    again = protect.with_losses(table.drop(columns=["machine_loss", "legibility_loss"]))
    pd.testing.assert_frame_equal(again, table)


def test_bench_train_figures_are_those_of_its_epochs():
    figures, epochs = evidence("bench_train.json"), pd.read_csv(REFERENCE_DIR / "bench_train.csv")
    for threads in (1, 2):
        again = bench_train.summarise(epochs[epochs["threads"] == threads])
        assert figures[f"threads_{threads}"].keys() == again.keys()
        assert all(figures[f"threads_{threads}"][name] == pytest.approx(again[name]) for name in again)
        assert again["n"] == 10


def test_ours_are_scored_out_of_fold_and_the_others_by_their_texts():
    texts = read_table(REFERENCE_DIR / "readers.csv").set_index("file")
    by_seed = evidence("crossval.json")["exact_by_seed"]
    for row in (row for row in evidence("bench_read.json") if not row["reader"].startswith("Pillow")):
        column = READERS[row["reader"]].__name__
        if column in texts:
            assert row["exact"] == pytest.approx((texts[column] == kaggle_labels()[texts.index]).mean())
        else:
            assert row["exact"] == pytest.approx(sum(by_seed) / 3 / 1070)


def test_other_threads_and_precisions_read_as_well_as_other_seeds():
    table, seeds = pd.read_csv(REFERENCE_DIR / "same.csv"), pd.read_csv(REFERENCE_DIR / "seeds.csv")
    means = table.groupby(["threads", "precision"])["exact"].mean()
    assert np.ptp(means) <= np.ptp(seeds["exact"])
