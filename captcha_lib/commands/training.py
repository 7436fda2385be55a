"""The commands that train and score: train, evaluate."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from captcha_lib.config import RUN_DIR, InputError, data_choice
from captcha_lib.files import write_csv

if TYPE_CHECKING:
    from captcha_lib.data.captchas import Captchas
    from captcha_lib.recipe import Recipe

STREAM_EPOCH, MAX_EPOCHS = 5000, 200  # captchas an epoch of a stream, where there are enough of them


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
    command.add_argument("--n", type=count, help="train on this many generated captchas, drawn as they are needed")
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
    from captcha_lib.runs.distributed import leader_first, process_group
    from captcha_lib.training import Session

    alphabet = Alphabet(options.alphabet) if options.alphabet is not None else None
    chosen = {"epochs": options.epochs, "augment_strength": options.warps}
    with process_group(device) as device:
        with leader_first():
            captchas = load_split(options, alphabet, options.size)
        recipe = recipe_for(captchas, options.seed or 0, options.start, options.conversion)
        config = replace(recipe.config, **{name: value for name, value in chosen.items() if value is not None})
        recipe = replace(recipe, config=config)
        if options.n:
            recipe = _streamed(options, captchas, recipe)
            captchas = captchas.replace(notes=[*captchas.notes, f"trained on a stream of {options.n:,} captchas."])
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


def _streamed(options: argparse.Namespace, captchas: "Captchas", recipe: "Recipe") -> "Recipe":
    """The recipe with the stream that --n asks for."""
    from captcha_lib.data.batches import Stream

    if data_choice(options.data) != "generated":
        raise InputError("--n: captchas are drawn for the generated data only; give --data generated, or leave out --n")
    config = recipe.config
    epochs = options.epochs or max(config.epochs, min(options.n // STREAM_EPOCH, MAX_EPOCHS))
    held = [label for name in ("val", "test") for label in captchas.subset(name).labels]
    stream = Stream(-(-options.n // epochs), seed=config.seed, without=frozenset(held))
    return replace(recipe, config=replace(config, epochs=epochs), stream=stream)
