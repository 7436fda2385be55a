"""5,000 spoilt files: each is read, or refused in one line that names it; nothing hangs, grows or leaks out."""

import io
import os
import random
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageCms

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import CHECKOUT, InputError
from captcha_lib.data.folders import find_images, read_bytes
from captcha_lib.data.images import decode_image
from captcha_lib.data.labels import LabelRule
from captcha_lib.data.load import load_data
from captcha_lib.data.split import split_captchas, write_layout
from captcha_lib.generator.draw import generate_captchas

COUNT = 5000
SLOW, LARGE = 2.0, 1000.0  # s a file, MB in all

Chance = random.Random
Spoil = Callable[[Image.Image, Chance], tuple[str, bytes]]  # a picture -> a suffix and the bytes of a file


def saved(image: Image.Image, form: str, **options) -> bytes:
    raw = io.BytesIO()
    image.save(raw, form, **options)
    return raw.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def any_form(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    form = chance.choice(["PNG", "JPEG", "GIF", "WEBP", "BMP"])
    return form.lower(), saved(image, form)


def truncated(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    suffix, raw = any_form(image, chance)
    return suffix, raw[: chance.randrange(len(raw))]


def bits_flipped(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    suffix, raw = any_form(image, chance)
    flipped = bytearray(raw)
    for _ in range(chance.choice([1, 2, 5, 20, 200])):
        flipped[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return suffix, bytes(flipped)


def spliced(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    """The beginning of one form and the end of another."""
    suffix, raw = any_form(image, chance)
    _, other = any_form(image, chance)
    return suffix, raw[: chance.randrange(len(raw))] + other[chance.randrange(len(other)) :]


def of_another_ending(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    _, raw = any_form(image, chance)
    foreign = [b"%PDF-1.7\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print\n", b"<svg/>", b"GIF89a"]
    return chance.choice(["jpg", "PNG", "webp"]), chance.choice([raw, saved(image, "TIFF"), *foreign])


def zeros(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    suffix, raw = any_form(image, chance)
    head = raw[: chance.choice([0, 4, 33, 60])]
    return suffix, head + bytes(chance.choice([0, 1, 5000]))


def enormous(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    """A header that promises 50,000 x 50,000 px, or as many as the form can."""
    side = chance.choice([2100, 9400, 13000, 50_000])
    form = chance.choice(["PNG", "JPEG", "GIF", "WEBP", "BMP"])
    raw = bytearray(saved(image, form))
    if form == "PNG":
        raw[8:33] = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    else:
        place, order = {
            "JPEG": (raw.find(b"\xff\xc0") + 5, ">HH"),
            "GIF": (6, "<HH"),
            "WEBP": (raw.find(b"\x9d\x01\x2a") + 3, "<HH"),
            "BMP": (18, "<ii"),
        }[form]
        side = min(side, 16383) if form == "WEBP" else side
        struct.pack_into(order, raw, place, side, side)
    return form.lower(), bytes(raw)


def film(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    form = chance.choice(["GIF", "WEBP", "PNG"])
    frames = [image.rotate(angle) for angle in range(1, 4)]
    return form.lower(), saved(image, form, save_all=True, append_images=frames)


def of_another_mode(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    mode = chance.choice(["1", "P", "LA", "RGBA", "I;16", "CMYK", "YCbCr"])
    if mode == "I;16":
        return "png", saved(Image.fromarray(np.asarray(image).astype(np.uint16) * 257), "PNG")
    form = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    options = {"transparency": chance.randrange(256)} if mode == "P" else {}
    return form.lower(), saved(image.convert(mode), form, **options)


def turned_by_exif(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = chance.randrange(10)  # 1 to 8 are orientations
    raw = bytearray(exif.tobytes())
    if chance.random() < 0.5:
        raw[chance.randrange(6, len(raw))] ^= 255
    form = chance.choice(["JPEG", "PNG", "WEBP"])
    return form.lower(), saved(image, form, exif=bytes(raw))


def with_a_profile(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    if chance.random() < 0.5:
        profile[chance.randrange(len(profile))] ^= 255
    form = chance.choice(["JPEG", "PNG", "WEBP"])
    return form.lower(), saved(image.convert("RGB"), form, icc_profile=bytes(profile))


BOMB = zlib.compress(bytes(200_000_000), 9)  # 200 kB


def bomb(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    """What a chunk or the pixels unpack to is a thousand times as large."""
    raw = saved(image, "PNG")
    kind = chance.choice([b"zTXt", b"iTXt", b"iCCP", b"IDAT"])
    if kind == b"IDAT":
        return "png", raw[:33] + chunk(kind, BOMB) + chunk(b"IEND", b"")
    content = b"k\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0") + BOMB
    return "png", raw[:33] + chunk(kind, content) + raw[33:]  # after the header


def of_many_scans(image: Image.Image, chance: Chance) -> tuple[str, bytes]:
    """A large progressive JPEG whose last scan is repeated a thousand times."""
    raw = saved(image.resize((2000, 2000)), "JPEG", progressive=True)
    last = raw[raw.rindex(b"\xff\xda") : -2]
    return "jpg", raw[:-2] + last[:200] * chance.choice([50, 1000]) + raw[-2:]


COMMON = [any_form, truncated, bits_flipped, spliced, of_another_ending, zeros, enormous, film, of_another_mode]
COMMON += [turned_by_exif, with_a_profile]
RARE = [bomb, of_many_scans]  # large files
NAMES = [
    "{}",
    "{}\nerror: forged",
    "{}\x1b[31m",
    "{}\u202e",
    "\u0430{}",
    "{} ",
    "-{}",
    "{};rm -rf",
    "{}'\"",
    "{}\udcff",
]


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory) -> Path:
    """A folder of 5,000 files, some under strange names, some of them links."""
    place = tmp_path_factory.mktemp("fuzz") / "in"
    place.mkdir()
    secret = place.parent / "secret.png"
    chance = Chance(0)
    pictures = [Image.fromarray(image[0].numpy()) for image in generate_captchas(20, seed=5)[1]]
    secret.write_bytes(saved(pictures[0], "PNG"))
    links = {"out.png": secret, "dangling.png": place / "nowhere.png", "folder": place.parent, "loop.png": "loop.png"}
    for name, target in links.items():
        (place / name).symlink_to(target)
    (place / "inside.png").symlink_to("00001.png")
    (place / "00001.png").write_bytes(saved(pictures[1], "PNG"))
    for i in range(2, COUNT - len(links)):
        spoil = chance.choice(RARE if i % 250 == 0 else COMMON)
        suffix, raw = spoil(chance.choice(pictures), chance)
        name = (NAMES[i % len(NAMES)] if i % 20 < len(NAMES) else "{}").format(f"{i:05}-{spoil.__name__}")
        (place / f"{name}.{suffix}").write_bytes(raw)
    return place


def tree(folder: Path) -> set[str]:
    return {os.fsencode(path).hex() for path in folder.rglob("*")}


def test_each_file_is_read_or_named_in_one_line(spoilt):
    read, refused = 0, 0
    files = list(find_images(spoilt))
    assert len(files) == COUNT
    for path in files:
        began = time.perf_counter()
        try:
            pixels = decode_image(read_bytes(path, str(path), spoilt), str(path))
        except InputError as error:
            assert str(error).isprintable()
            assert path.name[:5] in str(error)
            refused += 1
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 2
            read += 1
        assert time.perf_counter() - began < SLOW, path
    assert read > COUNT / 4
    assert refused > COUNT / 4


PREDICT = """
import pathlib, sys
from captcha_lib.__main__ import main
status = main(sys.argv[1:])
print(status, int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_predict_reads_the_good_ones_and_names_the_bad_ones(spoilt, onnx_weights, tmp_path):
    before = tree(spoilt.parent)
    words = ["predict", str(spoilt), "--weights", str(onnx_weights), "--length", "0", "--csv", "--out"]
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, *words, str(tmp_path / "out" / "read.csv")],
        capture_output=True, text=True, cwd=CHECKOUT, check=True,
    )  # fmt: skip
    status, peak = done.stdout.split()
    assert int(status) == 1
    assert float(peak) < LARGE
    *bad, resized, last = [line for line in done.stderr.splitlines() if "had margins" not in line]
    assert all(str(spoilt) in line for line in bad), "a line of something else"
    assert "another size" in resized
    assert last == f"{len(bad)} of {COUNT} files could not be read; each is named above."
    table = pd.read_csv(tmp_path / "out" / "read.csv", dtype=str, keep_default_na=False)
    assert len(table) + len(bad) == COUNT
    assert tree(spoilt.parent) == before
    assert {path.name for path in tmp_path.rglob("*")} == {"out", "read.csv"}


def test_a_link_out_of_the_folder_is_not_followed(spoilt, folder, tmp_path):
    with pytest.raises(InputError, match=r"out\.png: it is a link that leads out of the folder"):
        read_bytes(spoilt / "out.png", "out.png", spoilt)
    assert read_bytes(spoilt / "inside.png", "inside.png", spoilt)
    (tmp_path / "train").symlink_to(folder)
    with pytest.raises(InputError, match="train: it is a link to a folder"):
        load_data(str(tmp_path))


# Zips


@pytest.fixture
def packed(drawn, tmp_path):
    """Packs a captcha under a name; returns the zip."""

    def pack(name: str, content: bytes | None = None) -> Path:
        picture = saved(Image.fromarray(drawn[1][0, 0].numpy()), "PNG")
        with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, picture if content is None else content)
        return tmp_path / "set.zip"

    return pack


@pytest.mark.parametrize("name", ["../2b827.png", "/2b827.png", "a/../../2b827.png", "a//b.png", "./a.png"])
def test_a_zip_with_names_that_lead_out_is_refused(packed, name):
    """Python's own zipfile.Path goes round in circles over some of them (CVE-2024-8088)."""
    with pytest.raises(InputError, match="which is not a valid path; pack it again"):
        load_data(str(packed(name)))


def test_a_zip_bomb_is_not_unpacked(packed):
    path = packed("2b827.png", bytes(40_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"2b827\.png: it holds more than 32 MB"):
        load_data(str(path))


def test_a_damaged_zip(packed, tmp_path):
    raw = packed("2b827.png").read_bytes()
    chance = Chance(0)
    for _ in range(300):
        spoilt = bytearray(raw)
        spoilt[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        (tmp_path / "spoilt.zip").write_bytes(spoilt)
        try:
            assert len(load_data(str(tmp_path / "spoilt.zip"))) == 1
        except InputError as error:
            assert str(error).isprintable()


def test_nothing_is_written_outside_a_layout(packed, tmp_path):
    with zipfile.ZipFile(packed("a/2b827.png"), "a") as archive:
        for i, image in enumerate(generate_captchas(8, seed=6)[1]):
            archive.writestr(f"b/x..{i}/x{i}.png", saved(Image.fromarray(image[0].numpy()), "PNG"))
    write_layout(split_captchas(load_data(str(tmp_path / "set.zip")), seed=0), tmp_path / "layout")
    assert {path.name for path in tmp_path.iterdir()} == {"set.zip", "layout"}


# Labels


def test_a_look_alike_in_a_label_is_named(own_folder):
    one = min(own_folder.iterdir())
    one.rename(own_folder / f"\u0430{one.stem[1:]}.png")
    with pytest.raises(InputError, match=r"'.' \(CYRILLIC SMALL LETTER A\) is not in the alphabet"):
        load_data(str(own_folder), Alphabet("2345678bcdefgmnpwxya"))


@pytest.mark.parametrize("character", ["\n", "\u200b", "\u202e", "\x1b", "\udcff"])
def test_what_cannot_be_seen_is_no_name_and_no_label(own_folder, character):
    one = min(own_folder.iterdir()).rename(own_folder / f"abcd_{character}.png")
    with pytest.raises(InputError, match="its name holds non-printable characters"):
        load_data(str(own_folder), rule=LabelRule("(?s)([^_]+).*"))
    one.rename(own_folder / "1.png")
    rows = [f'{path.name},"{path.stem}{character}"' for path in own_folder.iterdir()]
    (own_folder / "labels.csv").write_text("\n".join(["file,label", *rows]), errors="surrogateescape")
    with pytest.raises(InputError, match=r"(non-printable|cannot be read)"):
        load_data(str(own_folder))
