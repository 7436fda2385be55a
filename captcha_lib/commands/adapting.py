"""The commands that learn a kind of captchas from pictures that nobody labelled, or few: adapt, label."""

import argparse
from pathlib import Path
from typing import Any

from captcha_lib.commands.options import add_command, add_machine, add_reading, count, prepare_machine, report
from captcha_lib.config import RUN_DIR


def add_commands(commands: Any) -> None:
    """Adds these commands to the parser of all commands."""
    command = add_command(commands, "adapt", adapt, "learn a kind of captchas from images without labels")
    command.add_argument("images", nargs="+", metavar="IMAGE|FOLDER", help="image files, or folders of them")
    command.add_argument("--seed", type=int, default=0, help="of the random numbers (%(default)s)")
    _add_start(command)

    command = add_command(commands, "label", label, "serve a page that takes labels where they count; needs 'demo'")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="images, beside which labels.csv is written")
    command.add_argument("--port", type=count, default=7861, help="(%(default)s)")
    _add_start(command)


def adapt(options: argparse.Namespace) -> None:
    prepare_machine(options)
    import pandas as pd

    from captcha_lib.adapting import adapt
    from captcha_lib.files import sole_writer, write_csv
    from captcha_lib.reading.predict import image_files, load_pictures
    from captcha_lib.reading.torch_reader import load_start

    start = load_start(options.weights)
    files = image_files(map(Path, options.images))
    images = load_pictures(files, start)
    with sole_writer(options.out):
        adapted = adapt(images, start, options.alphabet, options.length, seed=options.seed, report=report)
        readings = adapted.read(images)
        rows = [(str(file.path), one.text, round(one.confidence, 6)) for file, one in zip(files, readings, strict=True)]
        write_csv(options.out / "readings.csv", pd.DataFrame(rows, columns=["file", "text", "confidence"]))
        write_csv(options.out / "rounds.csv", adapted.rounds)
        names = [str(files[i].path) for i in adapted.pseudo_labels["picture"]]
        write_csv(options.out / "pseudo_labels.csv", adapted.pseudo_labels.assign(picture=names))
        adapted.reader.save(options.out / "weight.pth")
    report(f"weights and readings in {options.out}")


def label(options: argparse.Namespace) -> None:
    prepare_machine(options)
    from captcha_lib.labelling import Labelling, build_page
    from captcha_lib.reading.torch_reader import load_start

    labelling = Labelling(options.folder, load_start(options.weights), options.alphabet, options.length)
    report(str(labelling.adapted.kind))
    page = build_page(labelling, options.out)
    folder = str(options.folder.resolve())
    page.launch(server_name="127.0.0.1", server_port=options.port, show_error=True, allowed_paths=[folder])


def _add_start(command: argparse.ArgumentParser) -> None:
    """The options of a command that goes on from weights."""
    add_machine(command)
    add_reading(command, "general")
    command.add_argument("--out", type=Path, default=RUN_DIR / "adapted", help="folder of the results (%(default)s)")
