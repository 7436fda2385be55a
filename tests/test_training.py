"""Training: resumed runs equal unbroken ones, the best epoch is the validation's, a run leaves all its files."""

import copy
import warnings
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from captcha_lib import training
from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import in_memory
from captcha_lib.generator.draw import draw
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.metrics import fit_temperature
from captcha_lib.model import ctc_loss
from captcha_lib.reading.torch_reader import TorchReader, round_weights
from captcha_lib.runs.checkpoint import CODE
from captcha_lib.runs.results import best_row
from captcha_lib.training import Session, fit, frame_targets, mean_weights, schedule_steps
from studies.captchas import generated_captchas

ALPHABET = Alphabet.of([KAPTCHA.characters])
TINY = Config(epochs=3, batch_size=8, warmup_epochs=1, augment_ramp=1, channels=(4, 4, 8), hidden=16)


TRAIN = generated_captchas(20, 1).replace(alphabet=ALPHABET)
VAL = generated_captchas(8, 2).replace(alphabet=ALPHABET)


def fit_tiny(config: Config = TINY, **session) -> tuple[TorchReader, pd.DataFrame]:
    return fit(TRAIN, VAL, config, session=Session(**session))


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


def test_same_seed_same_weights(straight):
    torch.manual_seed(12345)
    np.random.seed(12345)
    assert same_weights(straight[0], fit_tiny()[0]), "random numbers outside do not matter"
    assert not same_weights(straight[0], fit_tiny(replace(TINY, seed=1))[0])


def test_each_epoch_takes_every_picture_once_in_an_order_of_its_own(monkeypatch):
    seen = []

    def recording(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
        seen.extend(image.numpy().tobytes() for image in images)
        return augment(images, strength, generator)

    augment = training.augment
    monkeypatch.setattr(training, "augment", recording)
    fit_tiny()
    epochs = seen[:20], seen[20:40], seen[40:]
    assert [sorted(epoch) for epoch in epochs] == [sorted(image.numpy().tobytes() for image in TRAIN.images)] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


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
        fit_tiny(checkpoint=str(tmp_path / "checkpoint.pth"), report=stop)
    torch.rand(7)
    assert_resumed_like(straight, tmp_path / "checkpoint.pth")


def test_resumed_from_within_an_epoch(straight, tmp_path, monkeypatch):
    calls = []

    def validate_once(*given) -> dict:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(*given)

    validate = training._validate
    monkeypatch.setattr(training, "_validate", validate_once)
    with pytest.raises(KeyboardInterrupt):
        fit_tiny(checkpoint=tmp_path / "checkpoint.pth")
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


@pytest.mark.parametrize("which", ["train", "val", "alphabet"])
def test_a_checkpoint_of_other_data_is_refused(checkpoint, which):
    data = {"train": TRAIN, "val": VAL}
    if which == "alphabet":
        data["train"] = TRAIN.replace(alphabet=Alphabet.of([KAPTCHA.characters, "z"]))
    else:
        data[which] = generated_captchas(len(data[which]), 3).replace(alphabet=ALPHABET)
    with pytest.raises(InputError, match=f"another run .*{'alphabet' if which == 'alphabet' else 'images'}"):
        fit(**data, config=TINY, session=Session(checkpoint, resume=True))


@pytest.mark.parametrize(
    "thing", [0, 0.5, 0.99, [1, 2], {}, {"identity": 3}, {"identity": {}, "state": {}}, {"state": 3}], ids=str
)
def test_a_torn_or_foreign_checkpoint_is_refused(checkpoint, thing, tmp_path):
    if isinstance(thing, (int, float)):  # so much of it
        content = checkpoint.read_bytes()
        (tmp_path / "checkpoint.pth").write_bytes(content[: int(len(content) * thing)])
    else:
        if thing == {"state": 3}:
            thing["identity"] = torch.load(checkpoint, weights_only=True)["identity"]
        torch.save(thing, tmp_path / "checkpoint.pth")
    with pytest.raises(InputError, match="cannot be read" if isinstance(thing, (int, float)) else None) as caught:
        fit_tiny(checkpoint=tmp_path / "checkpoint.pth", resume=True)
    assert "\n" not in str(caught.value)


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

    monkeypatch.setattr(training, "_validate", scripted)
    reader, history = fit_tiny()
    kept = reader.model.state_dict()
    same = [all(torch.equal(kept[name], weights[name]) for name in kept) for weights in seen]
    assert same == [epoch == best for epoch in (1, 2, 3)]
    assert best_row(history)["epoch"] == best


def test_the_kept_weights_are_the_ones_that_were_measured(straight):
    reader, history = straight
    val_ctc = float(ctc_loss(reader.logits(VAL.images), *ALPHABET.encode_batch(VAL.labels)).mean())
    assert val_ctc == pytest.approx(best_row(history)["val_ctc"], rel=1e-3)  # measured before they were rounded
    assert not reader.model.training


def test_validation_images_do_not_move_the_weights(straight):
    """With one epoch there is nothing to choose, so other validation images leave the same weights."""
    one_epoch = replace(TINY, epochs=1)
    other, _ = fit(TRAIN, generated_captchas(8, 5), one_epoch)
    assert same_weights(fit_tiny(one_epoch)[0], other)


def test_without_validation_images_the_last_epoch_is_kept(straight):
    reader, history = fit(TRAIN, None, TINY)
    assert history.columns.tolist() == ["epoch", "phase", "train_ctc", "seconds"]
    assert history["train_ctc"].tolist() == straight[1]["train_ctc"].tolist()
    assert (reader.temperature, reader.temperature_any) == (1, 1)
    other, _ = fit(TRAIN, generated_captchas(8, 5), TINY)
    assert same_weights(reader, other) == (best_row(straight[1])["epoch"] == 3)


def test_length_is_known_if_all_labels_agree(straight):
    assert straight[0].length == 5
    texts = ["bcd", "2345", "xyp"]
    several = in_memory(texts, draw(texts, np.random.default_rng(0)), "mine", ALPHABET)
    reader, _ = fit(several, VAL, replace(TINY, epochs=1))
    assert reader.length is None


@pytest.mark.parametrize("batches", range(1, 12))
def test_every_number_of_steps_can_be_trained(batches):
    """The learning rate's schedule has a first fifth, which may be as short as one step."""
    images = TRAIN.images[:batches, :, :, :40].contiguous()
    few = in_memory(["bc"] * batches, images, "mine")
    _, history = fit(few, few, replace(TINY, epochs=1, batch_size=1))
    assert len(history) == 1


def test_eight_pictures_are_learnt_by_heart():
    eight = generated_captchas(8, 7)
    config = Config(
        seed=1, epochs=90, batch_size=2, learning_rate=1e-2, warmup_epochs=35, augment_strength=0, dropout=0,
        ema_decay=0.8, channels=(16, 24, 48), hidden=64,
    )  # fmt: skip
    reader, history = fit(eight, eight, config)
    assert [reading.text for reading in reader.read(eight.images, length=0)] == eight.labels
    assert history["train_ctc"].iloc[-1] < history["train_ctc"].iloc[0]


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
def test_frame_targets_by_hand(lines, inverted):
    """Twenty steps of 4 px lie on a block, five for each character; smoothing may add one on either side."""
    picture = torch.full((1, 1, 50, 200), 255, dtype=torch.uint8)
    picture[..., 10:40, 40:120] = 0
    picture[..., 5 : 5 + lines, :] = 0
    picture = 255 - picture if inverted else picture
    (targets,) = frame_targets(picture, torch.tensor([[7, 3, 3, 9]]), torch.tensor([4]), 50).tolist()
    assert targets[10:30] == [7] * 5 + [3] * 5 + [3] * 5 + [9] * 5
    assert targets[:9] == [0] * 9
    assert targets[31:] == [0] * 19


def test_frame_targets_of_captchas_spell_the_label():
    ids, lengths = ALPHABET.encode_batch(TRAIN.labels)
    targets = frame_targets(TRAIN.images, ids, lengths, 50)
    assert targets.shape == (20, 50)
    for row, label in zip(targets.tolist(), ids.tolist(), strict=True):
        inked = [k for k, _ in groupby(k for k in row if k)]
        assert inked == [k for k, _ in groupby(label)]


def test_augmentation_grows_after_the_warm_up():
    config = Config(warmup_epochs=2, augment_ramp=4, augment_strength=0.8)
    strengths = [training._strength(epoch, config) for epoch in range(10)]
    assert strengths[:3] == [0, 0, 0]
    assert strengths[6:] == pytest.approx([0.8] * 4)
    assert all(one <= two for one, two in pairwise(strengths))


# What a training must leave as it was, and what it has to refuse


def test_the_callers_settings_are_left_alone():
    """Fault 13: `fit` seeded torch's global random numbers."""
    torch.manual_seed(99)
    state, threads, filters = torch.get_rng_state(), torch.get_num_threads(), list(warnings.filters)
    fit(TRAIN, VAL, replace(TINY, epochs=1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert list(warnings.filters) == filters


@pytest.mark.parametrize("steps", range(1, 61))
@pytest.mark.filterwarnings("ignore:Detected call of")
def test_the_schedule_divides_by_zero_nowhere(steps):
    """Fault 13: OneCycleLR does where its peak falls on the first step, whatever the peak."""
    for peak in (0.2, 0.3, 1.0, 1 / steps, 1 / (steps + 1), 1 / max(1, steps - 1)):
        optimizer = torch.optim.AdamW(torch.nn.Linear(1, 1).parameters())
        total = schedule_steps(steps, peak)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=total, pct_start=peak)
        rates = schedule.get_last_lr()
        for _ in range(min(steps, total - 1)):
            schedule.step()
            rates += schedule.get_last_lr()
        assert all(0 <= rate <= 1e-3 for rate in rates), peak


@pytest.mark.parametrize("which", ["train", "val"])
def test_a_label_that_the_time_steps_cannot_spell_is_refused_with_its_file(which):
    """Fault 13: one among the validation images made val_ctc infinite."""
    bad = in_memory(["b" * 14], torch.zeros(1, 1, 50, 200, dtype=torch.uint8), "mine", ALPHABET)
    data = {"train": TRAIN, "val": VAL} | {which: bad}
    with pytest.raises(InputError, match=rf"0_{'b' * 14}\.png: its label needs 27 time steps and the picture gives 25"):
        fit(**data, config=TINY)


def test_a_label_outside_the_alphabet_is_refused():
    with pytest.raises(InputError, match=r"0_n3d36\.png: '3' is not in the alphabet '2b'"):
        fit(in_memory(["b2"], TRAIN.images[:1], "mine"), VAL, TINY)


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="epoch 1: the loss is not finite"):
        fit_tiny(replace(TINY, learning_rate=1e30, clip_norm=1e30))


def test_each_temperature_is_fitted_for_its_own_decoder():
    """Fault 12: the temperature of the known length was taken for readings of any length, too."""
    config = replace(TINY, epochs=12, warmup_epochs=3, channels=(8, 8, 16), hidden=32)
    reader, _ = fit(generated_captchas(60, 1), VAL, config)  # it reads well enough for temperatures within their bounds
    raw, logits = replace(reader, temperature=1.0, temperature_any=1.0), reader.logits(VAL.images)
    for temperature, length in ((reader.temperature, None), (reader.temperature_any, 0)):
        readings = raw.decode(logits, length)
        right = [reading.text == label for reading, label in zip(readings, VAL.labels, strict=True)]
        assert temperature == fit_temperature([reading.confidence for reading in readings], right) != 1
    assert reader.temperature != reader.temperature_any


# A checkpoint of other code


def test_a_checkpoint_of_other_code_is_trained_again(straight, checkpoint, tmp_path):
    """Fault 1: results were known by their settings and images alone, and old ones passed for those of new code."""
    saved = torch.load(checkpoint, weights_only=True)
    for name in CODE:
        path, said = tmp_path / f"{name}.pth", []
        torch.save(saved | {"identity": saved["identity"] | {name: "other"}}, path)
        reader, _ = fit_tiny(checkpoint=path, resume=True, report=said.append)
        assert said[0] == f"checkpoint {path}: made by other {name}; training starts from the beginning"
        assert [line.split("/")[0] for line in said[1:]] == ["epoch  1", "epoch  2", "epoch  3"]
        assert same_weights(reader, straight[0])


def test_other_code_does_not_hide_other_images(checkpoint, tmp_path):
    saved = torch.load(checkpoint, weights_only=True)
    torch.save(saved | {"identity": saved["identity"] | {"code": "other"}}, tmp_path / "checkpoint.pth")
    others = generated_captchas(20, 3).replace(alphabet=ALPHABET)
    with pytest.raises(InputError, match=r"another run \(images .*start without --resume"):
        fit(others, VAL, TINY, session=Session(tmp_path / "checkpoint.pth", resume=True))


# A reader to start from

STILL = replace(TINY, epochs=1, warmup_epochs=0, learning_rate=1e-12, ema_decay=0.0)


def test_another_alphabet_keeps_what_it_shares(straight):
    """Scores of shared characters are those of the start; a character that is new has weights of its own."""
    first = straight[0]
    more = Alphabet(ALPHABET.characters[::-1] + "#")
    second, _ = fit(TRAIN.replace(alphabet=more), None, STILL, first)
    ours, theirs = (reader.model.classify[1].weight.detach() for reader in (second, first))
    place = [0, *more.encode(ALPHABET.characters)]
    assert torch.allclose(ours[place], theirs, atol=1e-3)
    assert not torch.allclose(ours[-1], theirs[-1], atol=1e-3)


def test_a_start_of_another_network_is_refused(reader):
    with pytest.raises(InputError, match="start: its network has other layers"):
        fit(TRAIN, None, TINY, reader)


# Several networks


TWO = replace(TINY, epochs=6, networks=2)


def fit_two(start: TorchReader, **session) -> tuple[TorchReader, pd.DataFrame]:
    return fit(TRAIN, VAL, TWO, start, Session(**session))


def test_the_mean_of_several_networks_is_kept(straight):
    start = straight[0]
    both, history = fit_two(start)
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert history["phase"].tolist() == ["frames", "ctc", "ctc"] * 2
    first, alone = fit(TRAIN, VAL, TINY, start)
    assert history["train_ctc"].tolist()[:3] == alone["train_ctc"].tolist(), "the first is trained as one alone"
    assert not same_weights(both, first)
    assert len({round(loss, 6) for loss in history["train_ctc"]}) == 6, "each epoch has an order and warps of its own"


def test_the_mean_of_weights():
    one, other = ({"w": torch.tensor([0.0, x]), "n": torch.tensor(int(x))} for x in (2.0, 4.0))
    assert mean_weights([one, other])["w"].tolist() == [0.0, 3.0]
    assert mean_weights([one, other])["n"] == 2
    assert mean_weights([one])["w"].tolist() == one["w"].tolist()


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_several_networks_resumed(straight, tmp_path, epoch):
    def stop(line: str) -> None:
        if line.startswith(f"epoch  {epoch}/"):
            raise KeyboardInterrupt

    whole, history = fit_two(straight[0])
    with pytest.raises(KeyboardInterrupt):
        fit_two(straight[0], checkpoint=tmp_path / "checkpoint.pth", report=stop)
    resumed, again = fit_two(straight[0], checkpoint=tmp_path / "checkpoint.pth", resume=True)
    assert same_weights(resumed, whole)
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), history.drop(columns="seconds"), check_exact=True)


def test_fewer_epochs_than_networks(straight):
    _, history = fit(TRAIN, VAL, replace(TINY, epochs=1, networks=3), straight[0])
    assert history["epoch"].tolist() == [1]


def test_networks_from_random_weights_have_no_mean():
    with pytest.raises(InputError, match="only those that start from the same weights have a mean; give a start, or 1"):
        fit_tiny(TWO)
