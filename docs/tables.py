"""Writes every table of the book: `python docs/tables.py`. The figures are those of output/reference, see figures.py.

The tables go to docs/_tables, which the pages include, and into the blocks of README.md that lie between
`<!-- table: NAME -->` and `<!-- end -->`. With --check nothing is written, and the exit status is 1 if README.md holds
other figures.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]  # for the studies, which are not installed

from figures import FIGURES, markdown  # noqa: E402

BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
WAY = re.compile(r"<!-- way -->\n(.*?)<!-- end -->", re.DOTALL)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Writes the tables of the book and of README.md.", allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if README.md holds other figures")
    options = parser.parse_args(arguments)
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    right = rewritten(text)
    if options.check:
        if text != right:
            print(
                "error: README.md holds other figures than output/reference; run python docs/tables.py", file=sys.stderr
            )
        return int(text != right)
    _write(readme, right)
    write_tables()
    return 0


def write_tables() -> None:
    """Writes the files that the pages include; conf.py calls it, too."""
    for name, table in TABLES.items():
        _write(DOCS / "_tables" / f"{name}.md", table())


def rewritten(readme: str) -> str:
    """The README's text with the tables that the files give."""
    return BLOCK.sub(lambda block: block[1] + TABLES[block[2]]() + block[3], readme)


def plan() -> str:
    """What `train` says of a small set that it was not made for."""
    from captcha_lib.data.load import load_data
    from captcha_lib.data.split import split_captchas
    from captcha_lib.recipe import plan_table, recipe_for
    from studies.samples import write_samples

    with TemporaryDirectory() as folder:
        out = Path(folder) / "my_captchas"
        write_samples(out, 400, "23456789ABCDEFGHJKLMNPQRSTUVWXYZ", (4, 6))
        captchas = split_captchas(load_data(str(out)))
        recipe = recipe_for(captchas)
        table = plan_table(recipe.seen(captchas), recipe)
    return markdown("what | value | follows from, and is changed by", table.to_numpy())


def way() -> str:
    """The README's way of one captcha, with links that hold in the book."""
    (text,) = WAY.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    return text.replace("](notebooks/", "](_notebooks/").replace("](docs/", "](")


# Commands


def commands(build_parser: Callable[[], argparse.ArgumentParser]) -> str:
    """A table of a parser's commands, then the help of each."""
    from captcha_lib.config import RUN_DIR

    (group,) = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    summaries = {choice.dest: choice.help or "" for choice in group._choices_actions}
    parts = [markdown("command | does", [(f"[`{name}`](#{name})", said) for name, said in summaries.items()])]
    for name, parser in group.choices.items():
        parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=88)
        for action in parser._actions:  # paths as in any checkout
            if str(action.default).startswith(str(RUN_DIR)):
                action.default = str(action.default).replace(str(RUN_DIR), "output/run")
        parts.append(f"({name})=\n### `{name}`\n\n```text\n{parser.format_help().rstrip()}\n```\n")
    return "\n".join(parts)


def commands_library() -> str:
    from captcha_lib.commands.main import build_parser

    return commands(build_parser)


def commands_studies() -> str:
    from studies.__main__ import build_parser

    return commands(build_parser)


def make() -> str:
    """What the Makefile says of its targets."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    words = ["make", "--no-print-directory", "help"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout  # noqa: S603
    return f"```text\n{said}```\n"


def _write(path: Path, text: str) -> None:
    """Leaves a file alone that says so already: what includes it is not built again."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


TABLES: dict[str, Callable[[], str]] = FIGURES | {
    table.__name__: table for table in (plan, way, commands_library, commands_studies, make)
}

if __name__ == "__main__":
    sys.exit(main())
