"""`train`: the whole way in one call, from labelled images to a reader and its score."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from captcha_lib.config import RUN_DIR
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.load import load_data
from captcha_lib.data.split import split_captchas
from captcha_lib.files import sole_writer, write_csv
from captcha_lib.metrics import describe
from captcha_lib.recipe import Recipe, plan_table, recipe_for, show
from captcha_lib.runs.results import Result, read_test, write_run
from captcha_lib.training import Session, fit


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
    table = plan_table(captchas, recipe)
    session.report(show(table))
    session = replace(session, checkpoint=out / "checkpoint.pth")
    with sole_writer(out):
        reader, history = fit(captchas.subset("train"), captchas.subset("val"), recipe.config, recipe.start, session)
        result, best_path = read_test(reader, history, captchas, recipe.config)
        write_csv(out / "plan.csv", table)
        write_run(out, result, best_path, session.device)
    session.report("test: " + describe(result.score))
    return result
