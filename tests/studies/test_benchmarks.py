"""The benchmarks: what is counted and when the clock runs. The peers' own packages are not needed here."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config
from captcha_lib.data.split import split_captchas
from captcha_lib.recipe import Recipe
from studies.benchmarks import own, read, readers, speed, stream
from studies.benchmarks.same import train as train_same
from studies.benchmarks.train import describe, fit_once, reached, summarise
from studies.captchas import generated_captchas
from studies.evidence import ROOT

TINY = Config(epochs=1, batch_size=8, warmup_epochs=0, channels=(4, 4, 8), hidden=16)


def epochs(seed: int, seconds: list[float], exact: list[int], n: int = 100) -> pd.DataFrame:
    table = pd.DataFrame({"epoch": range(1, len(exact) + 1), "seconds": seconds, "exact": exact, "n": n})
    return table.assign(seed=seed)


# Time to accuracy


def test_the_clock_stops_at_the_first_epoch_that_reads_enough():
    assert reached(epochs(0, [1, 2], [131, 132], n=134))["epoch"].tolist() == [2], "98 % of 134 are 132"
    table = epochs(0, [1, 2, 3, 4], [0, 98, 97, 99])
    assert reached(table)["epoch"].tolist() == [2, 3, 4]
    assert describe(table) == "98% after 2.0 s (epoch 2); in the end 99 of 100, 4.0 s"


def test_a_seed_that_never_gets_there_counts_as_infinitely_slow():
    figures = summarise(pd.concat([epochs(s, [1 + s, 2 + s], [0, 98 + s]) for s in range(3)]))
    assert (figures["seconds_median"], figures["seconds_min"], figures["seconds_max"]) == (3, 2, 4)
    figures = summarise(pd.concat([epochs(0, [1, 2], [98, 99]), epochs(1, [1, 3], [0, 97])]))
    assert (figures["n"], figures["seconds_max"], figures["seconds_by_seed"]) == (2, None, [1, None])
    assert figures["epoch_by_seed"] == [1, None]
    assert figures["exact_mean"] == pytest.approx(0.98)
    assert figures["exact_min"] == pytest.approx(0.97)
    assert describe(epochs(1, [1, 3], [0, 97])).startswith("98% after never")


def test_a_timed_training_counts_from_its_start():
    captchas = split_captchas(generated_captchas(24, seed=3), seed=0)
    table = fit_once(captchas, seed=0, epochs=2, device="cpu")
    assert table.columns.tolist() == ["epoch", "exact", "n", "seconds"]
    assert table["n"].tolist() == [3, 3]
    assert 0 < table["seconds"].iloc[0] < table["seconds"].iloc[1]


# Reading speed


@pytest.fixture(scope="module")
def options(folder, weights, onnx_weights) -> Namespace:
    return Namespace(data=str(folder), weights=weights, onnx=onnx_weights, peers=Path("/nowhere/python"), crossval=[])


@pytest.mark.parametrize("name", ["captcha_lib, ONNX Runtime", "captcha_lib, torch"])
def test_both_of_our_readers_are_measured_as_users_call_them(options, folder, reader, drawn, name, monkeypatch):
    monkeypatch.setattr(read, "PREDICTED", 5)
    assert set(read.measure("Pillow, opening alone", folder, options)["texts"]) == {""}
    figures = read.measure(name, folder, options)
    by_file = dict(zip(figures["files"], figures["texts"], strict=True))
    texts = [reading.text for reading in reader.read(drawn[1])]
    assert by_file == {f"{label}.png": text for label, text in zip(drawn[0], texts, strict=True)}
    assert all(figures[what] > 0 for what in read.MEASURED)
    assert figures["images_per_second"] == pytest.approx(1000 / figures["ms_list"])
    # and not that of this process, which holds torch
    assert 10 < figures["predict_cold_mb"] < (200 if "ONNX" in name else 2000)


def test_users_call_captcha_lib_read(options, folder, monkeypatch):
    """Its text and its calibrated confidence, of one picture and of lists."""
    asked = []

    def read_nothing(pictures, weights):
        asked.append((type(pictures), weights))
        reading = Namespace(text="ab", confidence=0.5)
        return [reading] * len(pictures) if isinstance(pictures, list) else reading

    monkeypatch.setattr("captcha_lib.read", read_nothing, raising=False)
    monkeypatch.setattr(read, "time_predict", lambda *words: {})
    read.measure("captcha_lib, ONNX Runtime", folder, options)
    assert set(asked) == {(bytes, options.onnx), (list, options.onnx)}


def test_a_command_that_fails_is_not_timed(tmp_path):
    with pytest.raises(subprocess.CalledProcessError, match="exit status 2"):
        speed.time_predict([tmp_path / "none.png"], "kaggle", 0)


def test_the_peers_need_no_torch():
    """Their environment has NumPy, Pillow and ONNX Runtime."""
    code = "import sys, studies.benchmarks.read\n"
    code += "print({'torch', 'pandas', 'scipy', 'torchvision', 'matplotlib'} & set(sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "none\n"


def test_a_reader_that_is_not_installed_is_left_out(options, capsys):
    missing = Namespace(**vars(options) | {"peers": Path(sys.executable)})
    assert read.run_one("ddddocr", missing) is None
    assert "ddddocr: not measured" in capsys.readouterr().out


def run(name: str, files: list[str], texts: list[str], ms: float) -> dict:
    return {"reader": name, "ms_single": ms, "ms_list": None, "images_per_second": 1000 / ms, "size_mb": 1.0,
            "load_s": 0.1, "peak_mb": 50.0, "files": files, "texts": texts}  # fmt: skip


@pytest.fixture
def crossval(tmp_path) -> Path:
    (tmp_path / "crossval.json").write_text(json.dumps({"exact_by_seed": [1, 2]}))
    table = pd.DataFrame({"file": ["ab.png", "cd.png"] * 2, "seed": [0, 0, 1, 1]})
    table.to_csv(tmp_path / "crossval_predictions.csv", index=False)
    return tmp_path


def test_rows_are_medians_and_ours_are_scored_out_of_fold(crossval, tmp_path):
    files = ["ab.png", "cd.png"]
    runs = [run("captcha_lib, torch", files, ["ab", "cd"], ms) for ms in (1.0, 9.0, 2.0)]
    runs += [run("ddddocr", files, ["ab", "xx"], ms) for ms in (10.0, 12.0, 11.0)]
    runs += [run("Pillow, opening alone", files, ["", ""], ms) for ms in (0.5, 0.6, 0.4)]
    runs[0]["predict_cold_s"] = 0.3
    options = Namespace(out=tmp_path, crossval=[tmp_path / "none", crossval])
    read.write(runs, options)
    ours, theirs, opener = json.loads((tmp_path / "bench_read.json").read_text())
    assert (ours["reader"], ours["ms_single"], ours["n"], ours["runs"]) == ("captcha_lib, torch", 2.0, 2, 3)
    assert ours["exact"] == 0.75
    assert ours["exact_on"].startswith("out of fold")
    assert (theirs["exact"], theirs["ms_single"]) == (0.5, 11.0)
    assert (ours["predict_cold_s"], theirs["predict_cold_s"]) == (0.3, None)
    assert (ours["times_opening"], theirs["times_opening"]) == (4.0, 22.0)
    assert (opener["exact"], opener["times_opening"]) == (None, 1.0)
    texts = pd.read_csv(tmp_path / "readers.csv", dtype=str)
    assert texts.to_dict("list") == {"file": files, "ddddocr_plain": ["ab", "xx"]}
    read.write([run("captcha_lib, torch", ["ab.png", "xy.png"], ["ab", "xy"], 1.0)], options)
    (row,) = json.loads((tmp_path / "bench_read.json").read_text())
    assert row["exact"] == 1
    assert "some of which it was trained on" in row["exact_on"], "a cross-validation of other images is not taken"


def test_a_peers_classes_are_folded_onto_ours():
    charset = ["", "B", "2", "?", "b", *"345678cdefgmnpwxy"]
    classes = readers._classes_of(charset, 0, readers.ALPHABET)
    probs = np.full((1, len(charset)), 0.01)
    probs[0, :5] = [0.2, 0.1, 0.3, 0.2, 0.05]
    probs /= probs.sum()
    assert readers._classes_of(["", "B", "b", "2"], 0, Alphabet("2Bb")) == [[0], [3], [1], [2]], "cases kept apart"
    ours = np.exp(readers._fold(np.log(probs), classes))[0]
    k = readers.ALPHABET.encode("b2")
    assert ours[0] == pytest.approx(probs[0, 0])
    assert ours[k[0]] == pytest.approx(probs[0, 1] + probs[0, 4])
    assert ours[k[1]] == pytest.approx(probs[0, 2])
    assert ours.sum() == pytest.approx(1 - probs[0, 3])


# Sets of others


def test_a_set_of_others_is_learnt_and_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "recipe_for", lambda *words: Recipe(TINY))
    monkeypatch.setattr(own, "FRESH", 6)
    monkeypatch.setitem(own.SAMPLES, "4 digits", own.Sample(20, "0123", (2, 3)))
    words = ["--sets", "4 digits", "--seeds", "1", "--peers", "/nowhere/python", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["own", *words])
    assert own.main() == 0
    assert [own.draw_subsets(500, 1, 0.2).count(name) for name in ("train", "val", "test")] == [350, 50, 100]
    row = pd.read_csv(tmp_path / "own.csv").iloc[0]
    assert row[["train", "val", "n"]].tolist() == [18, 2, 6]
    assert (tmp_path / "4-digits-seed-0" / "weight.pth").is_file()


# The stream


def test_a_training_on_a_stream_is_measured(tmp_path):
    row = stream.train(tmp_path, 1, 480, 0)
    assert (row["n"], row["images_per_second"] > 0) == (134, True)
    assert 0 <= row["waited"] < 1
    assert 100 < row["peak_mb"] < 5000


# The same seeds


def test_a_seed_gives_the_same_weights(monkeypatch):
    monkeypatch.setattr("studies.benchmarks.same.config_for", lambda images: TINY)
    captchas = split_captchas(generated_captchas(24, seed=3), seed=0)
    one, again = (train_same(captchas, 1, False, 0) for _ in range(2))
    assert (one["weights"], one["n"], one["precision"]) == (again["weights"], 3, "float32")
