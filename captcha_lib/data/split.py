"""Which image is for training, which for validation, which for the test: manifest -> manifest with subsets.

A split is a CSV (file, label, sha256, subset) or a folder with train/, val/ and test/ in it. The two official ones
come with the package; each is the draw of seed 0.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from captcha_lib.config import SPLITS_DIR, InputError
from captcha_lib.data.captchas import SUBSETS, Captchas
from captcha_lib.data.folders import read_bytes
from captcha_lib.files import new_folder, write_csv

COLUMNS = ["file", "label", "sha256", "subset"]
VAL_SHARE = TEST_SHARE = 0.125


def split_captchas(captchas: Captchas, split: str | Path | None = None, seed: int | None = None) -> Captchas:
    """Gives every image its subset, and adds a note that says which split it is.

    In this order: the split that is asked for, the train/ val/ test/ folders that the images lie in, the draw of the
    seed that is asked for, the official split of these images, the draw of seed 0.

    Args:
        captchas: labelled images.
        split: a split CSV, "official" for the official split of these very images, or "drawn" for the draw of `seed`.
        seed: draws a split where none is given.

    Raises InputError: a CSV that is no split or another data set's, an image that has changed since, an empty subset.
    """
    if split is None and seed is None and any(note.startswith("split: ") for note in captchas.notes):
        return captchas  # they have been split already
    manifest = captchas.manifest
    official = _official_split(manifest)
    if split == "official" and official is None:
        raise InputError(f"{captchas.source}: no official split for these images; give a CSV or leave out --split")
    outside = manifest["file"][manifest["subset"] == ""].tolist()
    laid_out = not outside
    if split is None and seed is None and 0 < len(outside) < len(manifest) and official is None:
        said = f"{outside[0]} and others, {len(outside)} in all, lie in none of the folders train, val and test"
        raise InputError(f"{captchas.source}: {said}; move them, or give --split drawn")
    if split is None and not laid_out:
        split = "drawn" if seed is not None or official is None else "official"
    subsets: list[str]
    if split == "official" and official is not None:
        subset_of = read_split(official).set_index("sha256")["subset"]
        subsets, said = manifest["sha256"].map(subset_of).tolist(), f"the official one, {official.stem}"
    elif split == "drawn":
        subsets, said = draw_split(len(manifest), seed or 0), f"drawn with seed {seed or 0}"
    elif split is not None:
        subsets, said = apply_split(manifest, read_split(Path(split)), Path(split).name).tolist(), str(split)
    else:
        subsets, said = _completed(manifest["subset"].tolist())
    manifest = manifest.assign(subset=subsets)
    counts = [int((manifest["subset"] == name).sum()) for name in SUBSETS]
    if 0 in counts:
        raise InputError(f"{captchas.source}: the split leaves {SUBSETS[counts.index(0)]} empty; add images to it")
    note = f"split: {said}, " + " / ".join(map(str, counts)) + " for train / val / test."
    return captchas.replace(manifest=manifest, notes=[*captchas.notes, note])


def _completed(subsets: list[str]) -> tuple[list[str], str]:
    """The subsets that folders give, and words for them; where val/ is missing, it is drawn from train/."""
    if "val" in subsets or not {"train", "test"} <= set(subsets):
        return subsets, "the folders train, val and test"
    train = np.flatnonzero(np.array(subsets) == "train")
    share = VAL_SHARE / (1 - TEST_SHARE)
    for i in np.random.default_rng(0).permutation(train)[: max(1, round(share * len(train)))]:
        subsets[i] = "val"
    return subsets, "the folders train and test, and validation drawn from train with seed 0"


def is_official(captchas: Captchas) -> bool:
    """Whether these are the generated or the Kaggle images. They are learnt from scratch, to show what labels teach."""
    return captchas.source in ("generated", "kaggle") or _official_split(captchas.manifest) is not None


def draw_split(n: int, seed: int) -> list[str]:
    """Draws 75 / 12.5 / 12.5 % of n images in their manifest's order, 802 / 134 / 134 of 1,070; n is at least 3."""
    if n < 3:
        raise InputError(f"{n} images cannot be split in three; give at least 3, better some hundreds")
    val, test = max(1, round(n * VAL_SHARE)), max(1, round(n * TEST_SHARE))
    order = np.random.default_rng(seed).permutation(n)
    subsets = np.empty(n, dtype=object)
    subsets[order] = ["train"] * (n - val - test) + ["val"] * val + ["test"] * test
    return subsets.tolist()


def read_split(csv: Path) -> pd.DataFrame:
    """Reads a split CSV; raises InputError if it is missing or no split."""
    try:
        table = pd.read_csv(csv, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"split {csv}: cannot be read ({str(error).strip()})") from None
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise InputError(f"split {csv}: the column {missing[0]!r} is missing; it needs {','.join(COLUMNS)}")
    wrong = sorted(set(table["subset"]) - set(SUBSETS))
    if wrong or table["file"].duplicated().any():
        what = f"unknown subset {wrong[0]!r}" if wrong else "a duplicate file"
        raise InputError(f"split {csv}: {what}; each file needs one of train, val, test")
    return table


def apply_split(manifest: pd.DataFrame, table: pd.DataFrame, name: str) -> pd.Series:
    """The subset of every image of the manifest, by file name; labels and checksums have to agree, or it raises."""
    known = manifest[["file", "label", "sha256"]].merge(table, on="file", how="left", suffixes=("", "_split"))
    strange = known[known["subset"].isna() | (known["label"] != known["label_split"])]
    if len(strange):
        raise InputError(f"split {name}: it has no {strange['file'].iloc[0]!r} with this label; take another split")
    changed = known["file"][known["sha256"] != known["sha256_split"]].tolist()
    if changed:
        said = f"split {name}: {changed[0]!r} has changed since the split was made (its checksum differs)"
        raise InputError(f"{said}; get the old file again, or make a new split")
    return known["subset"]


def write_split(manifest: pd.DataFrame, csv: Path) -> None:
    """Writes the manifest's split as a CSV."""
    write_csv(csv, manifest[COLUMNS])


def write_layout(captchas: Captchas, folder: Path) -> None:
    """Copies the images into folder/train, folder/val and folder/test, each with a labels.csv; all of them or none."""
    flat = captchas.manifest["file"].str.replace("/", "_")  # names in a folder without folders
    manifest = captchas.manifest.assign(file=flat)
    twice = flat[manifest.duplicated(["subset", "file"])]
    if len(twice):
        raise InputError(f"{twice.iloc[0]}: two files would get this name; rename one")
    with new_folder(folder) as part:
        for name in SUBSETS:
            _write_subset(captchas.replace(manifest=manifest).subset(name), part / name)


def _write_subset(captchas: Captchas, folder: Path) -> None:
    folder.mkdir()
    captchas.manifest[["file", "label"]].to_csv(folder / "labels.csv", index=False)
    for path, file, sha256 in zip(
        captchas.paths, *(captchas.manifest[name] for name in ("file", "sha256")), strict=True
    ):
        raw = read_bytes(path, file)
        if hashlib.sha256(raw).hexdigest() != sha256:
            raise InputError(f"{file}: it has changed since it was read; start again")
        (folder / file).write_bytes(raw)


def _official_split(manifest: pd.DataFrame) -> Path | None:
    """The official split of exactly these images under these labels, whatever the files are called."""
    mine = set(zip(manifest["sha256"], manifest["label"], strict=True))
    for csv in sorted(SPLITS_DIR.glob("*.csv")):
        table = read_split(csv)
        if mine == set(zip(table["sha256"], table["label"], strict=True)):
            return csv
    return None
