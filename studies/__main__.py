"""The command line of the studies: `python -m studies crossval`, `python -m studies zero` and the others."""

import argparse
import sys

from captcha_lib.commands.main import main
from studies.commands import drawn, labelled, reference


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options. Nothing heavy is imported for it: `--help` answers at once."""
    parser = argparse.ArgumentParser(
        prog="python -m studies", description="Measure, compare and audit; see the notebooks.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (labelled, drawn, reference):
        group.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main(parser=build_parser))
