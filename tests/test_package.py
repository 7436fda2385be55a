"""The order of the modules: each builds on those before it, none on one after it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import captcha_lib

ORDER = [
    "config", "files", "alphabet", "images", "labels", "style", "glyphs", "generate", "sample", "data", "split",
    "share", "feed", "augment", "model", "plan", "decode", "onnx_reader", "reader", "reading", "predict", "metrics",
    "plots", "results", "train", "general", "jobs", "expect", "crossval", "audit", "sweep", "zero", "curve",
    "legibility", "protect", "demo", "cli", "studies", "__main__",
]  # fmt: skip
PACKAGE = Path(captcha_lib.__file__).parent


def imported_modules(source: str) -> set[str]:
    """The modules of captcha_lib that a source imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.removeprefix("captcha_lib.") for name in node.names if "captcha_lib" in name.name}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "captcha_lib":
                found |= {name.name for name in node.names}
            elif node.module.startswith("captcha_lib."):
                found.add(node.module.removeprefix("captcha_lib."))
    return found


def test_the_import_finder_sees_every_kind():
    source = "import os, captcha_lib.a\ndef f():\n    from captcha_lib import b, c\n    from captcha_lib.d import e"
    assert imported_modules(source) == {"a", "b", "c", "d"}


def test_every_module_has_its_place():
    assert sorted(ORDER) == sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("module", ORDER)
def test_imports_point_back(module):
    source = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    assert imported_modules(source) <= set(ORDER[: ORDER.index(module)])


def test_the_package_itself_imports_none():
    assert imported_modules((PACKAGE / "__init__.py").read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("name", captcha_lib.__all__)
def test_public_names_exist(name):
    assert callable(getattr(captcha_lib, name))


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'captcha'"):
        captcha_lib.captcha  # noqa: B018


def test_help_does_not_wait_for_torch():
    code = "import sys; from captcha_lib.__main__ import build_parser; build_parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
