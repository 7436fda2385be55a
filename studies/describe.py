"""How the captchas of a set look, in numbers: what its maker does to the texts, as far as that can be measured."""

import numpy as np
import pandas as pd
from scipy.ndimage import label, median_filter, uniform_filter1d

from captcha_lib.data.captchas import Captchas

MOST = 200  # pictures that are measured
WIDE = 9  # px over which ink is smoothed, as `model.frame_targets` does
COLUMNS = [
    "set", "n", "width", "height", "characters", "shortest", "longest", "room", "contrast", "touching", "grain",
]  # fmt: skip


def describe_sets(sets: dict[str, Captchas]) -> pd.DataFrame:
    """One row a set: `COLUMNS`.

    Width and height are those of most files, room is the px of width that a character has, and the last three are means
    of `measure`.
    """
    return pd.DataFrame([{"set": name, **_describe(captchas)} for name, captchas in sets.items()], columns=COLUMNS)


def measure(grey: np.ndarray, length: int) -> dict[str, float]:
    """What can be measured of a picture (H, W) uint8 with a text of so many characters.

    Returns:
        contrast: how far the hundredth part that differs most is from the paper, the median grey; a share of 255.
        touching: the share of the gaps between characters that are not seen, since columns with ink lie there: because
            they touch or overlap, or because of lines. Columns are inked as in `model.frame_targets`.
        grain: the mean distance of a pixel from the median of its neighbours: noise, dots, thin lines; a share of 255.
    """
    away = np.abs(grey.astype(float) - np.median(grey))
    contrast = float(np.quantile(away, 0.99))
    ink = uniform_filter1d((away >= max(contrast, 1) / 2).mean(0), WIDE)
    _, runs = label(ink >= ink.mean() / 2)
    touching = 1 - (min(runs, length) - 1) / max(1, length - 1)
    grain = np.abs(grey.astype(float) - median_filter(grey, 3)).mean()
    return {"contrast": contrast / 255, "touching": float(np.clip(touching, 0, 1)), "grain": float(grain) / 255}


def _describe(captchas: Captchas) -> dict:
    sample, lengths = captchas.sample(MOST), captchas.manifest["label"].str.len()
    pairs = zip(sample.images[:, 0].numpy(), sample.labels, strict=True)
    measured = [measure(image, len(label)) for image, label in pairs]
    width, height = (int(captchas.manifest[name].mode()[0]) for name in ("width", "height"))
    facts = {
        "n": len(captchas),
        "width": width,
        "height": height,
        "characters": len(captchas.alphabet.characters),
        "shortest": int(lengths.min()),
        "longest": int(lengths.max()),
        "room": round(width / lengths.mean(), 1),
    }
    return facts | pd.DataFrame(measured).mean().round(3).to_dict()
