"""Sphinx's configuration of the book: `make book`. What is generated is generated here or in tables.py."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

import figures  # noqa: E402
import notebook_pages  # noqa: E402
import tables  # noqa: E402

from captcha_lib import __version__  # noqa: E402

tables.write_tables()
notebook_pages.copy_notebooks(DOCS.parent / "notebooks", DOCS / "_notebooks")

project, author, copyright = "captcha_lib", "The captcha_lib authors", "2026, the captcha_lib authors"
release = version = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_tables", "static"]  # included by pages

myst_enable_extensions = ["substitution"]
myst_substitutions = figures.values()
myst_heading_anchors = 3
smartquotes = False  # --option stays as it is typed
nb_execution_mode = "off"  # the notebooks' outputs are stored with them
nb_code_prompt_show, nb_code_prompt_hide = "Show the assertions", "Hide the assertions"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # Args say what a function takes, and in which shape
autodoc_preserve_defaults = True  # as they are written
napoleon_custom_sections = [("Shape", "returns_style")]
napoleon_use_ivar = True  # attributes belong to the text of their class
napoleon_use_rtype = False
default_role = "code"  # docstrings mark code as Markdown does

html_theme = "sphinx_book_theme"
html_title = f"captcha_lib {version}"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search stands in the sidebar
    "use_download_button": False,
    "use_fullscreen_button": False,
}

LONG = 40  # characters of a default


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", short_defaults)
    app.connect("build-finished", check_paths)


def short_defaults(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """The signature of a dataclass, with "..." for a default that is long or has to be made."""
    if not dataclasses.is_dataclass(thing):
        return None
    fields = []
    for field in dataclasses.fields(thing):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            fields.append(field.name)
        elif field.default is dataclasses.MISSING or len(repr(field.default)) > LONG:
            fields.append(f"{field.name}=...")
        else:
            fields.append(f"{field.name}={field.default!r}")
    return f"({', '.join(fields)})", returns


def check_paths(app: Sphinx, exception: Exception | None) -> None:
    """Fails where a page names the folder that the book was built in."""
    pages = [] if exception else sorted(Path(app.outdir).rglob("*.html"))
    found = [page.name for page in pages if f"{DOCS.parent}/" in page.read_text(encoding="utf-8")]
    if found:
        raise ExtensionError(f"these pages name {DOCS.parent}: {', '.join(found)}")
