"""The digest of the code that made a result: it changes with the code, and with nothing else."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import captcha_lib
from studies import digest
from studies.digest import code_digest, modules_of

PACKAGE = Path(captcha_lib.__file__).parent


@pytest.fixture(autouse=True)
def no_cache() -> Iterator[None]:
    modules_of.cache_clear()
    yield
    modules_of.cache_clear()


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the package whose source a test may change."""
    ignored = shutil.ignore_patterns("__pycache__", "weights")
    shutil.copytree(PACKAGE.parent / "studies", tmp_path / "studies", ignore=ignored)
    return Path(shutil.copytree(PACKAGE, tmp_path / "captcha_lib", ignore=ignored))


def digest_of(copy: Path, module: str = "captcha_lib.training") -> str:
    code = f"from studies import digest; print(digest.__file__); print(digest.code_digest({module!r}))"
    environment = os.environ | {"PYTHONPATH": str(copy.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=copy.parent
    )
    file, digest = done.stdout.split()
    assert Path(file).is_relative_to(copy.parent)
    return digest


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("augment.py", "MAX_SHIFT_X, MAX_SHIFT_Y = 8.0, 3.0", "MAX_SHIFT_X, MAX_SHIFT_Y = 9.0, 3.0"),
        ("model.py", "return self.classify(x).float()", "return 2 * self.classify(x).float()"),
        ("lattice.py", "_FEW_CLASSES = 64", "_FEW_CLASSES = 65"),
    ],
)
def test_it_changes_with_the_code_of_every_module_that_is_used(copy, file, old, new):
    """Fault 1: results of a changed `augment` and `CRNN.forward` were taken from those of the old ones."""
    before, source = digest_of(copy), (copy / file).read_text()
    assert old in source
    (copy / file).write_text(source.replace(old, new))
    assert digest_of(copy) != before


def test_it_does_not_change_with_place_comments_docstrings_layout_and_other_modules(copy):
    before = digest_of(copy)
    assert before == code_digest("captcha_lib.training")
    for file in copy.rglob("*.py"):
        text = file.read_text().replace('"""', '"""Said otherwise. ', 1) if file.stat().st_size else ""
        file.write_text("# a comment\n\n" + text.replace("\n\n\n", "\n\n\n\n  # another\n"))
    assert digest_of(copy) == before
    (copy / "commands" / "main.py").write_text("x = 1\n")
    assert digest_of(copy) == before


def test_every_kind_of_import_is_followed(tmp_path, monkeypatch):
    sources = {
        "__init__": "",
        "a": "import planted.b\nfrom planted import c\ndef f():\n    from planted.d import g\n",
        "b": "",
        "c": "import numpy, planted.e as e\nif TYPE_CHECKING:\n    from planted.f import F\n",
        "d": "from planted.a import f\n",
        "e": "",
        "f": "",
    }
    (tmp_path / "planted").mkdir()
    for name, source in sources.items():
        (tmp_path / "planted" / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(digest, "PROJECT", ("planted",))
    assert modules_of("planted.a") == {f"planted.{name}" for name in "abcde"}


def test_a_public_name_stands_for_its_module(tmp_path, monkeypatch):
    (tmp_path / "planted_study").mkdir()
    (tmp_path / "planted_study" / "__init__.py").write_text("from captcha_lib import Config, fit\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(digest, "PROJECT", ("planted_study", "captcha_lib"))
    assert modules_of("planted_study") == {"planted_study"} | modules_of("captcha_lib.training", "captcha_lib.config")
