"""Which code made a result: a digest of the source of a module and of all that it imports from this project."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PROJECT = ("captcha_lib", "studies")


def made_by(*modules: str) -> dict:
    """The digest of the code that makes a result, and torch's version; see `code_digest`."""
    return {"code": code_digest(*modules), "torch": version("torch").partition("+")[0]}


@cache
def code_digest(*modules: str) -> str:
    """Eight hexadecimal digits that change when the code of these modules, or of what they import, changes.

    Comments, docstrings and layout do not count; neither does what is imported for type checkers alone.

    Args:
        modules: names such as "captcha_lib.training".
    """
    code = "".join(f"{name} {_code(name)}\n" for name in sorted(modules_of(*modules)))
    return hashlib.sha256(code.encode()).hexdigest()[:8]


@cache
def modules_of(*modules: str) -> frozenset[str]:
    """The modules themselves, and those of this project that they import, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imports(_tree(name))
    return frozenset(found)


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in PROJECT)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PROJECT:
            yield from (_home(str(node.module), alias.name) for alias in node.names)


def _home(module: str, name: str) -> str:
    """The module behind a name that is imported from a module: a submodule, a public name's home, or that module."""
    if _source(f"{module}.{name}") is not None:
        return f"{module}.{name}"
    homes = getattr(import_module(module), "_HOME_OF", {}) if module in PROJECT else {}
    return f"{module}.{homes[name]}" if name in homes else module


def _code(name: str) -> str:
    return _dump(_tree(name))


def _dump(node: object) -> str:
    """The tree as text. `ast.dump` writes other empty fields with every version of Python."""
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [f"{name}={_dump(value)}" for name, value in ast.iter_fields(node) if value is not None and value != []]
    return f"{type(node).__name__}({','.join(fields)})"


@cache
def _tree(name: str) -> ast.Module:
    """The parsed source, without docstrings and without what only type checkers see."""
    path = _source(name)
    tree = ast.parse(path.read_bytes() if path else b"")
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_silent(part)]  # type: ignore[attr-defined]
    return tree


def _is_silent(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def _source(name: str) -> Path | None:
    """The file of a module of this project; None where there is none. Nothing is imported for it."""
    project, *rest = name.split(".")
    spec = find_spec(project)
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    path = Path(spec.origin).parent.joinpath(*rest)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
