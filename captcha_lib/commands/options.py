"""What the commands share: their options, and a line of progress. Nothing heavy is imported at the top."""

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from captcha_lib.config import InputError

if TYPE_CHECKING:
    from captcha_lib.alphabet import Alphabet
    from captcha_lib.data.captchas import Captchas
    from captcha_lib.data.labels import LabelRule

Size = tuple[int, int]  # (H, W) in px
DATA_HELP = "generated, kaggle, or a folder or zip of labelled images (CAPTCHA_DATA, else generated)"
START_AGAIN, CONTINUE = "no file is left half-written; start it again", "the same command continues from here"
LABELS_HELP = (
    "name: the file's name to its first dot; folder: its folder's name; else a pattern for the file's name, such as "
    "'(.+)_[0-9]+', whose group is the label (CAPTCHA_LABELS_FROM, else a table beside the images, or their names)"
)
SAME_HELP = "characters that nobody tells apart, such as 0O; they become the first; may be repeated (CAPTCHA_SAME)"


def add_command(
    commands: Any, name: str, command: Callable, summary: str, interrupted: str = START_AGAIN
) -> argparse.ArgumentParser:
    """Adds a command, whose options must not be abbreviated; `interrupted` is what to do after an interruption."""
    description = summary[0].upper() + summary[1:] + "."
    parser = commands.add_parser(name, help=summary, description=description, allow_abbrev=False)
    parser.set_defaults(command=command, interrupted=interrupted)
    return parser


def add_source(command: argparse.ArgumentParser) -> None:
    """The options of a command that takes labelled images."""
    command.add_argument("--data", help=DATA_HELP)
    add_labels(command)
    command.add_argument("--skip-bad", action="store_true", help="leave out files that cannot be learnt, and list them")


def add_labels(command: argparse.ArgumentParser) -> None:
    """The options that say how labels are told."""
    command.add_argument("--labels-from", metavar="WHERE", help=LABELS_HELP)
    command.add_argument("--ignore-case", action="store_true", default=None, help="make all labels lower case")
    command.add_argument("--same", action="append", metavar="CHARACTERS", help=SAME_HELP)


def add_data(command: argparse.ArgumentParser) -> None:
    """The options of a command that takes split data."""
    add_source(command)
    command.add_argument("--split", help="a split CSV, 'official' for that of these images, or 'drawn' by --seed")
    command.add_argument("--seed", type=int, help="of the random numbers (0); draws the split where none is given")


def add_machine(command: argparse.ArgumentParser) -> None:
    """The options of a command that can choose what it runs on."""
    command.add_argument("--threads", type=count, help="processor threads (one a core); fewer on a busy machine")
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (%(default)s)")


def add_reading(command: argparse.ArgumentParser, weights: str | Path) -> None:
    """The options of a command that reads."""
    command.add_argument("--weights", default=weights, help="kaggle, general, or a weights file (%(default)s)")
    command.add_argument(
        "--length",
        type=lengths,
        help="characters of each text, such as 5 or 4-6, 0 for any (that of the training labels)",
    )
    command.add_argument("--alphabet", help="the characters that may occur (all that the weights know)")


def report(line: str, to: TextIO | None = None) -> None:
    """Prints a line of progress at once."""
    print(line, file=to, flush=True)


def count(text: str) -> int:
    """An option's value that is a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def lengths(text: str) -> int | tuple[int, int]:
    """An option's value that is a number of characters, or a range such as 4-6."""
    least, dash, most = text.partition("-")
    if not least.isdecimal() or (dash and not most.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of characters such as 5 or 4-6")
    return (int(least), int(most)) if dash else int(least)


def size(text: str) -> Size:
    """An option's value that is a size, WIDTHxHEIGHT in px; returns (H, W)."""
    width, x, height = text.partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 200x50")
    return int(height), int(width)


def fraction(text: str) -> float:
    """An option's value that is a number from 0 to 1."""
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")


def prepare_machine(options: argparse.Namespace) -> str:
    """Sets the threads; returns the device. Raises InputError if torch cannot use it."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        torch.zeros(1, device=options.device)
    except (RuntimeError, AssertionError):
        raise InputError(f"device {options.device!r}: torch cannot use it here; try --device cpu") from None
    return options.device


def load(options: argparse.Namespace, alphabet: "Alphabet | None" = None, size: Size | None = None) -> "Captchas":
    """Loads the data that the options of `add_source` name."""
    from captcha_lib.data.load import load_data

    return load_data(options.data, alphabet, size, label_rule(options), options.skip_bad)


def label_rule(options: argparse.Namespace) -> "LabelRule":
    """The rule that the options of `add_source` name."""
    from captcha_lib.data.labels import LabelRule

    return LabelRule.chosen(options.labels_from, options.ignore_case, options.same)


def load_split(options: argparse.Namespace, alphabet: "Alphabet | None" = None, size: Size | None = None) -> "Captchas":
    """Loads and splits the data that the options of `add_data` name, and says which it is."""
    from captcha_lib.data.split import split_captchas

    captchas = split_captchas(load(options, alphabet, size), options.split, options.seed)
    report(captchas.summary())
    return captchas
