"""Training: resumed runs equal unbroken ones, the best epoch is the validation's, a run leaves all its files."""

import copy
import hashlib
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from captcha_lib import train
from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.generator.draw import draw, generate_captchas
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.metrics import fit_temperature, score
from captcha_lib.model import ctc_loss
from captcha_lib.reading.torch_reader import TorchReader, round_weights
from captcha_lib.runs.results import best_row, first_exact_epoch, seeds_table
from captcha_lib.training import fit, frame_targets, run

ALPHABET = Alphabet.of([KAPTCHA.characters])
TINY = Config(epochs=3, batch_size=8, warmup_epochs=1, augment_ramp=1, channels=(4, 4, 8), hidden=16)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def as_captchas(texts: list[str], images: torch.Tensor, subsets: list[str] | None = None) -> Captchas:
    manifest = pd.DataFrame(
        {
            "file": [f"{text}.png" for text in texts],
            "label": texts,
            "sha256": [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images],
            "width": images.shape[3],
            "height": images.shape[2],
            "subset": subsets or "train",
        }
    )
    return Captchas("generated", manifest, images, [Path(file) for file in manifest["file"]])


def captchas(n: int, seed: int = 0) -> Captchas:
    return as_captchas(*generate_captchas(n, seed))


TRAIN, VAL = captchas(20, 1), captchas(8, 2)


def fit_tiny(config: Config = TINY, **others) -> tuple[TorchReader, pd.DataFrame]:
    return fit(TRAIN, VAL, ALPHABET, config, report=lambda line: None, **others)


def same_weights(one: TorchReader, two: TorchReader) -> bool:
    ours, theirs = one.model.state_dict(), two.model.state_dict()
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def straight() -> tuple[TorchReader, pd.DataFrame]:
    return fit_tiny()


def test_history(straight):
    _, history = straight
    columns = ["epoch", "phase", "train_ctc", "val_ctc", "val_exact", "val_n", "blank", "seconds"]
    assert history.columns.tolist() == columns
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["phase"].tolist() == ["frames", "ctc", "ctc"]
    assert history["val_n"].tolist() == [8, 8, 8]
    assert history["blank"].between(0, 1).all()
    assert history["seconds"].is_monotonic_increasing


def test_same_seed_same_weights(straight):
    assert same_weights(straight[0], fit_tiny()[0])
    assert not same_weights(straight[0], fit_tiny(replace(TINY, seed=1))[0])


def test_each_epoch_takes_every_picture_once_in_an_order_of_its_own(monkeypatch):
    seen = []

    def recording(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
        seen.extend(image.numpy().tobytes() for image in images)
        return augment(images, strength, generator)

    augment = train.augment
    monkeypatch.setattr(train, "augment", recording)
    fit_tiny()
    epochs = seen[:20], seen[20:40], seen[40:]
    assert [sorted(epoch) for epoch in epochs] == [sorted(image.numpy().tobytes() for image in TRAIN.images)] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_chance_outside_does_not_matter(straight):
    torch.manual_seed(12345)
    np.random.seed(12345)
    assert same_weights(straight[0], fit_tiny()[0])


def assert_resumed_like(straight, checkpoint: Path) -> None:
    reader, history = fit_tiny(checkpoint=checkpoint, resume=True)
    assert same_weights(reader, straight[0])
    pd.testing.assert_frame_equal(
        history.drop(columns="seconds"), straight[1].drop(columns="seconds"), check_exact=True
    )
    assert history["seconds"].is_monotonic_increasing


@pytest.mark.parametrize("epoch", [1, 2])
def test_resumed_after_an_epoch(straight, tmp_path, epoch):
    def stop(line: str) -> None:
        if line.startswith(f"epoch  {epoch}/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(TRAIN, VAL, ALPHABET, TINY, tmp_path / "checkpoint.pth", report=stop)
    torch.rand(7)
    assert_resumed_like(straight, tmp_path / "checkpoint.pth")


def test_resumed_from_within_an_epoch(straight, tmp_path, monkeypatch):
    calls = []

    def validate_once(*given) -> dict:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(*given)

    validate = train._validate
    monkeypatch.setattr(train, "_validate", validate_once)
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(checkpoint=tmp_path / "checkpoint.pth")
    assert_resumed_like(straight, tmp_path / "checkpoint.pth")


def test_resumed_when_all_is_done(straight, tmp_path):
    fit_tiny(checkpoint=tmp_path / "checkpoint.pth")
    assert_resumed_like(straight, tmp_path / "checkpoint.pth")


def test_resumed_without_a_checkpoint_starts_anew(straight, tmp_path):
    assert_resumed_like(straight, tmp_path / "checkpoint.pth")


def test_without_resume_an_old_checkpoint_is_replaced(straight, tmp_path):
    checkpoint = tmp_path / "checkpoint.pth"
    checkpoint.write_bytes(b"old")
    assert same_weights(fit_tiny(checkpoint=checkpoint)[0], straight[0])
    assert_resumed_like(straight, checkpoint)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoint.pth"
    fit_tiny(checkpoint=path)
    return path


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"epochs": 4}, {"learning_rate": 1e-3}, {"hidden": 18}, {"channels": (4, 4, 9)}], ids=str
)
def test_a_checkpoint_of_other_settings_is_refused(checkpoint, change):
    (name,) = change
    with pytest.raises(InputError, match=f"another run .*{name}"):
        fit_tiny(replace(TINY, **change), checkpoint=checkpoint, resume=True)


@pytest.mark.parametrize("which", ["train", "val"])
def test_a_checkpoint_of_other_data_is_refused(checkpoint, which):
    data = {"train": TRAIN, "val": VAL} | {which: captchas(20 if which == "train" else 8, 3)}
    with pytest.raises(InputError, match=r"another run .*images"):
        fit(data["train"], data["val"], ALPHABET, TINY, checkpoint, resume=True)


def test_a_checkpoint_of_another_alphabet_is_refused(checkpoint):
    with pytest.raises(InputError, match=r"another run .*alphabet"):
        fit(TRAIN, VAL, Alphabet.of([KAPTCHA.characters, "z"]), TINY, checkpoint, resume=True)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_torn_checkpoint_is_refused(checkpoint, share, tmp_path):
    content, torn = checkpoint.read_bytes(), tmp_path / "checkpoint.pth"
    torn.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="cannot be read") as caught:
        fit_tiny(checkpoint=torn, resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("thing", [[1, 2], {}, {"identity": 3}, {"identity": {}, "state": {}}], ids=str)
def test_a_foreign_checkpoint_is_refused(thing, tmp_path):
    torch.save(thing, tmp_path / "checkpoint.pth")
    with pytest.raises(InputError):
        fit_tiny(checkpoint=tmp_path / "checkpoint.pth", resume=True)


@pytest.mark.parametrize("rest", [{}, {"state": {}}, {"state": 3}], ids=str)
def test_a_checkpoint_without_its_state_is_refused(checkpoint, rest, tmp_path):
    identity = torch.load(checkpoint, weights_only=True)["identity"]
    torch.save({"identity": identity} | rest, tmp_path / "checkpoint.pth")
    with pytest.raises(InputError):
        fit_tiny(checkpoint=tmp_path / "checkpoint.pth", resume=True)


@pytest.mark.parametrize(
    ("exact", "val_ctc", "best"),
    [
        ([1, 3, 2], [9.0, 8.0, 1.0], 2),
        ([2, 2, 1], [1.0, 3.0, 2.0], 2),
        ([0, 0, 1], [1.0, 1.0, 9.0], 3),
        ([1, 1, 1], [2.0, 2.0, 2.0], 3),
    ],
)
def test_the_weights_are_those_of_the_best_validation(monkeypatch, exact, val_ctc, best):
    """More exact readings first, then the later epoch; the loss has no say."""
    seen = []

    def scripted(model: torch.nn.Module, *_) -> dict:
        measured = copy.deepcopy(model)
        round_weights(measured)
        seen.append(measured.state_dict())
        i = len(seen) - 1
        return {"val_ctc": val_ctc[i], "val_exact": exact[i], "val_n": 8, "blank": 0.5}

    monkeypatch.setattr(train, "_validate", scripted)
    reader, history = fit_tiny()
    kept = reader.model.state_dict()
    same = [all(torch.equal(kept[name], weights[name]) for name in kept) for weights in seen]
    assert same == [epoch == best for epoch in (1, 2, 3)]
    assert best_row(history)["epoch"] == best


def test_the_kept_weights_are_the_ones_that_were_measured(straight):
    reader, history = straight
    ids, lengths = ALPHABET.encode_batch(VAL.labels)
    val_ctc = float(ctc_loss(reader.logits(VAL.images), ids, lengths).mean())
    assert val_ctc == pytest.approx(best_row(history)["val_ctc"], rel=1e-3)  # measured before they were rounded
    assert not reader.model.training


def test_validation_images_do_not_move_the_weights(straight):
    """With one epoch there is nothing to choose, so other validation images leave the same weights."""
    one_epoch = replace(TINY, epochs=1)
    other, _ = fit(TRAIN, captchas(8, 5), ALPHABET, one_epoch, report=lambda line: None)
    assert same_weights(fit_tiny(one_epoch)[0], other)


def test_without_validation_images_the_last_epoch_is_kept(straight):
    reader, history = fit(TRAIN, None, ALPHABET, TINY, report=lambda line: None)
    assert history.columns.tolist() == ["epoch", "phase", "train_ctc", "seconds"]
    assert history["train_ctc"].tolist() == straight[1]["train_ctc"].tolist()
    assert reader.temperature == 1
    other, _ = fit(TRAIN, captchas(8, 5), ALPHABET, replace(TINY, epochs=3), report=lambda line: None)
    assert same_weights(reader, other) == (best_row(straight[1])["epoch"] == 3)


def test_confidences_are_calibrated_on_the_validation_images(straight):
    reader, _ = straight
    raw = replace(reader, temperature=1.0).read(VAL.images)
    right = [reading.text == label for reading, label in zip(raw, VAL.labels, strict=True)]
    assert reader.temperature == fit_temperature([reading.confidence for reading in raw], right)
    assert reader.temperature != 1


def test_first_exact_epoch():
    history = pd.DataFrame({"epoch": [1, 2, 3], "val_exact": [0, 2, 0]})
    assert first_exact_epoch(history) == 2
    assert first_exact_epoch(history.assign(val_exact=0)) is None


def test_length_is_known_if_all_labels_agree(straight):
    assert straight[0].length == 5
    texts = ["bcd", "2345", "xyp"]
    several = as_captchas(texts, draw(texts, np.random.default_rng(0)))
    reader, _ = fit(several, VAL, ALPHABET, replace(TINY, epochs=1), report=lambda line: None)
    assert reader.length is None


def test_a_label_too_long_for_the_picture_is_refused():
    narrow = as_captchas(["bcde", "bbcc"], torch.randint(0, 256, (2, 1, 50, 40), dtype=torch.uint8))
    with pytest.raises(InputError, match=r"bbcc\.png: .* 6 time steps .* 5"):
        fit(narrow, narrow, ALPHABET, replace(TINY, epochs=1), report=lambda line: None)


@pytest.mark.parametrize("batches", range(1, 12))
def test_every_number_of_steps_can_be_trained(batches):
    """The learning rate's schedule has a first fifth, which may be as short as one step."""
    images = TRAIN.images[:batches, :, :, :40].contiguous()
    few = as_captchas(["bc"] * batches, images)
    _, history = fit(few, few, ALPHABET, replace(TINY, epochs=1, batch_size=1), report=lambda line: None)
    assert len(history) == 1


def test_eight_pictures_are_learnt_by_heart():
    eight = captchas(8, 7)
    config = Config(
        seed=1, epochs=90, batch_size=2, learning_rate=1e-2, warmup_epochs=35, augment_strength=0, dropout=0,
        ema_decay=0.8, channels=(16, 24, 48), hidden=64,
    )  # fmt: skip
    reader, history = fit(eight, eight, ALPHABET, config, report=lambda line: None)
    assert [reading.text for reading in reader.read(eight.images, length=0)] == eight.labels
    assert history["train_ctc"].iloc[-1] < history["train_ctc"].iloc[0]


def block(columns: slice, lines: bool = False) -> torch.Tensor:
    picture = torch.full((1, 1, 50, 200), 255, dtype=torch.uint8)
    picture[..., 10:40, columns] = 0
    if lines:
        picture[..., 5, :] = 0
    return picture


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
def test_frame_targets_by_hand(lines, inverted):
    """Twenty steps of 4 px lie on the block, five for each character; smoothing may add one on either side."""
    picture = block(slice(40, 120), lines)
    picture = 255 - picture if inverted else picture
    (targets,) = frame_targets(picture, torch.tensor([[7, 3, 3, 9]]), torch.tensor([4]), 50).tolist()
    assert targets[10:30] == [7] * 5 + [3] * 5 + [3] * 5 + [9] * 5
    assert targets[:9] == [0] * 9
    assert targets[31:] == [0] * 19


def test_frame_targets_of_a_batch_with_padding():
    pictures = torch.cat([block(slice(40, 120)), block(slice(100, 180))])
    ids, lengths = torch.tensor([[1, 2], [5, 0]]), torch.tensor([2, 1])
    first, second = frame_targets(pictures, ids, lengths, 50).tolist()
    assert first[10:30] == [1] * 10 + [2] * 10
    assert second[25:45] == [5] * 20
    assert set(second[:24] + second[46:]) == {0}


def test_frame_targets_of_captchas_spell_the_label():
    ids, lengths = ALPHABET.encode_batch(TRAIN.labels)
    targets = frame_targets(TRAIN.images, ids, lengths, 50)
    assert targets.shape == (20, 50)
    for row, label in zip(targets.tolist(), ids.tolist(), strict=True):
        inked = [k for k in row if k]
        assert [k for k, before in zip(inked, [0, *inked], strict=False) if k != before] == [
            k for k, before in zip(label, [0, *label], strict=False) if k != before
        ]


def split_set() -> Captchas:
    texts, images = generate_captchas(40, 4)
    return as_captchas(texts, images, ["train"] * 30 + ["val"] * 5 + ["test"] * 5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Reader, pd.DataFrame, pd.DataFrame]:
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, *run(split_set(), ALPHABET, replace(TINY, epochs=2), out, report=lambda line: None)


def test_a_run_leaves_all_its_files_and_no_others(finished):
    names = {path.name for path in finished[0].iterdir()}
    assert names == {
        "split.csv",
        "checkpoint.pth",
        "weight.pth",
        "history.csv",
        "log.txt",
        "loss.png",
        "metrics.json",
        "predictions.csv",
        "environment.json",
    }


def read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"label": str, "text": str}, keep_default_na=False)


def test_predictions_are_those_of_the_test_images(finished):
    out, _, _, predictions = finished
    written = read_table(out / "predictions.csv")
    assert written.columns.tolist() == ["file", "label", "text", "confidence", "subset"]
    assert written["label"].tolist() == split_set().labels[35:]
    assert set(written["subset"]) == {"test"}
    pd.testing.assert_frame_equal(written, predictions, check_dtype=False)


def test_metrics_belong_to_the_predictions(finished):
    out, reader, history, _ = finished
    figures = json.loads((out / "metrics.json").read_text())
    assert set(figures) == {
        "data",
        "test",
        "test_best_path",
        "seed",
        "best_epoch",
        "first_exact_epoch",
        "train_seconds",
        "parameters",
    }
    assert figures["test"] == score(read_table(out / "predictions.csv"))
    assert figures["test_best_path"]["n"] == 5
    assert figures["parameters"] == sum(p.numel() for p in reader.model.parameters())
    assert figures["best_epoch"] == best_row(history)["epoch"]


def test_environment(finished):
    facts = json.loads((finished[0] / "environment.json").read_text())
    assert {"python", "packages", "processor", "threads", "precision", "seed", "data", "config"} <= set(facts)
    assert facts["images"] == 40
    assert Config(**facts["config"] | {"channels": tuple(facts["config"]["channels"])}) == replace(TINY, epochs=2)


def test_split_log_and_picture(finished):
    out = finished[0]
    written = pd.read_csv(out / "split.csv", dtype=str)
    assert written.columns.tolist() == ["file", "label", "sha256", "subset"]
    assert written["subset"].value_counts().to_dict() == {"train": 30, "val": 5, "test": 5}
    log = (out / "log.txt").read_text().splitlines()
    assert [line[:10] for line in log] == ["data: gene", "epoch  1/2", "epoch  2/2", "test: exac"]
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_written_weights_are_the_readers(finished):
    out, reader, _, predictions = finished
    loaded = TorchReader.load(out / "weight.pth")
    assert same_weights(loaded, reader)
    readings = loaded.read(split_set().subset("test").images)
    assert [reading.text for reading in readings] == predictions["text"].tolist()
    assert [reading.confidence for reading in readings] == pytest.approx(predictions["confidence"].tolist(), abs=1e-5)


def test_test_images_have_no_part_in_training(finished, tmp_path):
    other = split_set()
    other.images[35:] = 255 - other.images[35:]
    reader, _, _ = run(other, ALPHABET, replace(TINY, epochs=2), tmp_path, report=lambda line: None)
    assert same_weights(reader, finished[1])


def test_seeds_table(finished):
    table = seeds_table([finished[0]])
    figures = json.loads((finished[0] / "metrics.json").read_text())
    assert table[["seed", "n", "exact", "best_epoch"]].iloc[0].tolist() == [
        0,
        5,
        figures["test"]["exact"],
        figures["best_epoch"],
    ]


def test_augmentation_grows_after_the_warm_up():
    config = Config(warmup_epochs=2, augment_ramp=4, augment_strength=0.8)
    strengths = [train._strength(epoch, config) for epoch in range(10)]
    assert strengths[:3] == [0, 0, 0]
    assert strengths[6:] == pytest.approx([0.8] * 4)
    assert all(one <= two for one, two in pairwise(strengths))
