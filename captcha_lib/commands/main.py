"""The command line: `captcha-lib train`, `captcha-lib predict` and the others."""

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable

from captcha_lib import __version__
from captcha_lib.commands import adapting, check, data, reading, training
from captcha_lib.config import InputError, missing_extra, printable

MAX_SEED = 2**32
# Threads of torch sleep soon while they wait for another, instead of taking its time: on a machine whose two cores had
# other work, training took 44 s instead of 155, on an idle one 9.0 instead of 8.7. Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def main(arguments: list[str] | None = None, parser: Callable[[], argparse.ArgumentParser] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 1 where some of the images could not be read, 2 after bad input."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about what is refused, or does not matter here
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold undecodable bytes
    options = (parser or build_parser)().parse_args(arguments)
    try:
        if not 0 <= (getattr(options, "seed", None) or 0) < MAX_SEED:
            raise InputError(f"seed {options.seed}: give 0 or more, and less than {MAX_SEED:,}")
        return options.command(options) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if str(error.name).startswith(("captcha_lib", "studies")):  # a fault of ours, not an extra that is missing
            raise
        print(f"error: {missing_extra(str(error.name))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads the output has seen enough, as in "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # such as a full disk behind "> file"
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {options.interrupted}", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options. Nothing heavy is imported for it: `--help` answers at once."""
    parser = argparse.ArgumentParser("captcha-lib", description="Learn and read text captchas.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (data, check, training, adapting, reading):
        group.add_commands(commands)
    return parser
