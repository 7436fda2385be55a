"""What the commands of the shell share: their options, and a line of progress. Nothing heavy is imported at the top."""

import argparse
from collections.abc import Callable
from typing import TextIO

from captcha_lib.config import InputError

DATA_HELP = "generated, kaggle, or a folder or zip of labelled images (CAPTCHA_DATA, else generated)"

ANEW, GOES_ON = "nothing is left half-written; start it again", "the same command goes on from here"

LABELS_HELP = (
    "name: the file's name to its first dot; folder: its folder's name; else a pattern for the file's name, such as "
    "'(.+)_[0-9]+', whose group is the label (CAPTCHA_LABELS_FROM, else name)"
)


def add_command(commands, name: str, command: Callable, says: str, again: str = ANEW) -> argparse.ArgumentParser:
    """Adds a command to the parser of all commands.

    Args:
        commands: of that parser.
        name, command: what is typed, and the function that does it.
        says: a sentence for the help, without its full stop.
        again: what to do after an interruption.
    """
    parser = commands.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".")
    parser.set_defaults(command=command, again=again)
    return parser


def add_source(command: argparse.ArgumentParser) -> None:
    """The options of a command that takes labelled images."""
    command.add_argument("--data", help=DATA_HELP)
    command.add_argument("--labels-from", metavar="WHERE", help=LABELS_HELP)
    command.add_argument("--ignore-case", action="store_true", default=None, help="make all labels lower case")


def add_data(command: argparse.ArgumentParser) -> None:
    """The options of a command that takes split data."""
    add_source(command)
    command.add_argument("--split", help="a split CSV, or 'official' for the one in data/splits that fits the images")
    command.add_argument("--seed", type=int, help="the run's random numbers (0); draws the split where none is given")


def add_machine(command: argparse.ArgumentParser) -> None:
    """The options of a command that can choose what it runs on."""
    command.add_argument("--threads", type=count, help="processor threads (one a core); fewer on a busy machine")
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (%(default)s)")


def report(line: str, to: TextIO | None = None) -> None:
    """Prints a line of progress at once."""
    print(line, file=to, flush=True)


def count(text: str) -> int:
    """An option's value that is a number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def lengths(text: str) -> tuple[int, int]:
    """An option's value that is a number of characters, or a range such as 4-6."""
    shortest, _, longest = text.partition("-")
    longest = longest or shortest
    if not (shortest.isdecimal() and longest.isdecimal() and 1 <= int(shortest) <= int(longest)):
        raise argparse.ArgumentTypeError(f"{text!r} is no length such as 4 or 4-6")
    return int(shortest), int(longest)


def size(text: str) -> tuple[int, int]:
    """An option's value that is a size, WIDTHxHEIGHT in px; returns (H, W)."""
    width, x, height = text.partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 200x50")
    return int(height), int(width)


def share(text: str) -> float:
    """An option's value that is a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return value


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


def load(options: argparse.Namespace, alphabet=None, size=None):
    """Loads the data that the options of `add_source` name."""
    from captcha_lib.data import load_data
    from captcha_lib.labels import LabelRule

    return load_data(options.data, alphabet, size, LabelRule.chosen(options.labels_from, options.ignore_case))


def load_split(options: argparse.Namespace, alphabet=None, size=None):
    """Loads and splits the data that the options of `add_data` name, and says which it is."""
    from captcha_lib.split import split_captchas

    captchas = split_captchas(load(options, alphabet, size), options.split, options.seed)
    print(captchas.summary(), flush=True)
    return captchas
