"""Random data sets, written as people write them: they are loaded with the labels that were written, or refused."""

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captcha_lib import InputError, load_data
from captcha_lib.data.labels import LabelRule

SETS, PARTS = 2000, 8
ALPHABETS = (
    "0123456789",
    "abcdef",
    "ABCxyz789",
    "\u0430\u0431\u0432\u0433\u0434",
    "\u5929\u5730\u4eba\u5c71",
    "+-=x123",
)
# How a picture can be stored: mode, format, and the suffixes that people give to it, those of other formats, too.
STORED = [
    ("L", "PNG", (".png", ".PNG", "", ".jpg")), ("RGB", "PNG", (".png", ".apng", ".gif")), ("RGBA", "PNG", (".png",)),
    ("LA", "PNG", (".png",)), ("P", "PNG", (".png",)), ("1", "PNG", (".png", ".bmp")), ("I;16", "PNG", (".png",)),
    ("RGB", "JPEG", (".jpg", ".JPG", ".jpeg", ".jpe", ".jfif", ".png", "")), ("L", "JPEG", (".jpg",)),
    ("RGB", "BMP", (".bmp", ".dib", "")), ("P", "GIF", (".gif", ".GIF", ".png")), ("RGB", "WEBP", (".webp", ".png")),
    ("L", "TIFF", (".tif", ".tiff", ".TIF")), ("RGB", "PPM", (".ppm",)),
]  # fmt: skip
TABLES = ("labels.csv", "Labels.CSV", "metadata.csv", "annotations.tsv", "train.txt", "labels.txt", "metadata.jsonl")
COLUMNS = (("file", "label"), ("file_name", "text"), ("Filename", "Captcha"), ("image", "solution"), ("id", "value"))
SUBSETS = {"Train": "train", "VALID": "val", "testing": "test"}
FAULTS = ("", "", "", "no image", "cut off", "two labels", "a row missing", "an unknown row", "an empty label")


def drawn(rng: np.random.Generator, mode: str) -> Image.Image:
    """A picture of blocks, so that no two are alike and JPEG keeps it."""
    height, width = rng.integers(8, 40), rng.integers(40, 90)
    blocks = Image.fromarray(rng.integers(0, 256, (3, 9), dtype=np.uint8)).resize((int(width), int(height)))
    if mode == "I;16":
        return Image.fromarray(np.asarray(blocks).astype(np.uint16) * 257)
    if mode in ("RGBA", "LA"):
        blocks = blocks.convert(mode)
        blocks.putalpha(255)
        return blocks
    return blocks.convert(mode)


def saved(picture: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    picture.save(out, form)
    return out.getvalue()


def table(name: str, rows: list[tuple[str, str]], columns: tuple[str, str], rng: np.random.Generator) -> str:
    """The rows as a table of that name, with or without a header."""
    if name.endswith("jsonl"):
        return "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)
    separator = {"tsv": "\t", "txt": str(rng.choice([" ", "\t"]))}.get(name[-3:].lower(), str(rng.choice([",", ";"])))
    header = [columns] if rng.random() < 0.7 else []
    if separator in " \t":
        return "".join(separator.join(row) + "\n" for row in header + rows)
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator=str(rng.choice(["\n", "\r\n"]))).writerows(header + rows)
    return out.getvalue().replace(separator, separator + " " * int(rng.integers(2)))


class Case:
    """A random data set: `files` are its bytes by path, `labels` the label of each image by its name."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        alphabet, count = str(rng.choice(ALPHABETS)), int(rng.integers(3, 8))
        self.where = str(rng.choice(["name", "folder", "pattern", "table", "table"]))
        self.folders = ("a", "b") if rng.random() < 0.5 else tuple(SUBSETS)
        self.fault = str(rng.choice(FAULTS))
        self.files: dict[str, bytes] = {}
        self.labels: dict[str, str] = {}
        for i in range(count):
            mode, form, suffixes = STORED[rng.integers(len(STORED))]
            label = "".join(rng.choice(list(alphabet), rng.integers(1, 7)))
            name = self.named(i, label) + str(rng.choice(suffixes))
            if name not in self.labels:
                self.files[name], self.labels[name] = saved(drawn(rng, mode), form), label
        self.spoil()
        if self.where == "table":
            self.write_table()

    def named(self, i: int, label: str) -> str:
        folder = "" if self.rng.random() < 0.6 else f"{self.rng.choice(self.folders)}/"
        return {
            "name": f"{folder}{label}", "folder": f"{label}/{i}", "pattern": f"{folder}{label}_{i}",
            "table": f"{folder}p{i}q",
        }[self.where]  # fmt: skip

    def spoil(self) -> None:
        first = min(self.files)
        if self.fault == "no image":
            self.files[first] = b"no image at all"
        elif self.fault == "cut off":
            self.files[first] = self.files[first][: len(self.files[first]) // 2]
        elif self.fault == "two labels":
            self.files[max(self.files)] = self.files[first]

    def write_table(self) -> None:
        name, columns = str(self.rng.choice(TABLES)), COLUMNS[self.rng.integers(len(COLUMNS))]
        rows = [(file, label) for file, label in self.labels.items()]
        if self.fault == "a row missing":
            rows = rows[1:]
        if self.fault == "an unknown row":
            rows.append(("nowhere.png", "abc"))
        if self.fault == "an empty label":
            rows[0] = (rows[0][0], "")
        style = self.rng.integers(3)
        if style == 1 and len({Path(file).stem for file, _ in rows}) == len(rows):
            rows = [(Path(file).stem, label) for file, label in rows]
        if style == 2:
            rows = [(file.replace("/", "\\"), label) for file, label in rows]
        above = "../" if self.rng.random() < 0.2 and self.fault != "an unknown row" else ""
        encoding = str(self.rng.choice(["utf-8", "utf-8-sig"]))
        self.files[above + name] = table(name, rows, columns, self.rng).encode(encoding)

    def write(self, place: Path) -> Path:
        """Writes the set as a folder or a zip; returns its path."""
        if self.rng.random() < 0.3 and not any(name.startswith("..") for name in self.files):
            backslashes = self.rng.random() < 0.5
            with zipfile.ZipFile(place / "set.zip", "w") as archive:
                for name, raw in self.files.items():
                    archive.writestr(name.replace("/", "\\") if backslashes else name, raw)
            return place / "set.zip"
        for name, raw in self.files.items():
            (place / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "set" / name).write_bytes(raw)
        return place / "set"

    def is_faulty(self) -> bool:
        """Whether the fault that was drawn is one in this set."""
        first, last = min(self.labels), max(self.labels)
        if self.fault == "two labels":
            return self.labels[first] != self.labels[last]
        return self.fault in ("cut off", "no image") or (bool(self.fault) and self.where == "table")


RULES = {"pattern": LabelRule("(.+)_[0-9]+"), "folder": LabelRule("folder")}


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_loaded_is_what_was_written(part, tmp_path):
    loaded = refused = 0
    for seed in range(part, SETS, PARTS):
        case, place = Case(seed), tmp_path / str(seed)
        place.mkdir()
        path = case.write(place)
        try:
            captchas = load_data(str(path), rule=RULES.get(case.where))
        except InputError as error:
            assert str(error).strip(), seed
            assert case.is_faulty(), (seed, str(error))
            refused += 1
            continue
        files, written = captchas.manifest["file"], case.labels
        full = {name: name for name in written} | {Path(name).name: name for name in written}
        found = {full[file]: label for file, label in zip(files, captchas.labels, strict=True)}
        assert found == {name: written[name] for name in found}, seed
        subsets = [SUBSETS.get(full[file].split("/")[0], "") for file in files]
        assert case.where == "folder" or captchas.manifest["subset"].tolist() == subsets, seed
        missing = set(written) - set(found)
        assert not missing or any("left out" in note for note in captchas.notes), (seed, missing)
        assert not case.is_faulty() or missing, (seed, case.fault)
        loaded += 1
    assert loaded > 0.4 * SETS / PARTS
    assert refused > 0.1 * SETS / PARTS
