"""Reading without labels: where the fonts come from, and that no label has a part in the training."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch

from captcha_lib import adapting
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import in_memory
from captcha_lib.generator.style import DEJAVU, KAPTCHA
from captcha_lib.reading.torch_reader import TorchReader
from studies import zero
from studies.captchas import generated_captchas
from studies.confidence import clustered_interval
from studies.fonts import free_fonts
from studies.zero import Recipe, learn, read_without_labels, style_for, summarise

TINY = Config(epochs=2, batch_size=8, warmup_epochs=1, augment_ramp=1, channels=(4, 4, 8), hidden=16)
RECIPE = Recipe(pure=TINY, per_epoch=24)
CAPTCHAS = generated_captchas(N := 20, 3)
STYLE = style_for(CAPTCHAS, KAPTCHA.characters)


def read(out, captchas=CAPTCHAS, **others) -> pd.DataFrame:
    return read_without_labels(captchas, STYLE, out, seeds=2, recipe=RECIPE, jobs=1, report=str, **others)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Adapting takes one round of a few pictures, and is kept, whatever a network of two epochs was sure of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapting, "BELIEVED", (0.9,))
        patch.setattr(adapting, "STEPS", replace(adapting.STEPS, epochs=1, per_epoch=32))
        patch.setattr(adapting, "_agrees", lambda *given: True)
        yield


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("zero")


@pytest.fixture(scope="module")
def readings(out):
    return read(out)


def test_the_font_of_the_generated_captchas_is_left_out():
    assert STYLE.fonts == free_fonts()
    assert DEJAVU not in STYLE.fonts
    assert DEJAVU in style_for(CAPTCHAS.replace(source="kaggle")).fonts


def test_the_style_has_the_size_characters_and_lengths_of_the_pictures():
    mine = in_memory(["ab", "cabc"], torch.zeros(2, 1, 40, 160, dtype=torch.uint8), "mine")
    style = style_for(mine)
    assert (style.height, style.width, style.characters, style.length) == (40, 160, "abc", (2, 4))
    style = style_for(mine, "abcd", (3, 3))
    assert (style.characters, style.length) == ("abcd", (3, 3))
    kaggle = in_memory(["bcde2345678gfynmnpwx"], torch.zeros(1, 1, 50, 200, dtype=torch.uint8), "kaggle")
    assert style_for(kaggle).characters == KAPTCHA.characters, "with Kaptcha's frequencies"


def test_every_kind_and_seed_reads_every_picture(readings):
    counts = readings.groupby(["kind", "seed"]).size().to_dict()
    assert counts == {("pure", 0): N, ("pure", 1): N, ("adapted", 0): N, ("adapted", 1): N, ("control", 0): N}
    assert readings["text"].str.len().eq(5).all()
    assert readings["label"].tolist() == CAPTCHAS.labels * 5


def test_labels_have_no_part_in_the_training(out, readings, tmp_path):
    """All labels taken away: the same weights, bit for bit, and the same texts."""
    nameless = CAPTCHAS.replace(manifest=CAPTCHAS.manifest.assign(label="", file="x.png", sha256=""), paths=[])
    assert read(tmp_path, nameless)["text"].tolist() == readings["text"].tolist()
    weights = sorted(path.name for path in out.glob("*.pth"))
    assert weights == ["seed-0-adapted.pth", "seed-0-pure.pth", "seed-1-adapted.pth", "seed-1-pure.pth"]
    for name in weights:
        ours, theirs = (TorchReader.load(folder / name).model.state_dict() for folder in (out, tmp_path))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_training_gets_pictures_and_no_labels(monkeypatch, tmp_path):
    handed = []
    monkeypatch.setattr(zero, "run_jobs", lambda out, work, *rest: handed.extend(work.values()) or {})
    with pytest.raises(ValueError, match="No objects to concatenate"):
        read(tmp_path)
    for function, arguments, _ in handed:
        assert function.__module__ == "studies.zero"
        assert {type(argument) for argument in arguments} <= {torch.Tensor, type(STYLE), int, Recipe, type(tmp_path)}


def test_other_pictures_are_another_run(out, readings):
    with pytest.raises(InputError, match=r"another run \(images"):
        read(out, generated_captchas(N, 4))


def test_few_pictures_are_refused_before_anything_is_learnt(tmp_path):
    with pytest.raises(InputError, match="19 pictures are too few to learn from; give 20 or more"):
        read(tmp_path, CAPTCHAS.rows(slice(19)))
    assert not [*tmp_path.iterdir()]


def test_each_step_moves_the_weights(out, readings):
    """Another seed, scrambled texts, and adapting."""
    pure, other = (TorchReader.load(out / f"seed-{seed}-pure.pth") for seed in (0, 1))
    scrambled = learn(STYLE, 0, RECIPE, scrambled=True)
    adapted = TorchReader.load(out / "seed-0-adapted.pth")
    states = [reader.model.state_dict() for reader in (pure, other, scrambled, adapted)]
    for one, two in combinations(states, 2):
        assert any(not torch.equal(one[key], two[key]) for key in one)
    again = learn(STYLE, 0, RECIPE).model.state_dict()
    assert all(torch.equal(states[0][key], again[key]) for key in again)


def test_figures_by_hand():
    rows = [("pure", 0, "ab", "ab"), ("pure", 0, "cd", "cx"), ("pure", 1, "ab", "ab"), ("pure", 1, "cd", "cd")]
    rows += [("control", 0, "ab", "zz"), ("control", 0, "cd", "zz")]
    table = pd.DataFrame(rows, columns=["kind", "seed", "label", "text"]).assign(
        best_path="ab", seconds=[4, 4, 6, 6, 1, 1]
    )
    figures = summarise(table)
    pure = figures["pure"]
    assert (pure["n"], pure["seeds"], pure["exact_by_seed"]) == (2, 2, [1, 2])
    assert pure["exact_mean"] == 0.75
    assert pure["exact_std"] == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert pure["exact_by_seed_best_path"] == [1, 1]
    assert (pure["exact_low"], pure["exact_high"]) == clustered_interval([[1, 0], [1, 1]])
    assert pure["train_seconds_median"] == 5
    assert figures["control"]["exact_mean"] == 0
    assert figures["control"]["exact_std"] is None
