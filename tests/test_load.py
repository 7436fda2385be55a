import hashlib
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.data import load as data
from captcha_lib.data.folders import find_images
from captcha_lib.data.images import decode_image
from captcha_lib.data.labels import LabelRule
from captcha_lib.data.load import load_data
from captcha_lib.generator.draw import generate_captchas

GREY = np.arange(0, 240, 0.5).astype(np.uint8).reshape(16, 30)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def refused(choice, *says: str, alphabet: Alphabet | None = None) -> None:
    """Expects one line that holds all of `says`."""
    with pytest.raises(InputError) as error:
        load_data(str(choice), alphabet)
    assert all(part in str(error.value) for part in says), error.value
    assert "\n" not in str(error.value)


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return target


# What is found


def test_a_folder(folder, drawn):
    captchas = load_data(str(folder))
    pictures = dict(zip(*drawn, strict=True))
    assert list(captchas.manifest.columns) == ["file", "label", "sha256", "width", "height", "subset"]
    assert captchas.labels == sorted(pictures)
    assert torch.equal(captchas.images, torch.stack([pictures[label] for label in captchas.labels]))
    assert captchas.images.dtype == torch.uint8
    assert captchas.notes == []
    for row, path in zip(captchas.manifest.itertuples(), captchas.paths, strict=True):
        assert row.file == f"{row.label}.png" == path.name
        assert row.sha256 == hashlib.sha256((folder / row.file).read_bytes()).hexdigest()
        assert (row.width, row.height, row.subset) == (200, 50, "")


def test_suffixes_in_any_case_and_nothing_else(tmp_path):
    for i, name in enumerate(["a.png", "b.PNG", "c.jpg", "d.JPG", "e.jpeg", "f.Jpeg", "g.gif", "h.webp", "i.BMP"]):
        Image.new("L", (60, 24), 20 * i).save(tmp_path / name)
    for name in ["g.txt", "h.pdf", "._i.png", "png", "__MACOSX/j.png", ".hidden/k.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    assert load_data(str(tmp_path)).labels == list("abcdefghi")


def test_own_files_come_before_those_of_folders(tmp_path):
    for name in ["b/a.png", "a/z.png", "c.png", "a/deeper/b.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["c.png", "a/z.png", "a/deeper/b.png", "b/a.png"]


def test_kaggle(folder, tmp_path, monkeypatch):
    """Kaggle packs each image twice, in samples/ and in samples/samples/; every picture is kept once."""
    shutil.copytree(folder, tmp_path / "archive" / "samples")
    shutil.copytree(folder, tmp_path / "archive" / "samples" / "samples")
    answers = {"fournierp/captcha-version-2-images": str(tmp_path / "archive")}
    monkeypatch.setattr("kagglehub.dataset_download", answers.__getitem__)
    captchas = load_data("kaggle")
    assert captchas.source == "kaggle"
    assert captchas.manifest.equals(load_data(str(folder)).manifest)
    assert len(captchas.images) == len(captchas.paths) == 24
    assert [note.partition(" (")[0] for note in captchas.notes] == ["copies of the same picture left out: 24"]


@pytest.mark.parametrize("error", [RuntimeError("no network\nand more"), KeyError(), OSError("")])
def test_a_download_that_fails(monkeypatch, error):
    def fail(handle):
        raise error

    monkeypatch.setattr("kagglehub.dataset_download", fail)
    refused("kaggle", "kaggle: the download failed")


@pytest.mark.parametrize("inside", ["", "deep/er/"])
def test_a_zip(folder, tmp_path, inside):
    shutil.copytree(folder, tmp_path / "folder" / inside, dirs_exist_ok=True)
    captchas = load_data(str(zipped(tmp_path / "folder", tmp_path / "images.zip")))
    of_folder = load_data(str(folder))
    assert captchas.source == "images.zip"
    assert captchas.manifest.equals(of_folder.manifest)
    assert torch.equal(captchas.images, of_folder.images)


def test_generated_is_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "generated_dir", lambda: tmp_path / "generated")
    monkeypatch.setattr(data, "GENERATED_COUNT", 5)
    captchas = load_data("generated")
    assert captchas.source == "generated"
    assert sorted(captchas.labels) == sorted(generate_captchas(5, seed=0)[0])
    captchas.paths[0].unlink()
    assert len(load_data("generated")) == 4


def test_captcha_data_chooses_where_nothing_is_said(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTCHA_DATA", str(folder))
    assert load_data().source == folder.name
    Image.new("L", (60, 24)).save(tmp_path / "abc.png")
    assert load_data(str(tmp_path)).labels == ["abc"]


# Labels


@pytest.mark.parametrize("name", ["2b827.png", "2b827.v2.png", "2b827..jpg"])
def test_a_label_ends_at_the_first_dot_where_that_is_asked_for(tmp_path, name):
    Image.new("L", (60, 24)).save(tmp_path / name)
    assert load_data(str(tmp_path), rule=LabelRule("name")).labels == ["2b827"]
    if name != "2b827.png":
        refused(tmp_path, "is its label '2b827' or '2b827.")


def test_labels_csv(own_folder):
    files = sorted(path.name for path in own_folder.iterdir())
    labels = ["NA", *(f"{i:03}" for i in range(1, 24))]  # texts, neither numbers nor a missing value
    lines = [f"{file},{label}" for file, label in zip(files, labels, strict=True)]
    (own_folder / "labels.csv").write_text("\n".join(["file,label", *reversed(lines)]))
    captchas = load_data(str(own_folder))
    assert captchas.manifest["file"].tolist() == files
    assert captchas.labels == labels
    assert load_data(str(zipped(own_folder, own_folder.with_suffix(".zip")))).labels == labels


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("file,label\n1.png,a\nsub/3.png,c\n", "2.png: labels.csv has no row"),
        ("file,label\n1.png,a\n2.png,b\n3.png,c\n4.png,c\n", "'4.png' is not beside it"),
        ("file,label\n1.png,a\n2.png,b\n3.png,c\n1.png,d\n", "'1.png' has a duplicate entry"),
        ("file,colour,size\n1.png,a,b\n2.png,b,c\n", "the column 'label' is missing"),
        ("file,label\n1.png,a\n2.png,\n3.png,c\n", "2.png: the label is empty"),
        ("", "cannot be read as a table"),
        ("file,label\n1.png,a\n3.png,c\n2.png,b,c\n", "row 4: it cannot be read as 2 cells"),
        ("file,label\n7.png,a\n", "none of its rows is an image here"),
        ("file,label\n1.png,\xff\n", "cannot be read as a table"),
    ],
)
def test_a_wrong_labels_csv(tmp_path, table, says):
    for i, name in enumerate(["1.png", "2.png", "sub/3.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (60, 24), 30 * i).save(tmp_path / name)
    (tmp_path / "labels.csv").write_bytes(table.encode("latin-1"))
    refused(tmp_path, says)


def test_an_empty_label_and_a_character_outside_the_alphabet(own_folder):
    Image.new("L", (200, 50)).save(own_folder / "2b8Z7.png")
    refused(own_folder, "2b8Z7.png", "'Z' is not in the alphabet", alphabet=Alphabet("2345678bcdefgmnpwxy"))
    assert len(load_data(str(own_folder))) == 25
    Image.new("L", (200, 50), 9).save(own_folder / ".png", "PNG")
    refused(own_folder, ".png: the label is empty")


def test_one_picture_under_two_labels(own_folder):
    one = min(own_folder.iterdir())
    (own_folder / "again").mkdir()
    shutil.copy(one, own_folder / "again" / "wrong.png")
    refused(own_folder, f"'{one.stem}' ({one.name})", "'wrong' (again/wrong.png)")


# Pixels


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "CMYK", "I;16"])
def test_modes(mode):
    image = Image.fromarray(GREY)
    if mode == "I;16":
        image = Image.fromarray(GREY.astype(np.uint16) * 257)
    elif mode == "P":
        image = Image.fromarray(255 - GREY)
        image.putpalette([255 - i for i in range(256) for _ in range(3)])  # makes it a "P" image
    else:
        image = image.convert(mode)
    assert image.mode == mode
    raw = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    assert np.abs(decode_image(raw, "x").astype(int) - GREY).max() <= (9 if mode == "CMYK" else 1)


def test_a_transparent_palette_colour_is_white():
    image = Image.new("P", (20, 12), 0)
    image.putpalette([0, 0, 0, 100, 100, 100])
    image.paste(1, (0, 0, 10, 12))
    pixels = decode_image(encoded(image, transparency=0), "x")
    assert (pixels[:, :10] == 100).all()
    assert (pixels[:, 10:] == 255).all()


@given(st.integers(0, 10**6), st.sampled_from(["PNG", "JPEG"]))
def test_a_cut_off_image_is_never_read_as_another(cut, kind):
    raw = encoded(Image.fromarray(GREY), kind)
    whole = decode_image(raw, "x")
    try:
        pixels = decode_image(raw[: cut % len(raw)], "x.png")
    except InputError as error:
        assert str(error).startswith("x.png: ")
    else:
        assert (pixels == whole).all()


def test_odd_sizes_are_resized_and_said_so(own_folder):
    odd = Image.new("L", (100, 25), 77)
    odd.save(own_folder / "zzzzz.png")
    captchas = load_data(str(own_folder))
    assert captchas.images.shape == (25, 1, 50, 200)
    assert (captchas.images[-1] == 77).all()
    assert captchas.manifest[["width", "height"]].iloc[-1].tolist() == [100, 25]
    assert captchas.notes == ["1 of 25 images had another size and were resized to 200 x 50 px."]
    assert captchas.notes[0] in captchas.summary()


# Where nothing can be read


def test_no_images(tmp_path):
    (tmp_path / "text.txt").touch()
    refused(tmp_path, "no images there")
    refused(zipped(tmp_path, tmp_path / "images.zip"), "no images there")


@pytest.mark.parametrize("choice", ["", "nowhere", "Generated", "~no-such-user/images", "x" * 300, "a\0b"])
def test_a_bad_choice(choice, monkeypatch):
    refused(choice, "give 'generated', 'kaggle' or a path")
    if choice and "\0" not in choice:  # an empty variable counts as none
        monkeypatch.setenv("CAPTCHA_DATA", choice)
        with pytest.raises(InputError, match="give 'generated', 'kaggle' or a path"):
            load_data()


def test_a_locked_zip_and_a_file_that_is_no_zip(folder, tmp_path):
    refused(min(folder.iterdir()), "not a zip")
    archive = zipped(folder, tmp_path / "images.zip")
    entry = b"PK\x01\x02\x14\x03\x14\x00"
    archive.write_bytes(archive.read_bytes().replace(entry + b"\x00", entry + b"\x01"))  # sets the flag "encrypted"
    refused(archive, "encrypted")


def test_a_zip_with_one_name_twice(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for path in sorted(folder.iterdir())[:2]:
            archive.write(path, "ab.png")
    refused(tmp_path / "images.zip", "2 files in it are called 'ab.png'")
