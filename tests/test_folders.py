"""Which files of a folder or a zip are images, and what they are called: the content decides, not the name."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from captcha_lib.config import InputError
from captcha_lib.data.folders import find_images, open_zip, read_bytes, relative_name
from captcha_lib.data.images import decode_image

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 60), dtype=np.uint8)


def saved(kind: str) -> bytes:
    raw = io.BytesIO()
    Image.fromarray(PIXELS).save(raw, kind)
    return raw.getvalue()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jfif", "JPEG"), ("a.JPE", "JPEG"), ("a.tif", "TIFF"), ("a.TIFF", "TIFF"), ("a.dib", "DIB"),
        ("a.pgm", "PPM"), ("a", "PNG"), ("a", "JPEG"), ("a", "WEBP"), ("a", "GIF"), ("a", "BMP"), ("a", "TIFF"),
        ("a.php", "PNG"),
        ("a.png_", "PNG"), ("a.png", "JPEG"), ("a.jpg", "PNG"), ("a.gif", "BMP"), ("a.php@id=7", "JPEG"),
    ],
)  # fmt: skip
def test_an_image_under_any_name(tmp_path, name, kind):
    (tmp_path / name).write_bytes(saved(kind))
    (found,) = find_images(tmp_path)
    assert np.abs(decode_image(read_bytes(found, name), name).astype(int) - PIXELS).mean() < 8


def test_other_files_are_named_and_not_images(tmp_path):
    for name in ("labels.csv", "README", "script.php", ".DS_Store", ".hidden", "._a.png", "film.mp4", "none.heic"):
        (tmp_path / name).write_bytes(b"GI" if name == "film.mp4" else b"something else than an image")
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    others: list = []
    assert [file.name for file in find_images(tmp_path, others)] == ["a.png"]
    assert {file.name for file in others} > {"labels.csv", "README", "script.php", "film.mp4", "none.heic"}


def zip_of(names: list[bytes], path, utf8: bool = False) -> None:
    """A zip whose names are these bytes, as other systems write them: with no word of their encoding."""
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            archive.writestr(f"{i:04}".ljust(len(name), "x"), saved("PNG"))
    raw = path.read_bytes()
    for i, name in enumerate(names):
        raw = raw.replace(f"{i:04}".ljust(len(name), "x").encode(), name)
    path.write_bytes(raw)


NAMES = {
    "backslashes": (["captchas\\24ney.png", "captchas\\train\\abc.png"], "ascii"),
    "cp866": (["ж6м56.png", "дртвг.png", "капчи/л86жв.png"], "cp866"),
    "cp866 in a folder": (["captchas\\дртвг.png", "captchas\\a1b2.png"], "cp866"),
    "gbk": (["电弓圾睫.png", "captchas\\获患飞还.png", "憨惑芥甲.png"], "gbk"),
    "gbk beyond gb2312": (["朣朤電車.png", "電弓.png"], "gbk"),
    "utf-8 without a flag": (["дртвг.png", "电弓.png", "é.png"], "utf-8"),
    "cp437": (["münch.png", "café.png"], "cp437"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_zip_of_another_system(kind, tmp_path):
    names, encoding = NAMES[kind]
    zip_of([name.encode(encoding) for name in names], tmp_path / "a.zip")
    root = open_zip(tmp_path / "a.zip", "a.zip")
    found = {relative_name(file, root): read_bytes(file, "x") for file in find_images(root)}
    assert found == dict.fromkeys((name.replace("\\", "/") for name in names), saved("PNG"))


def test_a_zip_that_says_utf8(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("дртвг.png", saved("PNG"))
    root = open_zip(tmp_path / "a.zip", "a.zip")
    assert [relative_name(file, root) for file in find_images(root)] == ["дртвг.png"]


@pytest.mark.parametrize("names", [[b"\xb0\xc4\xfe.png"], ["дртвг.png".encode("cp866"), "电弓.png".encode("gbk")]])
def test_an_unknown_encoding_is_refused(names, tmp_path):
    zip_of(names, tmp_path / "a.zip")
    with pytest.raises(InputError, match="UTF-8"):
        open_zip(tmp_path / "a.zip", "a.zip")


@pytest.mark.parametrize("name", [b"..\\a.png", b"\\a.png", b"a\\..\\b.png"])
def test_backslashes_lead_nowhere_else(name, tmp_path):
    zip_of([name], tmp_path / "a.zip")
    with pytest.raises(InputError, match="not a valid path"):
        open_zip(tmp_path / "a.zip", "a.zip")
