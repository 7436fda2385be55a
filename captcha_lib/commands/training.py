"""The commands that train and score: train, evaluate."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from captcha_lib.commands.options import (
    CONTINUE,
    add_command,
    add_data,
    add_machine,
    add_reading,
    count,
    fraction,
    load,
    load_split,
    prepare_machine,
    report,
    size,
)
from captcha_lib.config import RUN_DIR
from captcha_lib.files import write_csv


def add_commands(commands: Any) -> None:
    """Adds these commands to the parser of all commands."""
    command = add_command(
        commands, "train", train, "train on labelled images, then read the test images", CONTINUE + " with --resume"
    )
    add_data(command)
    add_machine(command)
    command.add_argument("--out", type=Path, default=RUN_DIR, help="folder of the results (%(default)s)")
    command.add_argument("--alphabet", help="the characters to learn (those of the labels)")
    command.add_argument("--size", type=size, help="WIDTHxHEIGHT in px to read at (what suits images and labels)")
    command.add_argument("--epochs", type=count, help="passes over the images (by their number)")
    command.add_argument("--warps", type=fraction, help="strength of the random warps, 0 to 1 (by the images' number)")
    command.add_argument("--start", metavar="WHERE", help="general, none, or a weights file (by the images' number)")
    command.add_argument("--conversion", metavar="NAME", help="from colours to grey (by the images)")
    command.add_argument("--resume", action="store_true", help="continue an interrupted run in --out")

    command = add_command(commands, "evaluate", evaluate, "score weights on labelled images")
    add_data(command)
    add_machine(command)
    add_reading(command, RUN_DIR / "weight.pth")
    command.add_argument("--subset", choices=("train", "val", "test", "all"), default="test", help="(%(default)s)")
    command.add_argument("--out", type=Path, help="also write the predictions to this CSV")


def train(options: argparse.Namespace) -> None:
    device = prepare_machine(options)
    from captcha_lib.alphabet import Alphabet
    from captcha_lib.recipe import recipe_for
    from captcha_lib.run import run
    from captcha_lib.training import Session

    alphabet = Alphabet(options.alphabet) if options.alphabet is not None else None
    chosen = {"epochs": options.epochs, "augment_strength": options.warps}
    captchas = load_split(options, alphabet, options.size)
    recipe = recipe_for(captchas, options.seed or 0, options.start, options.conversion, options.size)
    config = replace(recipe.config, **{name: value for name, value in chosen.items() if value is not None})
    recipe = replace(recipe, config=config)
    run(captchas, recipe, options.out, Session(resume=options.resume, device=device, report=report))
    report(f"results in {options.out}")


def evaluate(options: argparse.Namespace) -> None:
    from captcha_lib.metrics import describe, predictions_table, score
    from captcha_lib.reading.base import weights_path

    weights = weights_path(options.weights)
    reader = load_reader(options)
    if options.subset == "all":
        captchas = load(options, reader.alphabet, reader.image_size)
        print(captchas.summary())
    else:
        beside = weights.parent / "split.csv"  # the split that these weights were trained with
        if options.split is None and options.seed is None and beside.exists():
            options.split = beside
        captchas = load_split(options, reader.alphabet, reader.image_size).subset(options.subset)
    images = captchas.seen_through(reader.conversion).images.numpy()
    readings = reader.read(images, options.length, options.alphabet)
    predictions = predictions_table(captchas, readings)
    if options.out:
        write_csv(options.out, predictions)
    print(f"{options.subset}: {describe(score(predictions))}")


def load_reader(options: argparse.Namespace) -> Any:
    """The reader of --weights, on the machine that the options name."""
    from captcha_lib.reading.base import Reader, weights_path

    path = weights_path(options.weights)
    device = "cpu" if path.suffix == ".onnx" else prepare_machine(options)
    return Reader.load(path, device, options.threads or 1)
