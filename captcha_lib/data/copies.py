"""Copies among the pictures of a data set, which must not lie on two sides of a split."""

import hashlib
from collections.abc import Callable, Hashable, Iterable

import numpy as np
import pandas as pd

from captcha_lib.data.report import Report
from captcha_lib.data.sizes import fit_image

# Correlations of a picture with itself saved as JPEG of quality 75: 0.997; with another of its text: 0.6.
_TWINS, _TWIN_THUMBS = 0.99, 0.97
_THUMB = (16, 32)  # px


def without_copies(
    manifest: pd.DataFrame, pictures: list[np.ndarray], in_colours: Callable[[int], bytes], report: Report
) -> list[int]:
    """The rows whose pictures are no copies of one before: the same pixels, or nearly the same under the same label.

    Equal pixels make one picture, whatever the files. One with several labels is reported, and none of its rows kept.

    Args:
        pictures: grey ones.
        in_colours: the pixels of a row's picture in colours; asked for where the grey ones are equal.
    """
    files, labels = manifest["file"].tolist(), manifest["label"].tolist()
    kept: list[int] = []
    for alike in _groups(range(len(files)), lambda i: hashlib.sha256(pictures[i].tobytes()).digest()):
        for same in _groups(alike, in_colours) if len(alike) > 1 else [alike]:
            told = {labels[i]: files[i] for i in reversed(same)}
            if len(told) > 1:
                said = " and ".join(f"{label!r} ({file})" for label, file in reversed(told.items()))
                for i in same:
                    reason = f"one picture has different labels: {said}; keep the right one"
                    report.refuse("pictures with different labels", files[i], reason)
                continue
            kept.append(same[0])
            for i in same[1:]:
                report.doubt("copies of the same picture left out", files[i], f"{files[i]}: as {files[same[0]]}")
    for rows in _groups(sorted(kept), lambda i: (labels[i], pictures[i].shape)):
        for i, twin in _near_copies(rows, pictures).items():
            report.doubt("nearly equal pictures left out", files[i], f"{files[i]}: nearly as {files[twin]}")
            kept.remove(i)
    return sorted(kept)


def _groups(rows: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for i in rows:
        groups.setdefault(key(i), []).append(i)
    return list(groups.values())


def _near_copies(rows: list[int], pictures: list[np.ndarray]) -> dict[int, int]:
    """Which of these rows differ by no more than JPEG leaves from one before, and from which: found by thumbnails."""
    if len(rows) == 1:
        return {}
    thumbs = np.stack([_normalised(fit_image(pictures[i], _THUMB)) for i in rows])
    found: dict[int, int] = {}
    for b, alike in enumerate(thumbs @ thumbs.T > _TWIN_THUMBS):
        for a in np.flatnonzero(alike[:b]).tolist():
            if rows[a] not in found and float(_normalised(pictures[rows[a]]) @ _normalised(pictures[rows[b]])) > _TWINS:
                found[rows[b]] = rows[a]
                break
    return found


def _normalised(picture: np.ndarray) -> np.ndarray:
    """A picture as a vector of mean 0 and length 1, or of zeros."""
    values = picture.astype(np.float32).ravel() - picture.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)
