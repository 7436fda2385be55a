"""The commands of the studies as they are typed."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from captcha_lib import adapting
from captcha_lib.commands.main import main
from captcha_lib.config import Config
from captcha_lib.data.load import write_captchas
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.recipe import Recipe
from studies import evidence, learning_curve, protect, zero
from studies.__main__ import build_parser
from studies.ablation import AS_IS, COLUMNS

COMMANDS = [
    "bench", "crossval", "audit", "plant", "sweep", "growth", "sample", "stream", "zero", "labels", "protect",
    "pretrain", "record", "evidence-check", "ablate", "architectures", "real",
]  # fmt: skip
CROSSVAL = "crossval", "--folds", 2, "--seeds", 1, "--jobs", 1
TINY = Config(epochs=1, batch_size=16, warmup_epochs=0, augment_ramp=0, channels=(4, 4, 8), hidden=16)


def run(*words) -> int:
    return main([str(word) for word in words], build_parser)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def refuse(error_of):
    """Runs a command that has to fail, and returns its one line."""
    return partial(error_of, run)


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        run("--help")
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python -m studies ")
    for command in COMMANDS:
        assert f"    {command}" in shown
        with pytest.raises(SystemExit, match=r"^0$"):
            run(command, "--help")


@pytest.mark.parametrize("words", ["", "train", "crossval --seed 991", "zero --length 6-4", "zero --length 0"])
def test_words_that_are_not_a_command(words):
    with pytest.raises(SystemExit, match=r"^2$"):
        run(*words.split())


# Labelled images


def test_bench_gives_each_seed_its_own_split(folder, tmp_path, refuse, monkeypatch):
    """Also where the images lie in folders for training, validation and test."""
    monkeypatch.setattr("captcha_lib.recipe.recipe_for", lambda captchas, seed: Recipe(replace(TINY, seed=seed)))
    drawn = tmp_path / "laid-out"
    for subset in ("train", "val", "test"):
        (drawn / subset).mkdir(parents=True)
    for i, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, drawn / ("test" if i < 4 else "val" if i < 8 else "train"))
    words = "bench", "--own-splits", "--seeds", 2, "--threads", 1, "--out", tmp_path / "bench"
    assert run(*words, "--data", drawn) == 0
    assert names(tmp_path / "bench") == {"seed-0", "seed-1", "seeds.csv"}
    splits = [pd.read_csv(tmp_path / "bench" / f"seed-{seed}" / "split.csv")["subset"].tolist() for seed in (0, 1)]
    assert splits[0] != splits[1]
    table = pd.read_csv(tmp_path / "bench" / "seeds.csv")
    assert table["seed"].tolist() == [0, 1]
    assert {"n", "exact", "exact_best_path", "first_exact_epoch", "best_epoch", "train_seconds"} < set(table)
    assert "no official split" in refuse("bench", "--data", folder, "--out", tmp_path / "official")
    others = tmp_path / "others"
    write_captchas(*generate_captchas(12, seed=8), others)
    assert "it belongs to another run" in refuse(*words, "--data", others)


@pytest.fixture(scope="module")
def crossvalidated(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("crossval") / "crossval"
    assert run(*CROSSVAL, "--epochs", 1, "--generated", 4, "--data", folder, "--out", out) == 0
    return out


def test_crossval_reads_every_image_once_a_seed(crossvalidated, folder):
    table = pd.read_csv(crossvalidated / "crossval_predictions.csv", dtype=str)
    assert table.columns.tolist() == ["file", "label", "text", "confidence", "fold", "seed"]
    assert sorted(table["file"]) == sorted(names(folder))
    assert set(table["fold"]) == {"0", "1"}
    figures = json.loads((crossvalidated / "crossval.json").read_text())
    assert {"n", "seeds", "folds", "exact_mean", "exact_low", "exact_high", "exact_mean_generated"} <= set(figures)
    assert (figures["n"], figures["seeds"], figures["folds"]) == (24, 1, 2)
    assert figures["config"]["warmup_epochs"] == 0, "a small set starts from weights that can read"


def test_crossval_continues_where_it_was(crossvalidated, folder, capsys):
    before = (crossvalidated / "crossval_predictions.csv").read_bytes()
    assert run(*CROSSVAL, "--epochs", 1, "--data", folder, "--out", crossvalidated) == 0
    assert "2 folds, 1 seeds: 0 networks to train, 2 are there already" in capsys.readouterr().out
    assert (crossvalidated / "crossval_predictions.csv").read_bytes() == before


def test_crossval_of_other_settings_is_refused(crossvalidated, folder, refuse):
    words = *CROSSVAL, "--epochs", 2, "--data", folder, "--out", crossvalidated
    assert "another run (epochs 1, here 2)" in refuse(*words)


def test_audit_needs_its_cross_validation(folder, tmp_path, refuse):
    words = "audit", "--data", folder, "--crossval", tmp_path, "--readers", tmp_path / "r", "--judge", tmp_path / "j"
    assert "no cross-validation there" in refuse(*words)


def test_plant_lists_the_planted_labels(folder, tmp_path, capsys):
    words = "--count", 3, "--folds", 2, "--epochs", 1, "--jobs", 1, "--out", tmp_path / "planted"
    assert run("plant", "--data", folder, *words) == 0
    table = pd.read_csv(tmp_path / "planted" / "planted.csv", dtype=str)
    assert table.columns.tolist() == ["rank", "file", "label", "true_label", "margin"]
    assert (table["file"] == table["true_label"] + ".png").all()
    assert "3 of 3 planted labels in the first 30 ranks" in capsys.readouterr().out


def test_sweep_adds_a_trial(folder, tmp_path, capsys):
    pytest.importorskip("optuna")
    words = "--trials", 1, "--folds", 2, "--epochs", 1, "--out", tmp_path / "sweep.log"
    assert run("sweep", "--data", folder, "--seed", 0, *words) == 0
    shown = capsys.readouterr().out
    assert "trial 0: loss" in shown
    assert "best of 1: loss" in shown


def test_growth_reads_with_the_weights_of_a_run(folder, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("captcha_lib.recipe.config_for", lambda images, started=False: TINY)
    words = "growth", "--data", folder, "--weights", weights, "--start", "none", "--jobs", 1, "--out", tmp_path
    assert run(*words) == 0
    table = pd.read_csv(tmp_path / "learning_curve.csv")
    assert table["images"].tolist() == [4, 9, 18, 36]
    assert table["n"].tolist()[:3] == [3, 3, 3]
    assert (tmp_path / "learning_curve.png").is_file()
    assert "of 3 test images it read" in capsys.readouterr().out


# Drawn captchas


def test_sample_draws_a_folder(tmp_path):
    pytest.importorskip("captcha")
    words = "sample", "--count", 3, "--characters", "ab", "--length", "4-5", "--out", tmp_path / "samples"
    assert run(*words) == 0
    texts = [name.removesuffix(".png") for name in names(tmp_path / "samples")]
    assert len(texts) == 3
    assert all(4 <= len(text) <= 5 and set(text) <= {"a", "b"} for text in texts)


@pytest.fixture
def tiny_recipe(monkeypatch):
    monkeypatch.setattr(zero, "RECIPE", zero.Recipe(pure=TINY))
    monkeypatch.setattr(adapting, "BELIEVED", (0.9,))
    monkeypatch.setattr(adapting, "STEPS", replace(adapting.STEPS, epochs=1, per_epoch=32))
    monkeypatch.setattr(learning_curve, "SIZES", (0, 4))
    monkeypatch.setattr(learning_curve, "config_for", lambda images: TINY)
    monkeypatch.setattr(learning_curve, "ON_TOP", TINY)


def test_zero(tiny_recipe, folder, tmp_path, capsys):
    words = ["zero", "--data", folder, "--seeds", 2, "--per-epoch", 16, "--jobs", 1, "--out", tmp_path]
    assert run(*words) == 0
    assert "learnt from generated captchas set in DejaVuSans-Bold" in capsys.readouterr().out
    figures = json.loads((tmp_path / "zero_labels.json").read_text())
    assert [figures[kind]["seeds"] for kind in ("pure", "adapted", "control")] == [2, 2, 1]
    assert figures["style"]["length"] == [5, 5]
    assert {"recipe", "processor", "threads_per_job"} < figures.keys()
    assert set(pd.read_csv(tmp_path / "zero_labels_readings.csv")["kind"]) == {"pure", "adapted", "control"}
    assert run(*words) == 0
    assert "3 jobs: 0 to do, 3 are done already" in capsys.readouterr().out


def test_labels_need_the_weights_of_zero(refuse, folder, tmp_path):
    line = refuse("labels", "--data", folder, "--zero", tmp_path)
    assert "seed-0-pure.pth: no such weights; run the zero command with --seeds 5 first" in line


def test_labels_continue_a_zero_of_the_lengths_that_are_asked_for(tiny_recipe, folder, tmp_path):
    words = ["--seeds", 1, "--per-epoch", 16, "--jobs", 1, "--length", "3-6", "--out", tmp_path]
    assert run("zero", "--data", folder, *words) == 0
    assert json.loads((tmp_path / "zero_labels.json").read_text())["style"]["length"] == [3, 6]
    words = ["labels", "--data", folder, "--zero", tmp_path, "--draws", 1, "--jobs", 1, "--out", tmp_path / "labels"]
    assert run(*words) == 0
    table = pd.read_csv(tmp_path / "labels" / "label_curve.csv")
    assert table.columns.tolist() == ["labels", "start", "draw", "exact", "n", "seconds"]
    assert sorted(table["labels"]) == [0, 0, 4, 4, 8, 8, 18, 18]
    assert json.loads((tmp_path / "labels" / "label_curve.json").read_text())["threads_per_job"] == 1


def test_protect(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(protect, "settings", lambda: {"plain": protect.PLAIN, "lines": protect.PLAIN})
    monkeypatch.setattr(protect, "_attack", lambda style, n, config: {"exact": n // 2, "seconds": 1.0})
    monkeypatch.setattr(protect, "_ocr", lambda style, seed: {"legible": 0.9})
    assert run("protect", "--jobs", 1, "--out", tmp_path) == 0
    table = pd.read_csv(tmp_path / "what_protects.csv")
    assert table["setting"].tolist() == ["plain", "plain", "lines", "lines"]
    assert table["exact"].tolist() == [50, 500, 50, 500]
    assert "results in" in capsys.readouterr().out


def test_pretrain_saves_weights(monkeypatch, tmp_path, reader, capsys):
    monkeypatch.setattr("studies.pretraining.learn_general", lambda config, start, session, workers: reader)
    assert run("pretrain", "--threads", 1, "--out", tmp_path / "general.pth") == 0
    assert (tmp_path / "general.pth").is_file()
    assert "weights in" in capsys.readouterr().out


# The reference results


def test_results_are_recorded_and_checked(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(evidence, "REFERENCE_DIR", tmp_path / "reference")
    (tmp_path / "reference").mkdir()
    (tmp_path / "zero_labels.json").write_text("{}")
    assert run("record", tmp_path / "zero_labels.json", "--by", "python -m studies zero") == 0
    assert run("evidence-check", "--strict") == 0
    assert "0 of 1 files of output/reference do not come from this code" in capsys.readouterr().out
    (tmp_path / "reference" / "new.csv").write_text("a")
    assert run("evidence-check") == 0
    assert "new.csv: not recorded" in capsys.readouterr().out
    assert run("evidence-check", "--strict") == 1


def test_a_stream_is_of_the_generated_data_alone(folder, refuse):
    said = refuse("stream", "--data", folder, "--n", 100)
    assert "is like the generated data only; give --data generated" in said


def test_adapt_prints_a_row_a_set(tmp_path, monkeypatch, capsys):
    columns = "set,labels,seed,exact_before,exact,exact_expected,n,seconds"
    rows = [("one", 0, 0, 5, 8, 7.5, 10, 1.0), ("one", 3, 0, 8, 9, 9.5, 10, 2.0)]
    table = pd.DataFrame(rows, columns=columns.split(","))
    monkeypatch.setattr("studies.self_taught.teach_sets", lambda sets, out, *given: table)
    assert run("self-taught", tmp_path / "one", "--labels", "3", "--out", tmp_path) == 0
    said = capsys.readouterr().out.splitlines()[-2:]
    assert said == ["0 labels: 50.0 before, 80.0 after", "3 labels: 80.0 before, 90.0 after"]
    unlabelled, labelled = ((tmp_path / name).read_text() for name in ("adapt.csv", "adapt_labelled.csv"))
    assert unlabelled == f"{columns.replace('labels,', '')}\none,0,5,8,7.5,10,1.0\n"
    assert labelled == f"{columns}\none,3,0,8,9,9.5,10,2.0\n"


def test_left_out_writes_its_table(tmp_path, monkeypatch):
    table = pd.DataFrame([{"left_out": "", "family": "bent", "exact": 1, "n": 2}])
    monkeypatch.setattr("studies.left_out.leave_out", lambda out, jobs, report: table)
    assert run("left-out", "--out", tmp_path) == 0
    assert (tmp_path / "families.csv").read_text() == "left_out,family,exact,n\n,bent,1,2\n"


def test_real_writes_its_table_or_downloads(tmp_path, monkeypatch, capsys, refuse):
    table = pd.DataFrame([("one", 30, 0, 5, 10, 7.0)], columns=["set", "labels", "seed", "exact", "n", "seconds"])
    asked = []
    monkeypatch.setattr("studies.real.learn_sets", lambda *given: asked.append(given) or table)
    monkeypatch.setattr("studies.real_sets.fetch_sets", lambda *given, report: asked.append(given))
    write_captchas(*generate_captchas(6, 1), tmp_path / "one")
    assert run("real", tmp_path / "one", "--labels", 30, "--out", tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["one", "50.0"]
    assert (tmp_path / "real_sets.csv").read_text() == "set,labels,seed,exact,n,seconds\none,30,0,5,10,7.0\n"
    assert asked.pop()[:3] == ({"one": tmp_path / "one"}, tmp_path / "jobs", (30,))
    assert (tmp_path / "real_looks.csv").read_text().splitlines()[1].startswith("one,6,200,50,")
    for name in ("cats", "dogs"):
        write_captchas(*generate_captchas(3, 2), tmp_path / "sets" / name / "labelled")
    assert run("real", tmp_path / "sets", "--out", tmp_path) == 0
    assert asked.pop()[0] == {name: tmp_path / "sets" / name / "labelled" for name in ("cats", "dogs")}
    assert run("real", "rkn", "--fetch", "--out", tmp_path) == 0
    assert asked == [(tmp_path, ["rkn"])]
    monkeypatch.setattr("studies.real_sets.FOLDER", tmp_path / "nothing")
    assert "no sets there; name folders of labelled images" in refuse("real")


def test_ablate_writes_its_table_and_the_effects(tmp_path, monkeypatch, capsys, refuse):
    rows = [(*name, 100, seed, 9 - seed, 10, 1.0) for name in (AS_IS, ("batch", "32")) for seed in range(2)]
    asked = []
    table = pd.DataFrame(rows, columns=COLUMNS)
    monkeypatch.setattr("studies.ablation.ablate", lambda captchas, *given: asked.append(given) or table)
    write_captchas(*generate_captchas(12, 1), tmp_path / "set")
    words = "ablate", "--data", tmp_path / "set", "--parts", "batch", "--out", tmp_path
    assert run(*words, "--labels", 100, "--seeds", 2) == 0
    assert asked[0][:4] == (tmp_path / "jobs", ["batch"], (100,), 2)
    assert capsys.readouterr().out.splitlines()[-1].split()[:4] == ["100", "batch", "32", "85.0"]
    assert (tmp_path / "ablations.csv").read_text().splitlines()[:2] == [
        ",".join(COLUMNS),
        "recipe,as it is,100,0,9,10,1.0",
    ]
    assert {"ablations.json", "ablations.png"} <= names(tmp_path)
    said = refuse("ablate", "--data", tmp_path / "set", "--parts", "colour", "--out", tmp_path)
    assert said.startswith("error: 'colour': give some of 'LSTM', 'batch', ")


def test_architectures_writes_its_table(tmp_path, monkeypatch, refuse):
    columns = "architecture,set,seed,exact,n,parameters,multiplications,seconds,ms"
    table = pd.DataFrame([("Shi et al.", "set", 0, 9, 10, 8_000_000, 9_000_000, 60.0, 5.0)], columns=columns.split(","))
    asked = []
    monkeypatch.setattr("studies.architectures.compare", lambda captchas, *given: asked.append(given) or table)
    write_captchas(*generate_captchas(4, 1), tmp_path / "set")
    words = "architectures", "--data", tmp_path / "set", "--out", tmp_path
    assert run(*words, "--names", "Shi et al.", "--rates", 1e-3, 3e-3, "--folds", 2) == 0
    assert asked[0][:5] == (tmp_path / "jobs", ["Shi et al."], (1e-3, 3e-3), 2, 3)
    assert (tmp_path / "architectures.csv").read_text().splitlines()[0] == columns
    assert "'LeNet': give some of 'Keras example', " in refuse(*words, "--names", "LeNet")
