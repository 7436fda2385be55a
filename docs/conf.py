"""Sphinx's configuration of the book: `make book`. What is generated is generated here or in tables.py."""

import sys
from pathlib import Path

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
nb_execution_mode = "off"  # the notebooks' outputs are stored with them
nb_code_prompt_show, nb_code_prompt_hide = "Show the assertions", "Hide the assertions"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # Args say what a function takes, and in which shape
autodoc_preserve_defaults = True  # as they are written: no folder of the machine that builds the book
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
