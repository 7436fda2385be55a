"""Folders as people have them, through the commands that they give."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont

from captcha_lib import InputError, load_data, read, split_captchas, train
from captcha_lib.commands.main import main
from captcha_lib.data.labels import LabelRule
from captcha_lib.generator.draw import generate_captchas

TEXTS, IMAGES = generate_captchas(40, 8)


@pytest.fixture
def own(tmp_path):
    """A folder of forty captchas, named by their texts."""
    place = tmp_path / "own"
    place.mkdir()
    for text, image in zip(TEXTS, IMAGES, strict=True):
        Image.fromarray(image[0].numpy()).save(place / f"{text}.png")
    return place


def moved(own, folders: dict[str, slice]) -> None:
    for name, part in folders.items():
        (own / name).mkdir()
        for text in TEXTS[part]:
            (own / f"{text}.png").rename(own / name / f"{text}.png")


# Splits


NAMES = ["train valid test", "Training VALIDATION Testing", "TRAIN dev test", "train eval test"]


@pytest.mark.parametrize("names", NAMES)
def test_the_folders_are_the_split(own, names):
    moved(own, dict(zip(names.split(), (slice(0, 20), slice(20, 30), slice(30, 40)), strict=True)))
    captchas = split_captchas(load_data(str(own)))
    assert {name: sorted(captchas.subset(name).labels) for name in ("train", "val", "test")} == {
        "train": sorted(TEXTS[:20]), "val": sorted(TEXTS[20:30]), "test": sorted(TEXTS[30:]),
    }  # fmt: skip


def test_without_validation_images_some_are_drawn_from_the_training_ones(own):
    moved(own, {"train": slice(0, 30), "test": slice(30, 40)})
    captchas = split_captchas(load_data(str(own)))
    assert sorted(captchas.subset("test").labels) == sorted(TEXTS[30:])
    assert len(captchas.subset("val")) >= 3
    assert set(captchas.subset("val").labels) | set(captchas.subset("train").labels) == set(TEXTS[:30])
    assert "validation drawn from train" in captchas.notes[-1]


def test_images_partly_outside_the_folders_are_no_split(own):
    moved(own, {"train": slice(0, 30), "test": slice(30, 38)})
    with pytest.raises(InputError, match="2 in all, lie in none of the folders train, val and test"):
        split_captchas(load_data(str(own)))


# Copies


def test_the_same_pictures_in_another_format_are_kept_once(own):
    for text in TEXTS:
        Image.open(own / f"{text}.png").save(own / f"{text}.bmp")
        Image.open(own / f"{text}.png").save(own / f"{text}.jpg", quality=80)
    captchas = load_data(str(own))
    assert sorted(captchas.labels) == sorted(TEXTS)
    assert [note.partition(" (")[0] for note in captchas.notes] == [
        "copies of the same picture left out: 40", "nearly equal pictures left out: 40",
    ]  # fmt: skip


def test_other_pictures_of_one_text_are_no_copies(tmp_path):
    for i, image in enumerate(IMAGES[:12]):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"same_{i}.png")
    captchas = load_data(str(tmp_path), rule=LabelRule("(.+)_[0-9]+"))
    assert captchas.labels == ["same"] * 12


# Small pictures


def test_tiny_pictures_are_learnt_and_read(tmp_path):
    """40 x 11 px, in which a person reads four digits."""
    folder, rng = tmp_path / "tiny", np.random.default_rng(0)
    folder.mkdir()
    for label in rng.choice(10_000, 60, replace=False):
        image = Image.new("L", (40, 11), int(rng.integers(200, 256)))
        ImageDraw.Draw(image).text((2 + rng.integers(3), -1), f"{label:04d}", 0, ImageFont.load_default(12))
        image.save(folder / f"{label:04d}.bmp")
    result = train(folder, tmp_path / "out", report=lambda line: None, epochs=4)
    assert result.reader.sizes == ((11, 40), (11, 40))
    assert result.score["cer"] < 0.3
    assert len(read(sorted(folder.iterdir())[:3], tmp_path / "out" / "weight.pth")[0].text) == 4
    with pytest.raises(InputError, match="30 x 7 px"):
        read(np.zeros((7, 30), np.uint8))


# All faults at once


def spoilt(own) -> list[str]:
    """Three faulty files, one of them a dispute of two; the names of all."""
    names = [f"{text}.png" for text in sorted(TEXTS)]
    (own / names[0]).write_bytes((own / names[0]).read_bytes()[:800])
    (own / names[1]).write_text("no image")
    (own / "other.png").write_bytes((own / names[2]).read_bytes())
    (own / "notes.md").write_text("a note")
    return [*names[:3], "other.png"]


def test_check_says_all_and_writes_a_page(own, tmp_path, capsys):
    names = spoilt(own)
    assert main(["check", str(own), "--out", str(tmp_path / "page.html")]) == 1
    said, page = capsys.readouterr().out, (tmp_path / "page.html").read_text()
    assert "bad files: 2" in said
    assert "pictures with different labels: 2" in said
    assert "other files left out, .md: 1" in said
    assert "4 files cannot be learnt as they are" in said
    assert all(name in said and name in page for name in names)
    assert page.count("<img") == 2  # of the disputed ones; the others are no pictures


def test_check_of_sound_images(own, tmp_path, capsys):
    assert main(["check", str(own), "--out", str(tmp_path / "page.html")]) == 0
    said = capsys.readouterr().out
    assert f"own, 40 images of 200 x 50 px.\nlabels: {min(TEXTS)}.png is {min(TEXTS)!r}" in said
    assert "split in folders: none; it would be drawn" in said
    assert not (tmp_path / "page.html").exists()


def test_faulty_files_are_all_named_or_skipped_and_listed(own, tmp_path, capsys):
    names = spoilt(own)
    words = ["train", "--data", str(own), "--epochs", "1", "--threads", "1", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert all(name in capsys.readouterr().err for name in names[:1])
    assert main([*words, "--skip-bad"]) == 0
    assert "4 files left out, see skipped.csv." in capsys.readouterr().out
    skipped = pd.read_csv(tmp_path / "out" / "skipped.csv")
    assert sorted(skipped["file"]) == sorted(names)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]["n"] >= 3


# Characters that count as one


def test_same_characters_are_one_class(tmp_path, capsys):
    for i, text in enumerate(("0Oil", "oO01", "Il1O", "lI0o", "1O0I", "O1l0")):
        Image.fromarray(IMAGES[i, 0].numpy()).save(tmp_path / f"{text}.png")
    assert main(["check", str(tmp_path), "--same", "0Oo", "--same", "1Ili"]) == 0
    assert "4 to 4 of 2 characters: 01\n" in capsys.readouterr().out
    assert main(["check", str(tmp_path), "--same", "0"]) == 2
    assert "--same '0': give two characters or more" in capsys.readouterr().err
    assert main(["check", str(tmp_path), "--same", "0O", "--same", "OQ"]) == 2
    assert "--same: 'O' is in two groups; make them one" in capsys.readouterr().err
