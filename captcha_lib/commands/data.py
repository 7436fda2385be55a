"""The commands that make and split data: generate, split."""

import argparse
from pathlib import Path
from typing import Any

from captcha_lib.commands.options import add_command, add_data, count, load_split
from captcha_lib.config import RUN_DIR
from captcha_lib.files import check_writable

DRAWN_SPLIT = "drawn_split.csv"  # not split.csv, which is the one that the weights beside it were trained with


def add_commands(commands: Any) -> None:
    """Adds these commands to the parser of all commands."""
    command = add_command(commands, "generate", generate, "draw labelled captchas into a folder")
    command.add_argument("--count", type=count, default=1070, help="how many (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="same seed, same captchas (%(default)s)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "captchas", help="a new folder (%(default)s)")

    command = add_command(commands, "split", split, "write which image is for training, validation and test")
    add_data(command)
    command.add_argument("--out", type=Path, default=RUN_DIR / DRAWN_SPLIT, help="a CSV (%(default)s)")
    command.add_argument("--layout", type=Path, help="also copy the images into train/ val/ test/ in this new folder")


def generate(options: argparse.Namespace) -> None:
    from captcha_lib.data.load import write_captchas
    from captcha_lib.generator.draw import generate_captchas

    texts, images = generate_captchas(options.count, options.seed)
    write_captchas(texts, images, options.out)
    print(f"{len(texts):,} captchas of seed {options.seed} in {options.out}")


def split(options: argparse.Namespace) -> None:
    from captcha_lib.data.split import write_layout, write_split

    captchas = load_split(options)
    if options.layout:
        check_writable(options.out)
        write_layout(captchas, options.layout)
        print(f"images copied to {options.layout}")
    write_split(captchas.manifest, options.out)
    print(f"written to {options.out}")
