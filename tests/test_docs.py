"""The README and the book: their links, their figures, their length, and what they must not name."""

import re
import sys
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell

import captcha_lib

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import figures  # noqa: E402
import notebook_pages  # noqa: E402
import tables  # noqa: E402

PAGES = sorted(DOCS.glob("*.md"))
WRITTEN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md", *PAGES]
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|mnt|opt)/")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_the_readme_is_short_and_names_every_notebook():
    text = text_of(ROOT / "README.md")
    assert len(text.splitlines()) <= 200
    assert all(f"](notebooks/{path.name})" in text for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#\s]+)", text_of(path))
    files = [link.replace("_notebooks/", "../notebooks/") for link in links if "://" not in link]
    assert [link for link in files if not (path.parent / link).exists()] == []
    for page, anchor in re.findall(r"\]\(([\w.]*\.md)?#([\w-]+)\)", text_of(path) if path in PAGES else ""):
        headings = re.findall(r"^#+ (.+)$", text_of(DOCS / page if page else path), re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def test_the_figures_of_the_readme_are_those_of_the_files(capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().err
    text = text_of(ROOT / "README.md")
    assert tables.rewritten(text.replace("**99.", "**98.")) == text != text.replace("**99.", "**98.")


def test_tables_and_figures_of_the_pages_are_known_and_used():
    pages = "".join(map(text_of, PAGES))
    assert set(re.findall(r"_tables/(\w+)\.md", pages)) == set(tables.TABLES)
    assert set(re.findall(r"\{\{ (\w+) \}\}", pages)) == set(figures.values())


def test_tables_are_whole_and_no_page_names_a_path_of_a_machine():
    written = {name: table() for name, table in tables.TABLES.items()}
    for name, text in written.items():
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in rows if "`" not in line}) <= 1 or name == "way", name
        assert "nan" not in text.split(), name
    for name, text in ({path.name: text_of(path) for path in WRITTEN} | written | figures.values()).items():
        assert not MACHINE.search(text), name


def test_the_way_of_one_captcha_names_what_is_there():
    (way,) = tables.WAY.findall(text_of(ROOT / "README.md"))
    names = re.findall(r"`((?:\w+\.)+\w+)`", way.split("| room |")[0].split("`captcha_lib.train`")[0])
    assert len(names) > 10
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(f"captcha_lib.{module}"), attribute), name


def test_every_public_name_is_in_the_api():
    listed = re.findall(r"auto\w+:: captcha_lib\.(\w+)", text_of(DOCS / "api.md"))
    assert sorted(listed) == sorted(name for name in captcha_lib.__all__ if name != "__version__")


# The notebooks in the book


def tags(cells: list) -> list[tuple[str, bool]]:
    return [(cell.source, "hide-input" in cell.metadata.get("tags", [])) for cell in cells]


def test_assertions_are_folded_away():
    mixed = new_code_cell("a = 1\nassert (\n    a\n)  # so it is\nprint(a)\nassert a < 2")
    assert tags(notebook_pages.for_book(mixed)) == [
        ("a = 1\nprint(a)", False),
        ("assert (\n    a\n)  # so it is\nassert a < 2", True),
    ]
    assert tags(notebook_pages.for_book(new_code_cell("assert True"))) == [("assert True", True)]


@pytest.mark.parametrize("source", ["print(1)", "def f():\n    assert True", "%time 1", "x = 'assert y'"])
def test_other_cells_stay(source):
    assert tags(notebook_pages.for_book(new_code_cell(source))) == [(source, False)]


@pytest.mark.parametrize(
    ("link", "there"),
    [
        ("(02_split_data.ipynb)", "(02_split_data.ipynb)"),
        ("(../README.md#your-own-images)", "(../index.md)"),
        ("(../docs/own_captchas.md)", "(../own_captchas.md)"),
        ("(../output/reference/seeds.csv)", "(../../output/reference/seeds.csv)"),
    ],
)
def test_links_of_notebooks_hold_in_the_book(link, there):
    (cell,) = notebook_pages.for_book(new_markdown_cell(f"see [it]{link}"))
    assert cell.source == f"see [it]{there}"


def test_notebooks_are_copied_once_and_old_copies_go(tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "old.ipynb").write_text("{}")
    notebook_pages.copy_notebooks(ROOT / "notebooks", tmp_path / "pages")
    pages = sorted((tmp_path / "pages").rglob("*.ipynb"))
    names = [page.relative_to(tmp_path / "pages").as_posix() for page in pages]
    assert {"01_explore_data.ipynb", "solutions/01_explore_data.ipynb"} <= set(names)
    assert len(names) == len(
        [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "notebooks" / "solutions").glob("*.ipynb")]
    )
    nbformat.validate(nbformat.read(pages[0], as_version=4))
    before = [page.stat().st_mtime_ns for page in pages]
    notebook_pages.copy_notebooks(ROOT / "notebooks", tmp_path / "pages")
    assert [page.stat().st_mtime_ns for page in pages] == before
