"""What the notebooks have to keep to: their skeleton, their cells, and that they are stored as executed."""

import ast
import re
import statistics
from pathlib import Path

import nbformat
import pytest

from captcha_lib.config import CHECKOUT as ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
WITH_EXERCISES = [path for path in NOTEBOOKS if int(path.stem[:2]) <= 5 or "ctc_by_hand" in path.stem]
TAGS = {"nbval-ignore-output", "nbval-check-output", "nbval-skip", "raises-exception"}


def read(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def test_the_five_notebooks_are_there():
    names = [path.stem for path in NOTEBOOKS]
    assert names[:5] == ["01_explore_data", "02_split_data", "03_train", "04_evaluate", "05_how_it_reads"]


def headings_of(path: Path) -> list[str]:
    markdown = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    return [line for line in markdown.splitlines() if line.startswith("#")]


def are_numbered(headings: list[str]) -> bool:
    return [heading.split(".")[0] for heading in headings] == [f"## {i + 1}" for i in range(len(headings))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_headings_follow_the_skeleton(path):
    headings, last = headings_of(path), ["## What we learned", "## Next"]
    if path in WITH_EXERCISES:
        last.insert(1, "## Exercises")
    assert headings[0].startswith(f"# {int(path.stem[:2])}. ")
    assert headings[1:3] == ["## Aim", "## What you need"]
    assert headings[-len(last) :] == last
    numbered = headings[3 : -len(last)]
    assert are_numbered(numbered)
    assert len(numbered) >= 3


def test_exercises_have_solutions():
    assert [path.stem for path in SOLUTIONS] == [path.stem for path in WITH_EXERCISES]
    for exercises, solutions in zip(WITH_EXERCISES, SOLUTIONS, strict=True):
        _, _, text = read(exercises).cells[-1].source.partition("## Exercises")
        asked = re.findall(r"^[0-9]\. \*\*(.+?)\.?\*\*", text, re.MULTILINE)
        first, *answered = headings_of(solutions)
        assert first == f"# Solutions to {headings_of(exercises)[0][2:]}"
        assert are_numbered(answered)
        assert [heading.partition(". ")[2] for heading in answered] == asked
        assert 2 <= len(asked) <= 3


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SOLUTIONS], ids=lambda path: f"{path.parent.name}/{path.stem}")
class TestNotebook:
    def test_is_stored_as_executed_from_top_to_bottom(self, path):
        cells = code_cells(path)
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        outputs = [output for cell in cells for output in cell.outputs]
        assert "error" not in {output.output_type for output in outputs}
        assert {output.name for output in outputs if output.output_type == "stream"} <= {"stdout"}, (
            "a warning is stored"
        )

    def test_names_no_folder_of_this_machine(self, path):
        assert str(ROOT) not in path.read_text(encoding="utf-8")

    def test_the_first_five_need_the_library_alone(self, path):
        imports = [line for cell in code_cells(path) for line in cell.source.splitlines() if "import " in line]
        assert int(path.stem[:2]) > 5 or not [line for line in imports if "studies" in line]

    def test_metadata(self, path):
        notebook = read(path)
        assert notebook.metadata.kernelspec.name == "python3"
        assert "widgets" not in notebook.metadata
        assert {tag for cell in notebook.cells for tag in tags(cell)} <= TAGS

    def test_cells_are_small(self, path):
        lengths = [len(cell.source.splitlines()) for cell in code_cells(path)]
        assert max(lengths) <= 30
        assert statistics.median(lengths) <= 6 or path in SOLUTIONS

    def test_text_goes_with_the_code(self, path):
        kinds = "".join(cell.cell_type[0] for cell in read(path).cells)  # m and c
        assert kinds[0] == kinds[-1] == "m"
        assert "cccc" not in kinds

    def test_holds_no_class_and_no_function(self, path):
        """They belong into modules, but for the functions of CTC, which are what the notebook derives."""
        nodes = [node for cell in code_cells(path) for node in ast.walk(ast.parse(cell.source))]
        kinds = ast.ClassDef if "ctc_by_hand" in path.stem else ast.ClassDef | ast.FunctionDef
        assert not [node for node in nodes if isinstance(node, kinds)]

    def test_what_is_measured_is_asserted(self, path):
        measured = [cell for cell in code_cells(path) if "nbval-ignore-output" in tags(cell)]
        asserting = [cell for cell in code_cells(path) if "assert " in cell.source]
        assert len(asserting) >= max(1, len(measured) // 2)
