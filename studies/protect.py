"""What protects a captcha? The knobs of the generator, turned alone and in pairs, against a reader trained for each.

For every setting a reader learns from 100 and from 1,000 labelled captchas of that setting and reads fresh ones, and
general OCR reads them too (see `legibility`). What a knob takes from the OCR it is taken to take from people.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config
from captcha_lib.generator.draw import draw, draw_texts
from captcha_lib.generator.style import DEJAVU, DEJAVU_MONO, KAPTCHA, Style
from captcha_lib.metrics import count_exact
from captcha_lib.training import fit
from studies.captchas import generated_captchas
from studies.fonts import free_fonts
from studies.jobs import Job, run_jobs
from studies.learning_curve import PER_EPOCH
from studies.legibility import legibility, read_by_ocr

LABELS = (100, 1000)
TESTED, TESTED_BY_OCR = 500, 200
READER = Config()
# Clean text, so that each knob is seen by itself.
PLAIN = replace(KAPTCHA, lines=(0, 0), water=(0.0, 0.0), ripple=(0.0, 0.0))


class Knob(NamedTuple):
    """What a knob changes in the style, turned a little and turned far; and both in words."""

    little: dict
    far: dict
    says: tuple[str, str]


_LOWER_AND_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"


def knobs() -> dict[str, Knob]:
    """The knobs by name. "Little" is what Kaptcha does where it does it at all."""
    fonts = (DEJAVU, DEJAVU_MONO, *free_fonts())
    return {
        "lines": Knob({"lines": (2, 2)}, {"lines": (6, 6)}, ("2 curves", "6 curves")),
        "ripple": Knob({"ripple": (1.0, 1.0)}, {"ripple": (2.5, 2.5)}, ("2.6 px", "6.5 px")),
        "water": Knob({"water": (1.5, 1.5)}, {"water": (5.0, 5.0)}, ("1.5 px", "5 px")),
        "crowding": Knob({"spacing": (-3, -3)}, {"spacing": (-7, -7)}, ("3 px overlap", "7 px overlap")),
        "fonts": Knob({"fonts": fonts[::4]}, {"fonts": fonts}, (f"{len(fonts[::4])} faces", f"{len(fonts)} faces")),
        "rotation": Knob({"rotation": (-15.0, 15.0)}, {"rotation": (-40.0, 40.0)}, ("15 degrees", "40 degrees")),
        "length": Knob({"length": (4, 6)}, {"length": (3, 7), "start": (8, 8)}, ("4 to 6", "3 to 7")),
        "alphabet": Knob(
            {"characters": _LOWER_AND_DIGITS},
            {"characters": _LOWER_AND_DIGITS + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
            ("36 characters", "62 characters"),
        ),
        "contrast": Knob({"ink": (90, 90)}, {"ink": (30, 30)}, ("ink at 35 %", "ink at 12 %")),
    }


def settings(names: tuple[str, ...] | None = None) -> dict[str, Style]:
    """The settings by name: plain, Kaptcha's own, each knob turned a little and far, each pair turned far.

    Args:
        names: of the knobs to turn; None turns all.
    """
    turned = {name: knob for name, knob in knobs().items() if names is None or name in names}
    found = {"plain": PLAIN, "kaptcha": KAPTCHA}
    for name, knob in turned.items():
        found[f"{name} -"] = replace(PLAIN, **knob.little)
        found[name] = replace(PLAIN, **knob.far)
    for one, two in combinations(turned, 2):
        found[f"{one} + {two}"] = replace(PLAIN, **turned[one].far | turned[two].far)
    return found


def what_protects(
    styles: dict[str, Style],
    out: Path,
    labels: tuple[int, ...] = LABELS,
    seeds: int = 1,
    config: Config = READER,
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Trains a reader for each setting, number of labels and seed, and lets general OCR read the same captchas.

    Args:
        styles: the settings, see `settings`; "plain" has to be among them, and is what losses are counted from.
        out: the folder of the jobs' results; finished jobs are taken from there.
        labels: how many labelled captchas a reader learns from.
        seeds: how many: 0, 1, 2, ...
        config: the hyperparameters; the seed is replaced.
        jobs: processes at a time.
        report: gets one line a job.

    Returns:
        one row a setting and number of labels: setting, labels, exact (readings that are right, of all seeds), n,
        seeds, legible (share of characters that OCR reads), legible_n, and two losses in points of 100 against plain:
        machine_loss (of exact match) and legibility_loss.
    """
    work = {}
    for (name, style), seed in ((item, seed) for item in styles.items() for seed in range(seeds)):
        own = {"style": style.identity()}
        work[f"{name} ocr {seed}"] = Job(_ocr, (style, seed), own)
        work |= {f"{name} {n} {seed}": Job(_attack, (style, n, replace(config, seed=seed)), own) for n in labels}
    identity = {"config": asdict(config), "tested": TESTED, "tested_by_ocr": TESTED_BY_OCR}
    found = run_jobs(out, work, identity, jobs, report)
    rows = []
    for name in styles:
        legible = float(np.mean([found[f"{name} ocr {seed}"]["legible"] for seed in range(seeds)]))
        for n in labels:
            read = [found[f"{name} {n} {seed}"] for seed in range(seeds)]
            exact = sum(figures["exact"] for figures in read)
            row = {"setting": name, "labels": n, "exact": exact, "n": TESTED * seeds, "seeds": seeds}
            row["seconds"] = round(sum(figures["seconds"] for figures in read), 1)
            rows.append(row | {"legible": round(legible, 4), "legible_n": TESTED_BY_OCR * seeds})
    return with_losses(pd.DataFrame(rows))


def with_losses(table: pd.DataFrame) -> pd.DataFrame:
    """Adds what each setting takes from the machine and from the OCR, in points of 100, against the plain one."""
    plain = table[table["setting"] == "plain"].set_index("labels")
    rate = table["exact"] / table["n"]
    of_plain = table["labels"].map(plain["exact"] / plain["n"])
    legible_plain = plain["legible"].iloc[0]
    return table.assign(
        machine_loss=(100 * (of_plain - rate)).round(2),
        legibility_loss=(100 * (legible_plain - table["legible"])).round(2),
    )


def _attack(style: Style, labels: int, config: Config) -> dict:
    """A job: a reader of one setting; how many of fresh captchas it reads."""
    train = generated_captchas(labels, config.seed, style).replace(alphabet=Alphabet.of([style.characters]))
    reader, history = fit(train.repeated(PER_EPOCH), None, config)
    texts, images = _test(style, TESTED, config.seed)
    exact = count_exact(reader.spell(reader.logits(images)), texts)
    return {"exact": exact, "seconds": round(float(history["seconds"].iloc[-1]), 1)}


def _ocr(style: Style, seed: int) -> dict:
    texts, images = _test(style, TESTED_BY_OCR, seed)
    one_case = style.characters.lower() == style.characters
    return {"legible": round(legibility(texts, read_by_ocr(images), fold_case=one_case), 4)}


def _test(style: Style, n: int, seed: int) -> tuple:
    rng = np.random.default_rng([seed, 1])  # apart from every training set, whose seeds are single numbers
    texts = draw_texts(n, rng, style)
    return texts, draw(texts, rng, style)
