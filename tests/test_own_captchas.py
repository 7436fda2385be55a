"""Sets of every kind through the commands, with no edit: loaded, planned, trained for a moment, read."""

import csv
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from captcha_lib import read
from captcha_lib.commands import main as cli
from captcha_lib.reading.torch_reader import TorchReader

COUNT = 16
KINDS = {  # size, mode, paper, ink, suffix, characters, shortest and longest text
    "digits": ((160, 60), "RGB", "white", "navy", "png", "0123456789", (4, 4)),
    "upper case": ((130, 50), "L", 255, 0, "jpg", "ABCDEFGHKLMN", (4, 6)),
    "both cases": ((198, 41), "RGB", "lavender", "green", "webp", "AaBbCcDd", (5, 5)),
    "symbols": ((127, 47), "P", 0, 1, "gif", "#&+=!@%", (3, 8)),
    "Cyrillic, light on dark": ((160, 60), "RGB", "black", "yellow", "bmp", "абвгдежй", (3, 5)),
    "Chinese, transparent": ((150, 52), "RGBA", (0, 0, 0, 0), (90, 0, 0, 255), "png", "天地人和", (2, 4)),
    "large": ((600, 200), "RGB", "white", "black", "jpeg", "abcdefgh", (4, 4)),
}


def draw_set(folder: Path, kind: str) -> list[str]:
    """Sixteen images named by their texts; on each a bar for a character stands in for its glyph."""
    size, mode, paper, ink, suffix, characters, (shortest, longest) = KINDS[kind]
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    texts: list[str] = []
    while len(texts) < COUNT:
        text = "".join(rng.choice(list(characters), rng.integers(shortest, longest + 1)))
        if text in texts:
            continue
        image = Image.new(mode, size, paper)
        if mode == "P":
            image.putpalette([255, 255, 255, 90, 0, 0])
        for i, character in enumerate(text):
            x, tall = 8 + i * (size[0] - 16) // longest, 6 + 4 * characters.index(character) % (size[1] - 20)
            ImageDraw.Draw(image).rectangle((x, size[1] - 6 - tall, x + 9, size[1] - 6), fill=ink)
        image.save(folder / f"{text}.{suffix}")
        texts.append(text)
    return texts


def run(*words) -> int:
    return cli.main([str(word) for word in words])


def train(data: Path, out: Path, *more) -> pd.Series:
    """Trains for one epoch, and returns the plan."""
    assert run("train", "--data", data, "--epochs", 1, "--start", "none", "--threads", 1, "--out", out, *more) == 0
    return pd.read_csv(out / "plan.csv", keep_default_na=False).set_index("what")["value"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_of_any_kind(kind, tmp_path, capsys):
    texts = draw_set(tmp_path / "mine", kind)
    plan = train(tmp_path / "mine", tmp_path / "run")
    shown = capsys.readouterr().out
    assert shown.index("time steps") < shown.index("epoch  1/1"), "the recipe comes before the training"
    characters = "".join(sorted(set().union(*texts)))
    lengths = sorted(set(map(len, texts)))
    assert plan["alphabet"] == f"{len(characters)}: {characters}"
    fixed = f"always {lengths[0]}"
    assert plan["length"] == (fixed if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]} characters")
    reader = TorchReader.load(tmp_path / "run" / "weight.pth")
    assert (reader.alphabet.characters, reader.length) == (characters, lengths[0] if len(lengths) == 1 else None)
    assert reader.image_size[1] >= 40 * lengths[-1]
    assert 48 <= reader.image_size[0] <= 62
    reading = read(min((tmp_path / "mine").iterdir()), tmp_path / "run" / "weight.pth")
    assert set(reading.text) <= set(characters)
    capsys.readouterr()
    assert run("predict", tmp_path / "mine", "--weights", tmp_path / "run" / "weight.pth", "--csv", "--threads", 1) == 0
    assert len(list(csv.reader(capsys.readouterr().out.splitlines()))) == COUNT + 1


def test_sizes_may_be_mixed(tmp_path, capsys):
    draw_set(tmp_path / "mine", "digits")
    path = min((tmp_path / "mine").iterdir())
    Image.open(path).resize((320, 120)).save(path)
    plan = train(tmp_path / "mine", tmp_path / "run")
    assert plan["size in the files"] == "160 x 60 px, and 1 more"
    assert "1 of 16 images had another size" in capsys.readouterr().out


def test_what_follows_from_the_data_can_be_overridden(tmp_path):
    draw_set(tmp_path / "mine", "digits")
    more = "--size", "240x48", "--alphabet", "0123456789abc", "--warps", "0.3"
    plan = train(tmp_path / "mine", tmp_path / "run", *more)
    assert plan["read at"] == "240 x 48 px"
    assert plan["alphabet"] == "13: 0123456789abc"
    assert plan["warps"] == "strength 0.3"
    assert TorchReader.load(tmp_path / "run" / "weight.pth").image_size == (48, 240)


@pytest.mark.parametrize("size", ["240", "240x", "ax9", "0x50"])
def test_a_size_that_is_none(size, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("train", "--size", size)
    assert "is not a size such as 200x50" in capsys.readouterr().err


def test_labels_wherever_they_stand(tmp_path):
    """The same images with their labels in the names, in numbered names, in folders, in a table, and in a zip."""
    texts = draw_set(tmp_path / "names", "digits")
    for name in ("numbered", "before", "folders", "table"):
        (tmp_path / name).mkdir()
    rows = ["file,label"]
    for i, text in enumerate(texts):
        image = tmp_path / "names" / f"{text}.png"
        shutil.copy(image, tmp_path / "numbered" / f"{text}_{i}.png")
        shutil.copy(image, tmp_path / "before" / f"{i}_{text}.png")
        (tmp_path / "folders" / text).mkdir()
        shutil.copy(image, tmp_path / "folders" / text / f"{i}.png")
        shutil.copy(image, tmp_path / "table" / f"{i}.png")
        rows.append(f"{i}.png,{text}")
    (tmp_path / "table" / "labels.csv").write_text("\n".join(rows))
    with zipfile.ZipFile(tmp_path / "names.zip", "w") as archive:
        for image in (tmp_path / "names").iterdir():
            archive.write(image, f"inside/{image.name}")
    ways = {"names": (), "numbered": ("(.+)_[0-9]+",), "before": ("[0-9]+_(.+)",), "folders": ("folder",)}
    for name, where in (ways | {"table": (), "names.zip": ()}).items():
        words = ["split", "--data", tmp_path / name, "--out", tmp_path / f"{name}.csv"]
        assert run(*words, *(["--labels-from", *where] if where else [])) == 0
        split = pd.read_csv(tmp_path / f"{name}.csv", dtype=str)
        assert sorted(split["label"]) == sorted(texts), name


def test_a_small_set_starts_from_the_general_weights(tmp_path, capsys):
    draw_set(tmp_path / "mine", "digits")
    words = "--data", tmp_path / "mine", "--epochs", 1, "--threads", 1, "--out", tmp_path / "run"
    assert run("train", *words) == 0
    assert re.search("initial weights +general, which knows 10 of 10 characters", capsys.readouterr().out)
