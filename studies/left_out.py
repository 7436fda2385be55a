"""What families of makers add: small networks learn from makers that never do some, and read pictures where they do.

`python -m studies left-out`; see `makers.families`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from captcha_lib.config import Config
from captcha_lib.data.sizes import fit_images
from captcha_lib.generator.draw import draw_texts
from captcha_lib.metrics import count_exact
from captcha_lib.reading.base import Reader
from captcha_lib.training import fit
from studies.jobs import Job, run_jobs
from studies.makers.draw import draw
from studies.makers.families import FAMILIES, GROUPS, make
from studies.pretraining import Makers

RECIPE = replace(Config(), epochs=20, per_epoch=5000, batch_size=64, augment_strength=0.0, dropout=0.0)
MAKERS, OF_EACH, SEED = 40, 5, 777  # pictures of each family that are read: so many makers, of each so many


def leave_out(
    out: Path,
    names: tuple[str, ...] = ("", *GROUPS),
    config: Config = RECIPE,
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> pd.DataFrame:
    """One row a network and a family that it read: left_out, family, exact, n.

    Args:
        names: of the groups or families that are left out, "" for none; a network each.
    """
    work = {f"without-{name or 'none'}": Job(learn_without, (name, config), {"left_out": name}) for name in names}
    found = run_jobs(out, work, {"config": repr(config)}, jobs, report)
    return pd.DataFrame([row for figures in found.values() for row in figures["rows"]])


def learn_without(left_out: str, config: Config) -> dict:
    """A reader that never saw a group or a family, and what it reads of each family."""
    families = tuple(GROUPS[left_out][2]) if left_out in GROUPS else (left_out,)
    makers = Makers(config.per_epoch, seed=config.seed, left_out=families, workers=0)
    reader, history = fit(makers, None, config)
    rows = [{"left_out": left_out, **read_family(reader, family)} for family in FAMILIES]
    return {"rows": rows, "loss": round(float(history["train_ctc"].iloc[-1]), 3)}


def read_family(reader: Reader, family: str) -> dict:
    """How many pictures of makers of a family are read exactly: family, exact, n."""
    texts, images = draw_family(family, MAKERS, OF_EACH, reader.image_size)
    found = [reading.text for reading in reader.read(images)]
    return {"family": family, "exact": count_exact(found, texts), "n": len(texts)}


def draw_family(family: str, makers: int, of_each: int, size: tuple[int, int]) -> tuple[list[str], torch.Tensor]:
    """Pictures of makers of a family: texts, (N, 1, H, W) uint8."""
    rng = np.random.default_rng([SEED, [*FAMILIES].index(family)])
    texts: list[str] = []
    images: list[np.ndarray] = []
    for _ in range(makers):
        style = make(rng, family)
        texts += (more := draw_texts(of_each, rng, style))
        images += list(draw(more, rng, style)[:, 0].numpy())
    return texts, torch.from_numpy(fit_images(images, size))
