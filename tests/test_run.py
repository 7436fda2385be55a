"""The whole way in one call: the files that a run leaves, and that `train` in Python does what the command does."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import captcha_lib
from captcha_lib.commands import main as cli
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.load import write_captchas
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.metrics import score
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.recipe import Recipe, chance_loss
from captcha_lib.run import doubts, run
from captcha_lib.runs.results import Result, best_row, read_table
from captcha_lib.training import Session
from studies.captchas import generated_captchas

TINY = Config(epochs=2, batch_size=8, warmup_epochs=1, augment_ramp=1, channels=(4, 4, 8), hidden=16)
FILES = {
    "plan.csv", "split.csv", "checkpoint.pth", "weight.pth", "history.csv", "log.txt", "loss.png",
    "metrics.json", "predictions.csv", "environment.json",
}  # fmt: skip


def split_set() -> Captchas:
    captchas = generated_captchas(40, 4)
    return captchas.replace(manifest=captchas.manifest.assign(subset=["train"] * 30 + ["val"] * 5 + ["test"] * 5))


def same_weights(one: TorchReader, two: TorchReader) -> bool:
    ours, theirs = one.model.state_dict(), two.model.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, run(split_set(), Recipe(TINY), out)


def test_a_run_leaves_all_its_files_and_no_others(finished):
    assert {path.name for path in finished[0].iterdir()} == FILES


def test_predictions_are_those_of_the_test_images(finished):
    out, result = finished
    written = read_table(out / "predictions.csv")
    assert written.columns.tolist() == ["file", "label", "text", "confidence", "subset"]
    assert written["label"].tolist() == split_set().labels[35:]
    assert set(written["subset"]) == {"test"}
    pd.testing.assert_frame_equal(written, result.predictions, check_dtype=False)


def test_metrics_belong_to_the_predictions(finished):
    out, result = finished
    figures = json.loads((out / "metrics.json").read_text())
    assert set(figures) == {
        "data", "test", "test_best_path", "seed", "best_epoch", "first_exact_epoch", "train_seconds", "parameters",
    }  # fmt: skip
    assert figures["test"] == score(read_table(out / "predictions.csv")) == result.score
    assert figures["test_best_path"]["n"] == 5
    assert figures["parameters"] == sum(p.numel() for p in result.reader.model.parameters())
    assert figures["best_epoch"] == best_row(result.history)["epoch"]


def test_environment(finished):
    facts = json.loads((finished[0] / "environment.json").read_text())
    assert {"python", "packages", "processor", "threads", "precision", "seed", "data", "config"} <= set(facts)
    assert facts["images"] == 40
    config = Config(**facts["config"] | {"channels": tuple(facts["config"]["channels"])})
    assert config == replace(TINY, plateau=config.plateau)
    assert 0 < config.plateau < chance_loss(split_set().labels)


def test_split_log_and_picture(finished):
    out = finished[0]
    written = pd.read_csv(out / "split.csv", dtype=str)
    assert written.columns.tolist() == ["file", "label", "sha256", "subset"]
    assert written["subset"].value_counts().to_dict() == {"train": 30, "val": 5, "test": 5}
    log = (out / "log.txt").read_text().splitlines()
    assert [line[:10] for line in log] == ["data: gene", "epoch  1/2", "epoch  2/2", "test: exac"]
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_written_weights_are_the_readers(finished):
    out, result = finished
    loaded = TorchReader.load(out / "weight.pth")
    assert same_weights(loaded, result.reader)
    readings = loaded.read(split_set().subset("test").images)
    assert [reading.text for reading in readings] == result.predictions["text"].tolist()
    confidences = result.predictions["confidence"].tolist()
    assert [reading.confidence for reading in readings] == pytest.approx(confidences, abs=1e-5)


def test_test_images_have_no_part_in_training(finished, tmp_path):
    other = split_set()
    other._pixels[35:] = 255 - other._pixels[35:]
    assert same_weights(run(other, Recipe(TINY), tmp_path).reader, finished[1].reader)


# Never nothing in silence


def swapped() -> Captchas:
    """Captchas whose labels belong to others: nothing can be learnt."""
    captchas = split_set()
    return captchas.replace(manifest=captchas.manifest.assign(label=[*captchas.labels[7:], *captchas.labels[:7]]))


def test_what_learns_nothing_begins_again_and_says_so(tmp_path):
    said: list[str] = []
    config = replace(TINY, epochs=9)
    result = run(swapped(), Recipe(config), tmp_path, Session(report=said.append))
    assert "nothing is learnt after 5 epochs: it begins again, more patiently" in said
    assert (result.config.epochs, result.config.warmup_epochs) == (18, 6)
    assert said[-1].startswith("warning: nothing was learnt: none of 10 validation and test images is read; look with")
    assert {path.name for path in tmp_path.iterdir()} == FILES | {"checkpoint_again.pth"}


def test_another_go_goes_on_after_an_interruption(tmp_path):
    config = replace(TINY, epochs=9)
    whole = run(swapped(), Recipe(config), tmp_path / "whole")

    def interrupt(line: str) -> None:
        if line.startswith("epoch  2/18"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(swapped(), Recipe(config), tmp_path / "parts", Session(report=interrupt))
    said: list[str] = []
    parts = run(swapped(), Recipe(config), tmp_path / "parts", Session(report=said.append, resume=True))
    assert "resumed after epoch 2" in said
    assert same_weights(parts.reader, whole.reader)


def test_what_was_learnt_by_heart_is_said(finished, monkeypatch):
    result = finished[1]
    images = result.captchas.subset("train")
    by_heart = replace(result, history=result.history.assign(val_exact=[0, 1]))
    monkeypatch.setattr(TorchReader, "spell", lambda *given: images.labels)
    assert doubts(by_heart) == [
        "it learnt images by heart: 100% of those it trained on are read, and 1 of 10 others; label more, or let "
        "`captcha-lib adapt` learn from images without labels"
    ]
    assert not doubts(replace(result, history=result.history.assign(val_exact=[0, 8])))


# In Python


@pytest.fixture(scope="module")
def sixty(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sixty") / "images"
    write_captchas(*generate_captchas(60, seed=9), folder)
    return folder


def test_train_in_python_does_what_the_command_does(sixty, tmp_path):
    said: list[str] = []
    result = captcha_lib.train(str(sixty), out=tmp_path / "python", report=said.append, epochs=1)
    words = ["train", "--data", str(sixty), "--epochs", "1", "--threads", "1", "--out", str(tmp_path / "command")]
    assert cli.main(words) == 0
    assert isinstance(result, captcha_lib.Result)
    assert len(result.history) == 1
    assert len(result.predictions) == len(result.captchas.subset("test")) == result.score["n"] == 8
    assert result.reader.read(result.captchas.images)[0].text
    assert said[0].startswith("data: images, 60 images of 200 x 50 px.")
    assert said[-1].startswith("test: exact match ")
    for name in FILES - {"metrics.json", "checkpoint.pth"}:  # which hold seconds
        ours, theirs = ((tmp_path / who / name).read_bytes() for who in ("python", "command"))
        assert ours == theirs, name
    assert {path.name for path in (tmp_path / "python").iterdir()} == FILES


def test_train_takes_captchas_and_settings(tmp_path):
    settings = {"epochs": 1, "channels": (4, 4, 8), "hidden": 16}
    result = captcha_lib.train(generated_captchas(30, 1), tmp_path, start="none", seed=7, report=str, **settings)
    assert (result.config.seed, result.config.channels, result.reader.model.hidden) == (7, (4, 4, 8), 16)
    assert "drawn with seed 7" in result.captchas.notes[-1]


def test_train_refuses_what_the_command_refuses(tmp_path):
    with pytest.raises(InputError, match="no such folder or zip"):
        captcha_lib.train(tmp_path / "nowhere", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
