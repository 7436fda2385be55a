import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captcha_lib import config
from captcha_lib.config import InputError
from captcha_lib.data import load as data
from captcha_lib.data import split
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.load import load_data
from captcha_lib.data.split import (
    COLUMNS,
    apply_split,
    draw_split,
    read_split,
    split_captchas,
    write_layout,
    write_split,
)

SUBSETS = ["train", "val", "test"]
seeds = st.integers(0, 2**32)


def subset_of(captchas: Captchas) -> dict[str, str]:
    return dict(zip(captchas.manifest["file"], captchas.manifest["subset"], strict=True))


def drawn_split(captchas: Captchas, seed: int) -> dict[str, str]:
    return dict(zip(captchas.manifest["file"], draw_split(len(captchas), seed), strict=True))


# The draw


@given(st.integers(3, 3000), seeds)
def test_a_draw_is_complete(n, seed):
    """Every image has one subset, so the three are disjoint; an eighth each is for validation and test."""
    subsets = draw_split(n, seed)
    counts = Counter(subsets)
    assert len(subsets) == n
    assert set(counts) == set(SUBSETS)
    for name in ("val", "test"):
        assert counts[name] == 1 if n < 8 else abs(counts[name] - n / 8) <= 0.5


def test_seeds_draw_differently_and_every_image_can_get_every_subset():
    draws = [draw_split(10, seed) for seed in range(200)]
    assert all(set(of_one_image) == set(SUBSETS) for of_one_image in zip(*draws, strict=True))
    assert len({tuple(draw_split(40, seed)) for seed in range(20)}) == 20


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_images(n):
    with pytest.raises(InputError, match=f"{n} images cannot be split in three"):
        draw_split(n, 0)


# The official splits


@pytest.mark.parametrize("name", ["generated", "kaggle"])
def test_official_splits_are_the_draw_of_seed_0(name):
    table = read_split(config.SPLITS_DIR / f"{name}.csv")
    assert list(table.columns) == COLUMNS
    assert Counter(table["subset"]) == {"train": 802, "val": 134, "test": 134}
    assert table["sha256"].is_unique
    in_order = table.sort_values("file")
    assert in_order["subset"].tolist() == draw_split(1070, 0)


def test_the_generated_set_has_an_official_split(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "generated_dir", lambda: tmp_path / "generated")
    captchas = split_captchas(load_data("generated"))
    assert captchas.notes == ["split: the official one, generated, 802 / 134 / 134 for train / val / test."]
    table = read_split(config.SPLITS_DIR / "generated.csv")
    assert subset_of(captchas) == dict(zip(table["file"], table["subset"], strict=True))


# A split is a CSV or a layout


@settings(max_examples=10)
@given(seed=seeds)
def test_csv_round_trip(folder, tmp_path_factory, seed):
    captchas = split_captchas(load_data(str(folder)), seed=seed)
    csv = tmp_path_factory.mktemp("split") / "split.csv"
    write_split(captchas.manifest, csv)
    table = read_split(csv)
    assert table.equals(captchas.manifest[COLUMNS])
    shuffled = table.sample(frac=1, random_state=0)
    assert apply_split(captchas.manifest, shuffled, "x").tolist() == captchas.manifest["subset"].tolist()


def test_a_csv_may_know_more_images_than_there_are(own_folder, tmp_path):
    captchas = split_captchas(load_data(str(own_folder)), seed=1)
    write_split(captchas.manifest, tmp_path / "split.csv")
    first = captchas.subset("train").paths[0]
    first.unlink()
    expected = subset_of(captchas)
    del expected[first.name]
    assert subset_of(split_captchas(load_data(str(own_folder)), tmp_path / "split.csv")) == expected


def test_layout_of_a_zip_with_labels_and_double_names(folder, tmp_path):
    """Two files of one name in two folders, with labels from a CSV: a layout has to hold both, each with its label."""
    source, paths = tmp_path / "source", sorted(folder.iterdir())[:6]
    for name, of_folder in ("a", paths[::2]), ("b", paths[1::2]):
        (source / name).mkdir(parents=True)
        for i, path in enumerate(of_folder):
            shutil.copy(path, source / name / f"{i}.png")
        rows = "".join(f"{i}.png,{path.stem}\n" for i, path in enumerate(of_folder))
        (source / name / "labels.csv").write_text("file,label\n" + rows)
    archive = Path(shutil.make_archive(str(source), "zip", source))
    captchas = split_captchas(load_data(str(archive)), seed=0)
    write_layout(captchas, tmp_path / "layout")
    again = split_captchas(load_data(str(tmp_path / "layout")))
    assert sorted(again.labels) == [path.stem for path in paths]
    ours, theirs = (sorted(map(tuple, c.manifest[["sha256", "label", "subset"]].to_numpy())) for c in (captchas, again))
    assert ours == theirs


def test_a_layout_is_written_whole_or_not_at_all(own_folder, tmp_path):
    captchas = split_captchas(load_data(str(own_folder)), seed=1)
    captchas.subset("test").paths[-1].unlink()
    with pytest.raises(InputError):
        write_layout(captchas, tmp_path / "layout")
    assert [path.name for path in tmp_path.iterdir()] == [own_folder.name]


# Which split is taken


@pytest.fixture
def layout(folder, tmp_path) -> Captchas:
    """The 24 images in folders drawn with seed 3."""
    write_layout(split_captchas(load_data(str(folder)), seed=3), tmp_path / "layout")
    return load_data(str(tmp_path / "layout"))


@pytest.fixture
def official(folder, tmp_path, monkeypatch) -> None:
    """An official split of the 24 images, drawn with seed 5, beside one of other images."""
    captchas = split_captchas(load_data(str(folder)), seed=5)
    write_split(captchas.manifest, tmp_path / "splits" / "ours.csv")
    write_split(captchas.manifest.iloc[:9], tmp_path / "splits" / "another.csv")
    monkeypatch.setattr(split, "SPLITS_DIR", tmp_path / "splits")


@pytest.fixture
def csv(folder, tmp_path) -> Path:
    """A split of the 24 images, drawn with seed 7."""
    write_split(split_captchas(load_data(str(folder)), seed=7).manifest, tmp_path / "split.csv")
    return tmp_path / "split.csv"


def test_the_order_in_which_a_split_is_chosen(folder, layout, official, csv):
    """What is asked for, the folders, the seed that is asked for, the official split."""
    loaded = load_data(str(folder))
    for seed in (None, 9):
        assert subset_of(split_captchas(layout, csv, seed)) == drawn_split(loaded, 7)
        assert subset_of(split_captchas(layout, "official", seed)) == drawn_split(loaded, 5)
        by_folders = split_captchas(layout, seed=seed)
        assert subset_of(by_folders) == drawn_split(loaded, 3)
        assert "the folders train, val and test" in by_folders.notes[-1]
    for seed in (0, 9):
        captchas = split_captchas(loaded, seed=seed)
        assert subset_of(captchas) == drawn_split(loaded, seed)
        assert f"drawn with seed {seed}" in captchas.notes[-1]
    assert subset_of(split_captchas(loaded)) == drawn_split(loaded, 5)


def test_the_official_images_are_known_under_any_names(own_folder, official):
    """Fault 9: what files were called decided which split they got, and how they were trained on."""
    labels = {}
    for i, path in enumerate(sorted(own_folder.iterdir())):
        labels[f"{i}.png"] = path.stem
        path.rename(own_folder / f"{i}.png")
    rows = "".join(f"{file},{label}\n" for file, label in labels.items())
    (own_folder / "labels.csv").write_text("file,label\n" + rows)
    captchas = split_captchas(load_data(str(own_folder)))
    assert split.is_official(captchas)
    in_order = [subset_of(captchas)[f"{i}.png"] for i in range(24)]
    assert in_order == draw_split(24, 5)
    assert "the official one, ours" in captchas.notes[-1]


def test_other_images_and_labels_are_not_official_whatever_they_are_called(own_folder, official):
    first = min(own_folder.iterdir())
    relabelled = first.rename(own_folder / "bbbbb.png")
    assert not split.is_official(load_data(str(own_folder)))
    relabelled.rename(first)
    assert split.is_official(load_data(str(own_folder)))
    for path in own_folder.iterdir():
        path.write_bytes(path.read_bytes() + b" ")
    captchas = split_captchas(load_data(str(own_folder)))
    assert not split.is_official(captchas)
    assert "drawn with seed 0" in captchas.notes[-1]
    refused(load_data(str(own_folder)), "official", "no official split")


def test_then_the_draw_of_seed_0(folder):
    loaded = load_data(str(folder))
    captchas = split_captchas(loaded)
    assert subset_of(captchas) == drawn_split(loaded, 0)
    assert captchas.notes == ["split: drawn with seed 0, 18 / 3 / 3 for train / val / test."]
    assert (set(loaded.manifest["subset"]), loaded.notes) == ({""}, []), "what was loaded is left as it was"


# Where there is no split


def refused(captchas: Captchas, wanted, *says: str) -> None:
    with pytest.raises(InputError) as error:
        split_captchas(captchas, wanted)
    assert all(part in str(error.value) for part in says), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read"),
        ("", "cannot be read"),
        ("file,label,subset\n", "the column 'sha256' is missing"),
        ("file,label,sha256,subset\na,a,0,train\na,a,0,val\n", "a duplicate file"),
        ("file,label,sha256,subset\na,a,0,dev\n", "unknown subset 'dev'"),
        ("file,label,sha256,subset\na,a,0\n", "unknown subset ''"),
        ("file,label,sha256,subset\na,a,0,val\na,a,0,val,x\n", "cannot be read"),
        ("file,label,sha256,subset\n\xff,a,0,val\n", "cannot be read"),
        ("file,label,sha256,subset\na.png,a,0,train\n", "with this label"),
    ],
)
def test_a_wrong_csv(folder, tmp_path, text, says):
    if text is not None:
        (tmp_path / "wrong.csv").write_bytes(text.encode("latin-1"))
    refused(load_data(str(folder)), tmp_path / "wrong.csv", "wrong.csv", says)


@pytest.mark.parametrize("empty", SUBSETS)
def test_a_csv_of_other_labels_or_with_an_empty_subset(folder, csv, empty):
    captchas, table = load_data(str(folder)), pd.read_csv(csv, dtype=str)
    table.assign(subset=table["subset"].replace(empty, SUBSETS[SUBSETS.index(empty) - 1])).to_csv(csv, index=False)
    refused(captchas, csv, f"leaves {empty} empty")
    table.loc[4, "label"] = "wrong"
    table.to_csv(csv, index=False)
    refused(captchas, csv, repr(table["file"][4]), "with this label")


def test_a_layout_loses_no_file_to_another(folder, tmp_path):
    files = sorted(folder.iterdir())
    (tmp_path / "own" / "a").mkdir(parents=True)
    shutil.copy(files[0], tmp_path / "own" / "a" / "b.png")
    shutil.copy(files[1], tmp_path / "own" / "a_b.png")
    captchas = load_data(str(tmp_path / "own"))
    manifest = captchas.manifest.assign(file=["a_b.png", "a/b.png"], subset="train")
    with pytest.raises(InputError, match=r"a_b\.png: two files would get this name"):
        write_layout(captchas.replace(manifest=manifest), tmp_path / "layout")
    assert not (tmp_path / "layout").exists()


def test_what_has_been_split_stays_as_it_is(folder):
    split = split_captchas(load_data(str(folder)), "drawn", 5)
    assert split_captchas(split) is split
    assert split_captchas(split, seed=6).notes != split.notes
