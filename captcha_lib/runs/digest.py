"""Which code made a result: a digest of the source of a module and of all that it imports from this project."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PROJECT = ("captcha_lib", "studies")


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
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PROJECT:
            module = str(node.module)
            submodules = [f"{module}.{alias.name}" for alias in node.names]
            inside = [name for name in submodules if _source(name) is not None]
            yield from inside or [module]


def _code(name: str) -> str:
    return ast.dump(_tree(name))


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
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
