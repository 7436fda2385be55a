"""The command check: how labelled images are understood, what is wrong with them, and a page of what is in doubt."""

import argparse
import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captcha_lib.commands.options import add_command, add_labels, label_rule
from captcha_lib.config import RUN_DIR, InputError, printable
from captcha_lib.files import write_text

if TYPE_CHECKING:
    from captcha_lib.data.captchas import Captchas
    from captcha_lib.data.report import Finding

_SHOWN = 60  # pictures on the page
_HEAD = '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><style>body {{font: 15px sans-serif; margin: 2em}} '
_HEAD += "table {{border-collapse: collapse}} td {{border: 0; padding: 4px 12px; overflow-wrap: anywhere}} "
_HEAD += "img {{max-width: 240px}}</style><title>{0}</title><h1>{0}</h1>\n"


def add_commands(commands: Any) -> None:
    """Adds this command to the parser of all commands."""
    command = add_command(commands, "check", check, "say how labelled images are understood, and what is wrong")
    command.add_argument("data", metavar="FOLDER|ZIP", help="labelled images")
    add_labels(command)
    page = RUN_DIR / "check.html"
    command.add_argument("--out", type=Path, default=page, help="a page of what is in doubt (%(default)s)")


def check(options: argparse.Namespace) -> int:
    from captcha_lib.data.load import examine

    captchas, report = examine(options.data, rule=label_rule(options))
    print(_understood(captchas) if captchas else "no image here can be learnt")
    print(*report.lines(), sep="\n", end="\n" if report.lines() else "")
    if found := [*report.troubles, *report.doubts]:
        write_text(options.out, _page(options.data, found, report.root))
        print(f"pictures of these in {options.out}")
    if report.troubles:
        print(f"{len(report.skipped()):,} files cannot be learnt as they are; mend them, or give --skip-bad to train")
    return 1 if report.troubles else 0


def _understood(captchas: "Captchas") -> str:
    lengths = sorted(set(map(len, captchas.labels)))
    examples = ", ".join(f"{file} is {label!r}" for file, label in captchas.named_labels()[:3])
    counted = captchas.manifest["subset"].value_counts()
    subsets = ", ".join(f"{name} {count:,}" for name, count in counted.items() if name) or "none; it would be drawn"
    characters = captchas.alphabet.characters
    return (
        f"{captchas.replace(notes=[]).summary()}\n"
        f"labels: {examples}, ...; {lengths[0]} to {lengths[-1]} of {len(characters)} characters: {characters}\n"
        f"split in folders: {subsets}"
    )


def _page(data: str, found: list["Finding"], root: Any) -> str:
    """An HTML page with the pictures of files that something was found about."""
    import pandas as pd

    rows = [(one.kind, _picture(root, one.file), html.escape(printable(one.reason))) for one in found[:_SHOWN]]
    more = f"<p>and {len(found) - _SHOWN:,} more</p>" if len(found) > _SHOWN else ""
    table = pd.DataFrame(rows).to_html(header=False, index=False, escape=False)
    return _HEAD.format(html.escape(printable(data))) + table + more + "</html>\n"


def _picture(root: Any, file: str) -> str:
    """The picture of a file as the network would see it, as an element of the page; "" where there is none."""
    from PIL import Image

    from captcha_lib.data.folders import read_bytes
    from captcha_lib.data.images import decode_image

    try:
        pixels = decode_image(read_bytes(root / file, file, root), file)
    except InputError:
        return ""
    saved = io.BytesIO()
    Image.fromarray(pixels).save(saved, "PNG")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(saved.getvalue()).decode()}">'
