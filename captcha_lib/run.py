"""`train`: the whole way in one call, from labelled images to a reader and its score."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from captcha_lib.config import RUN_DIR
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.load import load_data
from captcha_lib.data.split import split_captchas
from captcha_lib.files import sole_writer, write_csv
from captcha_lib.metrics import count_exact, describe, wilson_interval
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.recipe import SAMPLE, Recipe, chance_loss, patient, plan_table, recipe_for, show
from captcha_lib.runs.results import Result, read_test, write_run
from captcha_lib.training import Session, fit, on_plateau

PLATEAU = 0.8  # of `chance_loss`; a training whose loss is larger has learnt nothing
BY_HEART = 0.2  # more images read of those trained on than of others, as a share


def train(
    data: str | Path | Captchas | None = None,
    out: str | Path = RUN_DIR,
    split: str | Path | None = None,
    seed: int | None = None,
    start: str | None = None,
    conversion: str | None = None,
    report: Callable[[str], None] = print,
    **config: Any,
) -> Result:
    """Trains on labelled images as the command `train` does, and reads the test images once.

    Args:
        data: what `load_data` takes: "generated", "kaggle", a folder or a zip; or what it returns.
        out: the folder of the results, see `runs.results.write_run`.
        split, seed: see `split_captchas`; the seed is the training's, too.
        start, conversion: see `recipe_for`.
        report: gets the recipe, one line an epoch, and the score.
        config: fields of `Config` that replace what `recipe_for` chooses, such as epochs=10.

    Raises:
        InputError: see `load_data`, `split_captchas`, `recipe_for` and `training.fit`.
    """
    captchas = data if isinstance(data, Captchas) else load_data(None if data is None else str(data))
    captchas = split_captchas(captchas, split, seed)
    report(captchas.summary())
    recipe = recipe_for(captchas, seed or 0, start, conversion)
    return run(captchas, replace(recipe, config=replace(recipe.config, **config)), Path(out), Session(report=report))


def run(captchas: Captchas, recipe: Recipe, out: Path, session: Session = Session()) -> Result:
    """Trains on a split data set by a recipe, then reads its test images once; everything is written to `out`.

    Raises:
        InputError: see `training.fit`; another run writes in `out`, or it is not writable.
    """
    captchas = recipe.seen(captchas)
    with sole_writer(out):
        recipe, reader, history = _learn(captchas, recipe, out, session)
        result, best_path = read_test(reader, history, captchas, recipe.config)
        write_csv(out / "plan.csv", plan_table(captchas, recipe))
        write_run(out, result, best_path, session.device)
    session.report("test: " + describe(result.score))
    for line in doubts(result):
        session.report(f"warning: {line}")
    return result


def doubts(result: Result) -> list[str]:
    """What the user of a training has to know: that nothing was learnt, or little but the training images by heart."""
    others = result.captchas.subset("val"), result.captchas.subset("test")
    n = sum(map(len, others))
    exact = int(result.history["val_exact"].max()) + int(result.score["exact"])
    if not exact:
        said = f"nothing was learnt: none of {n} validation and test images is read"
        return [f"{said}; look with `captcha-lib check` whether the labels belong to the images, or give more of them"]
    train = result.captchas.subset("train")
    sample = train.sample(SAMPLE)
    share = count_exact(result.reader.spell(result.reader.logits(sample.images)), sample.labels) / len(sample)
    if share - wilson_interval(exact, n)[1] <= BY_HEART:
        return []
    said = f"it learnt images by heart: {share:.0%} of those it trained on are read, and {exact} of {n} others"
    return [f"{said}; label more, or let `captcha-lib adapt` learn from images without labels"]


def _learn(captchas: Captchas, recipe: Recipe, out: Path, session: Session) -> tuple[Recipe, TorchReader, pd.DataFrame]:
    """Trains by a recipe; where that learns nothing, by a more patient one. Also gives the recipe of what was kept."""
    plateau = PLATEAU * chance_loss(captchas.subset("train").labels)
    recipe = replace(recipe, config=replace(recipe.config, plateau=plateau))
    reader, history = _fit(captchas, recipe, replace(session, checkpoint=out / "checkpoint.pth"))
    if on_plateau(history.to_dict("records"), recipe.config):
        session.report(f"nothing is learnt after {len(history)} epochs: it begins again, more patiently")
        recipe = patient(recipe)
        reader, history = _fit(captchas, recipe, replace(session, checkpoint=out / "checkpoint_again.pth"))
    return recipe, reader, history


def _fit(captchas: Captchas, recipe: Recipe, session: Session) -> tuple[TorchReader, pd.DataFrame]:
    session.report(show(plan_table(captchas, recipe)))
    return fit(captchas.subset("train"), captchas.subset("val"), recipe.config, recipe.start, session)
