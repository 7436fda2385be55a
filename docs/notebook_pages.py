"""Copies the notebooks into the book: their assertions folded away, their links made to hold there.

The notebooks themselves stay as they are.
"""

import ast
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

# A link of a notebook, and where it leads from docs/_notebooks.
LINKS = [
    (re.compile(r"\]\(\.\./README\.md[^)]*\)"), "](../index.md)"),
    (re.compile(r"\]\(\.\./docs/"), "](../"),
    (re.compile(r"\]\(\.\./(?=(?:output|examples|data|studies|captcha_lib)/)"), "](../../"),
]
FOLDED = "hide-input"  # MyST-NB folds the source of a cell with this tag


def copy_notebooks(notebooks: Path, pages: Path) -> None:
    """Writes a page for each notebook in a folder; one that has not changed is left alone."""
    sources = sorted(notebooks.rglob("[0-9]*.ipynb"))
    names = {source.relative_to(notebooks) for source in sources}
    for old in {page.relative_to(pages) for page in pages.rglob("*.ipynb")} - names:
        (pages / old).unlink()
    for source in sources:
        notebook = nbformat.read(source, as_version=4)
        notebook.cells = [part for cell in notebook.cells for part in for_book(cell)]
        page, text = pages / source.relative_to(notebooks), nbformat.writes(notebook)
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def for_book(cell: NotebookNode) -> list[NotebookNode]:
    """The cells that stand for one in the book: code cells lose their assertions to a folded cell after them."""
    if cell.cell_type == "markdown":
        for link, there in LINKS:
            cell.source = link.sub(there, cell.source)
    if cell.cell_type != "code":
        return [cell]
    shown, asserted = split_asserts(cell.source)
    if not asserted:
        return [cell]
    if not shown:
        cell.metadata.tags = [*cell.metadata.get("tags", []), FOLDED]
        return [cell]
    cell.source = shown
    return [cell, new_code_cell(asserted, id=f"{cell.id}-assert", metadata={"tags": [FOLDED]})]


def split_asserts(source: str) -> tuple[str, str]:
    """The source without its top-level assert statements, and these."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a cell with a magic
        return source, ""
    lines, asserted = source.split("\n"), []
    for statement in reversed(statements):
        if isinstance(statement, ast.Assert):
            where = slice(statement.lineno - 1, statement.end_lineno)
            asserted[:0] = lines[where]
            del lines[where]
    return "\n".join(lines).strip("\n"), "\n".join(asserted)
