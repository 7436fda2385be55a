"""The commands as they are typed: exit status, output, files; and one line for every invalid input."""

import io
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from captcha_lib.commands import main as cli
from captcha_lib.commands import training
from captcha_lib.config import CHECKOUT
from captcha_lib.data.images import decode_image
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.reading.torch_reader import TorchReader

COMMANDS = ["generate", "split", "train", "evaluate", "predict", "export"]
RESULTS = {
    "plan.csv", "split.csv", "checkpoint.pth", "weight.pth", "history.csv", "log.txt", "loss.png",
    "metrics.json", "predictions.csv", "environment.json",
}  # fmt: skip


def run(*words) -> int:
    return cli.main([str(word) for word in words])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def refuse(error_of):
    """Runs a command that has to fail, and returns its one line."""
    return partial(error_of, run)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> Path:
    """The folder of a run of two epochs."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert run("train", "--data", folder, "--epochs", 2, "--threads", 1, "--out", out) == 0
    return out


# Help


@pytest.mark.parametrize(("own", "used"), [(None, "1000"), ("5", "5")])
def test_threads_that_wait_are_told_to_sleep_before_torch_is_there(monkeypatch, own, used):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if own:
        monkeypatch.setenv("GOMP_SPINCOUNT", own)
    code = "import os, sys, captcha_lib.commands.main; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == [used, "False"]


def test_help(capsys):
    shown = {}
    for command in "", *COMMANDS:
        with pytest.raises(SystemExit, match=r"^0$"):
            run(*command.split(), "--help")
        shown[command] = capsys.readouterr().out
    assert all(f"    {command} " in shown[""] for command in COMMANDS)
    assert all(shown[command].startswith(f"usage: captcha-lib {command}") for command in COMMANDS)
    assert all("--out OUT" in shown[command] for command in COMMANDS)


@pytest.mark.parametrize(
    "words",
    ["", "read", "predict", "train --epochs 0", "train --epochs abc", "generate --count -1"]
    + [f"predict x.png --min-confidence {share}" for share in ("-0.1", "1.1", "high", "nan")],
)
def test_words_that_are_no_command(words):
    with pytest.raises(SystemExit, match=r"^2$"):
        run(*words.split())


# Each command


def test_generate(tmp_path, capsys):
    assert run("generate", "--count", 7, "--seed", 4, "--out", tmp_path / "new") == 0
    texts, images = generate_captchas(7, seed=4)
    assert names(tmp_path / "new") == {f"{text}.png" for text in texts}
    for text, image in zip(texts, images, strict=True):
        assert (decode_image((tmp_path / "new" / f"{text}.png").read_bytes(), text) == image[0].numpy()).all()
    assert capsys.readouterr().out == f"7 captchas of seed 4 in {tmp_path / 'new'}\n"


def test_split_and_layout(folder, tmp_path, capsys):
    words = "split", "--data", folder, "--seed", 1, "--out", tmp_path / "split.csv", "--layout", tmp_path / "layout"
    assert run(*words) == 0
    assert "drawn with seed 1, 18 / 3 / 3 for train / val / test." in capsys.readouterr().out
    assert run("split", "--data", tmp_path / "layout", "--out", tmp_path / "again.csv") == 0
    tables = [pd.read_csv(tmp_path / name, dtype=str).sort_values("file") for name in ("split.csv", "again.csv")]
    assert tables[0].to_numpy().tolist() == tables[1].to_numpy().tolist()
    for name in ("train", "val", "test"):
        files = set(tables[0]["file"][tables[0]["subset"] == name])
        assert names(tmp_path / "layout" / name) == files | {"labels.csv"}


def test_resume_ends_with_the_same_weights(trained, folder, tmp_path, capsys, monkeypatch):
    def interrupt(line):
        print(line)
        if line.startswith("epoch  1"):
            raise KeyboardInterrupt

    words = "train", "--data", folder, "--epochs", 2, "--threads", 1, "--out", tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(training, "report", interrupt)
        assert run(*words) == 130
    assert capsys.readouterr().err == "interrupted; the same command continues from here with --resume\n"
    assert names(tmp_path / "run") == {"checkpoint.pth"}
    assert run(*words, "--resume") == 0
    assert "resumed after epoch 1\nepoch  2/2" in capsys.readouterr().out
    assert names(tmp_path / "run") == RESULTS
    states = [TorchReader.load(place / "weight.pth").model.state_dict() for place in (trained, tmp_path / "run")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_resume_of_a_finished_run(trained, folder, tmp_path, capsys):
    out = shutil.copytree(trained, tmp_path / "run")
    (out / "weight.pth").unlink()
    assert run("train", "--data", folder, "--epochs", 2, "--threads", 1, "--out", out, "--resume") == 0
    shown = capsys.readouterr().out
    assert "resumed after epoch 2" in shown
    assert "epoch  " not in shown
    assert names(out) == RESULTS


def test_evaluate_says_again_what_training_said(trained, folder, capsys):
    said = (trained / "log.txt").read_text().splitlines()[-1]
    assert said.startswith("test: exact match")
    assert run("evaluate", "--data", folder, "--weights", trained / "weight.pth") == 0
    shown = capsys.readouterr().out.splitlines()
    assert str(trained / "split.csv") in shown[0]
    assert shown[-1] == said


def test_evaluate_writes_predictions(weights, reader, folder, drawn, tmp_path, capsys):
    words = "--data", folder, "--weights", weights, "--subset", "all", "--length", 0, "--out", tmp_path / "read.csv"
    assert run("evaluate", *words) == 0
    table = pd.read_csv(tmp_path / "read.csv", dtype={"label": str, "text": str}, keep_default_na=False)
    texts = {text: reading.text for text, reading in zip(drawn[0], reader.read(drawn[1], 0), strict=True)}
    assert list(table.columns) == ["file", "label", "text", "confidence", "subset"]
    assert dict(zip(table["label"], table["text"], strict=True)) == texts
    assert "all: exact match 0/24" in capsys.readouterr().out


@pytest.fixture
def predicted(weights, reader, folder, capsys):
    """Runs `predict` on three images; returns what it writes, and what it should say."""

    def predict(*options) -> str:
        capsys.readouterr()
        assert run("predict", *files, "--weights", weights, "--threads", 1, *options) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        return shown.out

    files = sorted(folder.iterdir())[:3]
    images = np.stack([decode_image(path.read_bytes(), "x") for path in files])
    readings = reader.read(torch.from_numpy(images)[:, None])
    return predict, [(str(path), r.text, round(r.confidence, 6)) for path, r in zip(files, readings, strict=True)]


def test_predict_in_each_form(predicted, tmp_path):
    predict, expected = predicted
    lines = [line.split() for line in predict().splitlines()]
    assert lines == [[file, text, f"{confidence:.4f}"] for file, text, confidence in expected]
    rows = [dict(zip(("file", "text", "confidence"), row, strict=True)) for row in expected]
    told = json.loads(predict("--json"))
    assert [{name: one[name] for name in one if name != "characters"} for one in told] == rows
    assert all(len(one["characters"]) == len(one["text"]) and min(one["characters"]) >= 0 for one in told)
    table = pd.read_csv(io.StringIO(predict("--csv")), dtype={"text": str})
    assert table.columns.tolist() == ["file", "text", "confidence"]
    assert table.to_numpy().tolist() == [list(row) for row in expected]
    assert predict("--csv", "--out", tmp_path / "new" / "read.csv") == ""
    assert (tmp_path / "new" / "read.csv").read_text() == predict("--csv")


def test_predict_with_a_length_and_characters(predicted):
    predict, _ = predicted
    assert {len(row["text"]) for row in json.loads(predict("--json", "--length", 3))} == {3}
    rows = json.loads(predict("--json", "--alphabet", "2b"))
    assert {c for row in rows for c in row["text"]} <= {"2", "b"}
    assert {len(row["text"]) for row in rows} == {5}


def test_predict_a_folder_and_a_file_of_another_size(weights, folder, tmp_path, capsys):
    Image.new("RGB", (100, 25), "white").save(tmp_path / "odd.JPG")
    assert run("predict", tmp_path / "odd.JPG", folder, "--weights", weights, "--length", 0, "--json") == 0
    shown = capsys.readouterr()
    files = [row["file"] for row in json.loads(shown.out)]
    assert files == [str(tmp_path / "odd.JPG"), *(str(path) for path in sorted(folder.iterdir()))]
    assert shown.err == "1 of 25 images had another size and were resized to 200 x 50 px.\n"


def test_predict_withholds_what_is_less_sure_than_asked_for(weights, folder, capsys):
    def predict(*options) -> str:
        assert run("predict", folder, "--weights", weights, "--length", 5, *options) == 0
        return capsys.readouterr()

    confidences = [row["confidence"] for row in json.loads(predict("--json").out)]
    surest = max(confidences)
    below = sum(confidence < surest for confidence in confidences)
    assert 0 < below < 24
    shown = predict("--min-confidence", surest, "--json")
    assert [row["text"] is None for row in json.loads(shown.out)] == [c < surest for c in confidences]
    assert shown.err == f"{below} of 24 texts withheld: their confidence is below {surest}.\n"
    assert predict("--min-confidence", surest).out.count("(withheld)") == below
    table = pd.read_csv(io.StringIO(predict("--min-confidence", surest, "--csv").out), dtype=str, keep_default_na=False)
    assert (table["text"] == "").sum() == below


def test_a_single_image_is_counted_as_one(tmp_path, capsys):
    Image.new("L", (100, 40), 255).save(tmp_path / "one.png")
    assert run("predict", tmp_path / "one.png", "--weights", "general") == 0
    assert capsys.readouterr().err == "1 of 1 images had another size and were resized to 256 x 48 px.\n"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_many_files_are_read_in_the_memory_of_a_few(onnx_weights, folder, tmp_path):
    """4,000 pictures are 40 MB of pixels and 16 MB of scores; none of it is kept."""
    code = """
import pathlib, sys
from captcha_lib.__main__ import main
assert main(["predict", sys.argv[1], "--weights", sys.argv[2], "--csv", "--out", sys.argv[3], "--length", "0"]) == 0
status = pathlib.Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024, "torch" in sys.modules)
"""
    sources, peaks = sorted(folder.iterdir()), []
    for count in (512, 4000):
        place, out = tmp_path / f"images-{count}", tmp_path / f"{count}.csv"
        place.mkdir()
        for i in range(count):
            shutil.copy(sources[i % len(sources)], place / f"{i:04}.png")
        words = [sys.executable, "-c", code, str(place), str(onnx_weights), str(out)]
        peak, has_torch = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        assert has_torch == "False"
        assert len(pd.read_csv(out)) == count
        peaks.append(float(peak))
    assert peaks[1] < peaks[0] + 15


def test_export(weights, reader, drawn, tmp_path, capsys):
    assert run("export", "--weights", weights, "--out", tmp_path / "new" / "captcha.onnx") == 0
    assert names(tmp_path / "new") == {"captcha.onnx"}
    assert "ONNX Runtime and torch agree on 32 of 32 captchas" in capsys.readouterr().out


# Invalid input; see also test_load.py and test_images.py

REFUSED = {
    "split --data CUT": "the image is damaged or truncated",
    "train --data CUT": "the image is damaged or truncated",
    "split --data nowhere": "no such folder or zip",
    "predict EMPTY": "no images in this folder",
    "predict nowhere": "no such file or folder",
    "train --data FOLDER --alphabet 22": "alphabet",
    "split --data FOLDER --split official": "no official split",
    "generate --seed -1": "seed",
    "split --data FOLDER --seed 1000000000000000000": "seed",
    "evaluate --data FOLDER --weights nowhere.pth": "no such file",
    "predict FOLDER --weights nowhere.pth": "no such file",
    "export --weights nowhere.pth": "no such file",
    "evaluate --data OTHER --weights WEIGHTS": "KQZ90.png: text 'KQZ90': '0' is not in the alphabet '2345678",
    "predict FOLDER --weights WEIGHTS --length 0-3": "length (0, 3): give 1 to 25",
    "predict FOLDER --weights WEIGHTS --length 51": "length 51",
    "predict FOLDER --weights WEIGHTS --alphabet 2Z": "'Z' is not in the alphabet",
    "predict FOLDER --weights WEIGHTS --device abacus": "device 'abacus'",
}


@pytest.mark.parametrize("words", REFUSED)
def test_invalid_input_is_refused_and_nothing_is_written(words, refuse, folder, weights, tmp_path_factory, tmp_path):
    place = tmp_path_factory.mktemp("data")
    for name, file in ("CUT", "ab.png"), ("OTHER", "KQZ90.png"), ("EMPTY", "read.me"):
        (place / name).mkdir()
        raw = min(folder.iterdir()).read_bytes()
        (place / name / file).write_bytes({"CUT": raw[:900], "OTHER": raw, "EMPTY": b"Captchas"}[name])
    places = {name: place / name for name in ("CUT", "OTHER", "EMPTY")} | {"FOLDER": folder, "WEIGHTS": weights}
    assert REFUSED[words] in refuse(*(places.get(word, word) for word in words.split()), "--out", tmp_path / "out")
    assert names(tmp_path) == set()


ABBREVIATED = ("--see", "--dat", "--ou", "--weight", "--min", "--len", "--epoch", "--cou")


@pytest.mark.parametrize("option", ABBREVIATED)
@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_never_abbreviated(command, option, capsys, tmp_path):
    """Fault 6: `crossval --seed 991` was taken for `--seeds 991`, and 991 networks were planned."""
    images = [tmp_path] if command == "predict" else []
    with pytest.raises(SystemExit, match=r"^2$"):
        run(command, *images, option, "0.5")
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err


def test_a_new_split_is_not_taken_for_the_one_of_the_weights():
    """`evaluate` takes the split.csv beside the weights: no other command may write it."""
    parse = cli.build_parser().parse_args
    assert parse(["split"]).out != parse(["evaluate"]).weights.parent / "split.csv"


@pytest.mark.parametrize("broken", [False, True])
def test_a_checkpoint_of_another_run(refuse, trained, folder, tmp_path, broken):
    """The split of the finished run must stay: it says which images its weights have seen."""
    out = shutil.copytree(trained, tmp_path / "run")
    if broken:
        (out / "checkpoint.pth").write_bytes(b"torn")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    words = "--data", folder, "--epochs", 2, "--seed", 1, "--threads", 1, "--out", out, "--resume"
    assert "start without --resume" in refuse("train", *words)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# Places that are not writable


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.filterwarnings("ignore")
def test_an_output_below_a_file(refuse, folder, weights, tmp_path, command):
    (tmp_path / "file").write_text("kept")
    words = {
        "generate": ["--count", 2],
        "split": ["--data", folder],
        "train": ["--data", folder],
        "evaluate": ["--data", folder, "--weights", weights, "--length", 0],
        "predict": [folder, "--weights", weights, "--length", 0],
        "export": ["--weights", weights],
    }[command]
    assert "not writable" in refuse(command, *words, "--out", tmp_path / "file" / "out")
    assert names(tmp_path) == {"file"}
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("bad", ["--out", "--layout"])
def test_a_layout_and_its_csv_are_written_both_or_none(refuse, folder, tmp_path, bad):
    (tmp_path / "file").touch()
    places = {"--out": tmp_path / "split.csv", "--layout": tmp_path / "layout", bad: tmp_path / "file" / "out"}
    refuse("split", "--data", folder, *(word for place in places.items() for word in place))
    assert names(tmp_path) == {"file"}


def test_a_process_with_bad_data_in_its_environment(tmp_path):
    words, environment = [sys.executable, "-m", "captcha_lib", "split"], {"CAPTCHA_DATA": str(tmp_path / "nowhere")}
    done = subprocess.run(
        words, capture_output=True, text=True, env=os.environ | environment, cwd=CHECKOUT, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: data ")
    assert done.stderr.count("\n") == 1
