"""The commands about output/reference: record, evidence-check."""

import argparse
from pathlib import Path
from typing import Any

from captcha_lib.commands.options import add_command, report


def add_commands(commands: Any) -> None:
    """Adds these commands to the parser of all commands."""
    command = add_command(
        commands, "record", record, "copy results to output/reference, with the digest of the code that made them"
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="results, there already or not")
    command.add_argument("--by", required=True, metavar="COMMAND", help="the command that made them")
    command.add_argument("--modules", nargs="+", default=[], help="the modules that made them (those of the command)")

    command = add_command(
        commands, "evidence-check", evidence_check, "list the files of output/reference that come from other code"
    )
    command.add_argument("--strict", action="store_true", help="exit with status 1 if there are any")


def record(options: argparse.Namespace) -> None:
    from studies.evidence import REFERENCE_DIR, record

    record(options.files, options.by, *options.modules)
    report(f"{len(options.files)} files recorded in {REFERENCE_DIR}")


def evidence_check(options: argparse.Namespace) -> int:
    from studies.evidence import check, listed

    found = check()
    for file, reason in found.items():
        report(f"{file}: {reason}")
    report(f"{len(found)} of {len(listed())} files of output/reference do not come from this code")
    return int(bool(found) and options.strict)
