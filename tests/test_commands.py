"""The commands as they are typed: exit status, output, files; and one line for every invalid input."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from captcha_lib.commands import main as cli
from captcha_lib.commands import training
from captcha_lib.config import Config
from captcha_lib.data import load as data
from captcha_lib.data.captchas import generated_captchas
from captcha_lib.data.load import decode_image
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.recipe import Recipe

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
def refuse(capsys):
    """Runs a command that has to fail, and returns the one line that it says."""

    def refuse(*words) -> str:
        capsys.readouterr()
        assert run(*words) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        return lines[0]

    return refuse


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> Path:
    """The folder of a run of two epochs."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert run("train", "--data", folder, "--epochs", 2, "--threads", 1, "--out", out) == 0
    return out


# Help


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        run("--help")
    shown = capsys.readouterr().out
    assert all(f"    {command} " in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(capsys, command):
    with pytest.raises(SystemExit, match=r"^0$"):
        run(command, "--help")
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: captcha-lib {command}")
    assert "--out OUT" in shown


@pytest.mark.parametrize("words", ["", "read", "predict", "train --epochs 0", "generate --count -1"])
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


def test_train_writes_its_results(trained, folder):
    assert names(trained) == RESULTS
    figures = json.loads((trained / "metrics.json").read_text())
    assert (figures["data"], figures["seed"], figures["test"]["n"]) == ("images", 0, 3)
    predictions = pd.read_csv(trained / "predictions.csv", dtype=str)
    split = pd.read_csv(trained / "split.csv", dtype=str)
    assert list(predictions.columns) == ["file", "label", "text", "confidence", "subset"]
    assert predictions["file"].tolist() == split["file"][split["subset"] == "test"].tolist()
    reader = TorchReader.load(trained / "weight.pth")
    assert reader.alphabet.characters == "".join(sorted(set("".join(split["label"]))))
    assert reader.length == 5
    log = (trained / "log.txt").read_text().splitlines()
    assert [line.split()[:2] for line in log[1:-1]] == [["epoch", "1/2"], ["epoch", "2/2"]]


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


@pytest.mark.parametrize(("subset", "n"), [("train", 18), ("val", 3), ("test", 3)])
def test_evaluate_on_a_subset(weights, folder, capsys, subset, n):
    words = "--data", folder, "--weights", weights, "--seed", 2, "--subset", subset, "--length", 0
    assert run("evaluate", *words) == 0
    assert f"{subset}: exact match 0/{n} " in capsys.readouterr().out


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


def test_predict_shows_a_table(predicted):
    predict, expected = predicted
    lines = [line.split() for line in predict().splitlines()]
    assert lines == [[file, text, f"{confidence:.4f}"] for file, text, confidence in expected]


def test_predict_as_json(predicted):
    predict, expected = predicted
    rows = [dict(zip(("file", "text", "confidence"), row, strict=True)) for row in expected]
    assert json.loads(predict("--json")) == rows


def test_predict_as_csv(predicted):
    predict, expected = predicted
    text = predict("--csv")
    assert text.splitlines()[0] == "file,text,confidence"
    assert pd.read_csv(io.StringIO(text), dtype={"text": str}).to_numpy().tolist() == [list(row) for row in expected]


def test_predict_into_a_file(predicted, tmp_path):
    predict, _ = predicted
    assert predict("--csv", "--out", tmp_path / "new" / "read.csv") == ""
    assert (tmp_path / "new" / "read.csv").read_text() == predict("--csv")


def test_predict_a_given_length(predicted):
    predict, _ = predicted
    assert {len(row["text"]) for row in json.loads(predict("--json", "--length", 3))} == {3}


def test_predict_with_some_characters(predicted):
    predict, _ = predicted
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
    words = "predict", folder, "--weights", weights
    capsys.readouterr()
    assert run(*words, "--json") == 0
    confidences = [row["confidence"] for row in json.loads(capsys.readouterr().out)]
    surest = max(confidences)
    below = sum(confidence < surest for confidence in confidences)
    assert 0 < below < 24
    assert run(*words, "--min-confidence", surest, "--json") == 0
    shown = capsys.readouterr()
    rows = json.loads(shown.out)
    assert [row["text"] is None for row in rows] == [confidence < surest for confidence in confidences]
    assert shown.err == f"{below} of 24 texts withheld: their confidence is below {surest}.\n"
    assert run(*words, "--min-confidence", surest) == 0
    assert capsys.readouterr().out.count("(withheld)") == below
    assert run(*words, "--min-confidence", surest, "--csv") == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out), dtype=str, keep_default_na=False)
    assert (table["text"] == "").sum() == below


@pytest.mark.parametrize("share", ["-0.1", "1.1", "high", "nan"])
def test_a_share_that_is_none(share):
    with pytest.raises(SystemExit, match=r"^2$"):
        run("predict", "x.png", "--min-confidence", share)


def test_predict_with_onnx_weights_reads_the_same(weights, onnx_weights, folder, capsys):
    shown = []
    for path in (weights, onnx_weights):
        capsys.readouterr()
        assert run("predict", folder, "--weights", path, "--csv") == 0
        shown.append(pd.read_csv(io.StringIO(capsys.readouterr().out)))
    assert shown[0][["file", "text"]].equals(shown[1][["file", "text"]])
    assert shown[0]["confidence"].tolist() == pytest.approx(shown[1]["confidence"].tolist(), abs=1e-4)


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


@pytest.mark.filterwarnings("ignore")
def test_export(weights, reader, drawn, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    assert run("export", "--weights", weights, "--out", tmp_path / "new" / "captcha.onnx") == 0
    assert names(tmp_path / "new") == {"captcha.onnx"}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(tmp_path / "new" / "captcha.onnx", options)
    (logits,) = session.run(None, {"images": drawn[1][:3].numpy()})
    assert torch.allclose(torch.from_numpy(logits), reader.logits(drawn[1][:3]), atol=1e-4)
    assert session.get_modelmeta().custom_metadata_map["alphabet"] == reader.alphabet.characters


# Input that cannot be used: data


def spoil_nothing_there(folder):
    shutil.rmtree(folder)


def spoil_no_images(folder):
    for path in folder.iterdir():
        path.rename(path.with_suffix(".txt"))


def spoil_no_image(folder):
    min(folder.iterdir()).write_text("this is text\n")


def spoil_truncated(folder):
    path = min(folder.iterdir())
    path.write_bytes(path.read_bytes()[:900])


def spoil_empty_label(folder):
    min(folder.iterdir()).rename(folder / ".png")


def spoil_two_labels(folder):
    shutil.copy(min(folder.iterdir()), folder / "bbbbb.png")


def spoil_table(folder):
    (folder / "labels.csv").write_text("file,label\na,b\nc,d,e\n")


def spoil_too_few(folder):
    for path in sorted(folder.iterdir())[2:]:
        path.unlink()


BAD_DATA = {
    spoil_nothing_there: "no such folder or zip",
    spoil_no_images: "no images there",
    spoil_no_image: "not an image",
    spoil_truncated: "damaged or truncated",
    spoil_empty_label: "the label is empty",
    spoil_two_labels: "one picture has different labels",
    spoil_table: "labels.csv: cannot be read",
    spoil_too_few: "2 images cannot be split",
}


@pytest.mark.parametrize("spoil", BAD_DATA, ids=lambda spoil: spoil.__name__.removeprefix("spoil_"))
@pytest.mark.parametrize("command", ["split", "train", "evaluate"])
def test_bad_data(refuse, own_folder, weights, tmp_path, command, spoil):
    spoil(own_folder)
    words = ["--weights", weights] if command == "evaluate" else []
    assert BAD_DATA[spoil] in refuse(command, "--data", own_folder, "--out", tmp_path / "out", *words)
    assert names(tmp_path) <= {own_folder.name}


@pytest.mark.parametrize("spoil", [spoil_nothing_there, spoil_no_images])
def test_nothing_to_predict(refuse, own_folder, weights, tmp_path, spoil):
    spoil(own_folder)
    says = {spoil_nothing_there: "no such file or folder", spoil_no_images: "no images in this folder"}
    assert says[spoil] in refuse("predict", own_folder, "--weights", weights, "--out", tmp_path / "out")
    assert names(tmp_path) <= {own_folder.name}


def test_bad_data_from_the_environment(refuse, tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTCHA_DATA", str(tmp_path / "nowhere"))
    assert "no such folder or zip" in refuse("split", "--out", tmp_path / "split.csv")
    assert names(tmp_path) == set()


def test_a_label_outside_the_alphabet(refuse, folder, tmp_path):
    line = refuse("train", "--data", folder, "--alphabet", "2345678", "--out", tmp_path / "run")
    assert "is not in the alphabet '2345678'" in line
    assert names(tmp_path) == set()


@pytest.mark.parametrize("alphabet", ["", "22"])
def test_a_bad_alphabet(refuse, folder, tmp_path, alphabet):
    assert "alphabet" in refuse("train", "--data", folder, "--alphabet", alphabet, "--out", tmp_path / "run")
    assert names(tmp_path) == set()


def test_labels_too_long_for_the_picture(refuse, tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(8):
        Image.new("L", (200, 50), 30 * i).save(tmp_path / "images" / f"{'ab' * 26}{i}.png")
    line = refuse("train", "--data", tmp_path / "images", "--out", tmp_path / "run")
    assert line.startswith(f"error: {'ab' * 26}0.png: a text of 53 characters has too few time steps")
    assert names(tmp_path) == {"images"}


@pytest.mark.parametrize("size", [(200, 8), (2, 50)])
def test_images_too_small_for_the_network(refuse, tmp_path, size):
    (tmp_path / "images").mkdir()
    for i in range(8):
        Image.new("L", size, 30 * i).save(tmp_path / "images" / f"{i}.png")
    refuse("train", "--data", tmp_path / "images", "--threads", 1, "--out", tmp_path / "run")
    assert names(tmp_path) == {"images"}


# Input that cannot be used: weights


class Bomb:
    """Makes the file `exploded` where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "exploded"),)


def test_weights_for_another_alphabet(refuse, weights, own_folder, tmp_path):
    min(own_folder.iterdir()).rename(own_folder / "KQZ90.png")
    line = refuse("evaluate", "--data", own_folder, "--weights", weights, "--out", tmp_path / "out")
    assert "KQZ90.png" in line
    assert "is not in the alphabet '2345678bcdefgmnpwxy'" in line
    assert names(tmp_path) == {own_folder.name}


def changed(weights: Path, **parts) -> bytes:
    file = io.BytesIO()
    torch.save(torch.load(weights, weights_only=True) | parts, file)
    return file.getvalue()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda weights: b"",
        lambda weights: b"this is text\n",
        lambda weights: weights.read_bytes()[:5000],
        lambda weights: changed(weights, format="captcha_lib weights 0"),
        lambda weights: changed(weights, more=1),
        lambda weights: changed(weights, alphabet="23"),
        lambda weights: changed(weights, state={}),
    ],
    ids=["empty", "text", "cut", "another_format", "more", "another_alphabet", "no_state"],
)
def test_weights_that_cannot_be_used(refuse, weights, folder, tmp_path, spoil):
    path = tmp_path / "weight.pth"
    path.write_bytes(spoil(weights))
    assert str(path) in refuse("predict", folder, "--weights", path, "--out", tmp_path / "out")
    assert names(tmp_path) == {"weight.pth"}


@pytest.mark.parametrize("command", ["predict", "evaluate", "export"])
def test_no_weights(refuse, folder, tmp_path, command):
    words = {"predict": [folder], "evaluate": ["--data", folder], "export": []}[command]
    line = refuse(command, *words, "--weights", tmp_path / "nowhere.pth", "--out", tmp_path / "out")
    assert "no such file" in line
    assert names(tmp_path) == set()


# Input that cannot be used: options


@pytest.mark.parametrize("length", [-1, 51])
def test_a_length_that_cannot_be(refuse, weights, folder, length):
    assert f"length {length}" in refuse("predict", folder, "--weights", weights, "--length", length)


def test_a_character_that_the_weights_do_not_know(refuse, weights, folder):
    assert "'Z' is not in the alphabet" in refuse("predict", folder, "--weights", weights, "--alphabet", "2Z")


def test_no_characters_at_all(refuse, weights, folder):
    assert "alphabet" in refuse("predict", min(folder.iterdir()), "--weights", weights, "--alphabet", "")


def test_weights_that_are_a_folder(refuse, weights, folder):
    assert "this is a folder" in refuse("predict", folder, "--weights", weights.parent)


def test_no_such_device(refuse, weights, folder):
    assert "device 'abacus'" in refuse("predict", folder, "--weights", weights, "--device", "abacus")


@pytest.mark.parametrize("seed", [-1, 10**18])
@pytest.mark.parametrize("command", ["generate", "split", "train"])
def test_a_seed_out_of_bounds(refuse, folder, tmp_path, command, seed):
    words = [] if command == "generate" else ["--data", folder]
    assert "seed" in refuse(command, *words, "--seed", seed, "--out", tmp_path / "out")
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


def test_a_count_that_is_no_number(capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        run("train", "--epochs", "abc")
    assert "'abc' is not a positive integer" in capsys.readouterr().err


def test_a_new_split_is_not_taken_for_the_one_of_the_weights():
    """`evaluate` takes the split.csv beside the weights: no other command may write it."""
    parse = cli.build_parser().parse_args
    assert parse(["split"]).out != parse(["evaluate"]).weights.parent / "split.csv"


@pytest.mark.parametrize("command", ["split", "train"])
def test_no_official_split(refuse, folder, tmp_path, command):
    line = refuse(command, "--split", "official", "--data", folder, "--out", tmp_path / "out")
    assert "no official split" in line
    assert names(tmp_path) == set()


def test_a_split_of_other_images(refuse, folder, tmp_path):
    (tmp_path / "split.csv").write_text("file,label,sha256,subset\na.png,a,0,train\n")
    line = refuse("train", "--data", folder, "--split", tmp_path / "split.csv", "--out", tmp_path / "run")
    assert "split split.csv: it has no '3d4bp.png'" in line
    assert names(tmp_path) == {"split.csv"}


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


def test_five_steps_of_training(tmp_path):
    """65 to 80 training images make five steps an epoch; a one-cycle schedule of five steps is a corner case."""
    assert run("generate", "--count", 20, "--out", tmp_path / "images") == 0
    words = "--data", tmp_path / "images", "--epochs", 5, "--threads", 1, "--out", tmp_path / "run"
    assert run("train", *words) == 0


# Places that not writable


@pytest.mark.parametrize("command", ["generate", "split", "train", "evaluate", "predict", "export"])
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


@pytest.mark.parametrize("command", ["generate", "split"])
def test_a_folder_that_holds_something(refuse, folder, tmp_path, command):
    old = tmp_path / "old"
    old.mkdir()
    (old / "kept.txt").touch()
    words = {
        "generate": ["--count", 2, "--out", old],
        "split": ["--data", folder, "--layout", old, "--out", tmp_path / "split.csv"],
    }[command]
    assert "not empty" in refuse(command, *words)
    assert names(tmp_path) == {"old"}
    assert names(tmp_path / "old") == {"kept.txt"}


def test_generated_is_not_half_drawn(monkeypatch, tmp_path, refuse):
    """The word "generated" draws into a folder; where that cannot be, nothing is left."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(data, "generated_dir", lambda: tmp_path / "file" / "generated")
    monkeypatch.setattr(data, "GENERATED_COUNT", 5)
    assert "not writable" in refuse("split", "--data", "generated", "--out", tmp_path / "split.csv")
    assert names(tmp_path) == {"file"}


# In a process of its own


def start(*words, **environment) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "captcha_lib", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_process_answers_for_help():
    done = start("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: captcha-lib")
    assert done.stderr == ""


def test_process_with_bad_data_in_its_environment(tmp_path):
    done = start("split", "--out", tmp_path / "split.csv", CAPTCHA_DATA=str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: data ")
    assert done.stderr.count("\n") == 1
    assert names(tmp_path) == set()


def test_process_with_a_plain_pickle_as_weights(folder, tmp_path):
    """torch warns of such a file; the user is to read the error alone."""
    (tmp_path / "weight.pth").write_bytes(pickle.dumps(Bomb(tmp_path)))
    done = start("predict", min(folder.iterdir()), "--weights", tmp_path / "weight.pth", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: weights ")
    assert names(tmp_path) == {"weight.pth"}
    assert len(done.stderr.splitlines()) == 1


# Streams, and studies without labels


def test_train_on_a_stream(tmp_path, capsys):
    assert run("train", "--data", "generated", "--n", 400, "--epochs", 2, "--threads", 1, "--out", tmp_path) == 0
    said = capsys.readouterr().out
    assert "waited" in said
    assert {path.name for path in tmp_path.iterdir()} == RESULTS
    assert 0 <= json.loads((tmp_path / "metrics.json").read_text())["waited"] < 1
    assert "trained on a stream of 400 captchas." in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(("n", "epochs"), [(1000, 24), (300_000, 60), (1_000_000, 200), (9_000_000, 200)])
def test_a_longer_stream_has_more_epochs(n, epochs):
    captchas = generated_captchas(20, 1)
    subsets = ["train"] * 10 + ["val"] * 5 + ["test"] * 5
    captchas = captchas.replace(manifest=captchas.manifest.assign(subset=subsets))
    options = cli.build_parser().parse_args(["train", "--data", "generated", "--n", str(n)])
    recipe = training._streamed(options, captchas, Recipe(Config()))
    assert recipe.config.epochs == epochs
    assert 0 <= recipe.stream.per_epoch * epochs - n < epochs
    assert recipe.stream.without == frozenset(captchas.labels[10:]), "what is validated or tested with is not drawn"


def test_a_stream_of_others_captchas_is_refused(refuse, folder):
    line = refuse("train", "--data", folder, "--n", 100)
    assert line == (
        "error: --n: captchas are drawn for the generated data only; give --data generated, or leave out --n"
    )


# Where labels stand


def test_labels_from_a_pattern_without_case(folder, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    for i, path in enumerate(sorted(folder.iterdir())):
        shutil.copy(path, mine / f"{path.stem.upper()}_{i}.png")
    out = tmp_path / "split.csv"
    words = ["--labels-from", "(.+)_[0-9]+", "--ignore-case", "--out", out]
    assert run("split", "--data", mine, *words) == 0
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert sorted(table["label"]) == sorted(path.stem for path in folder.iterdir())


def test_a_pattern_without_a_group_is_refused(refuse, folder):
    line = refuse("split", "--data", folder, "--labels-from", "abc")
    assert "the pattern has 0 groups and needs one" in line
