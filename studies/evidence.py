"""Which code the files of output/reference were made by: its digest and torch's version, kept in evidence.json.

The README and the book quote these files. `record` puts results there with their entries; `check` says which of them
come from other code than this, or from another torch.
"""

import json
import shutil
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from captcha_lib.config import InputError
from captcha_lib.files import replacing, write_text
from studies.digest import made_by

ROOT = Path(__file__).resolve().parents[1]
REFERENCE_DIR = ROOT / "output" / "reference"
SIDECAR = "evidence.json"
# The modules that make the results of a command, by the word that it begins with.
_LIBRARY = {"train": "captcha_lib.run", "evaluate": "captcha_lib.commands.training"}
_STUDIES = {
    "bench": "captcha_lib.run",
    "crossval": "studies.out_of_fold",
    "audit": "studies.audit",
    "plant": "studies.audit",
    "zero": "studies.zero",
    "labels": "studies.learning_curve",
    "protect": "studies.protect",
    "growth": "studies.growth",
    "pretrain": "studies.pretraining",
    "self-taught": "studies.self_taught",
    "left-out": "studies.left_out",
    "real": "studies.real",
}


def modules_of_command(command: str) -> list[str]:
    """The modules that make the results of a command, such as "python -m studies zero --seeds 5".

    Raises:
        InputError: a command whose modules are not known.
    """
    words = command.split()
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        if word.startswith("studies."):
            return [word]
        if word == "studies" and following in _STUDIES:
            return [_STUDIES[following]]
        if word in ("captcha-lib", "captcha_lib") and following in _LIBRARY:
            return [_LIBRARY[following]]
    raise InputError(f"{command!r}: the modules of this command are not known; name them by --modules")


def record(files: Iterable[Path], command: str, *modules: str) -> None:
    """Copies results to output/reference, unless they lie there, and notes there what made them.

    Args:
        files: the results.
        command: what was typed.
        modules: what made them, such as "studies.zero"; without any those of the command.

    Raises:
        InputError: no such file, or a command or module that is not known.
    """
    files, names = list(files), list(modules) or modules_of_command(command)
    for name in names:
        if not _exists(name):
            raise InputError(f"{name}: no such module of this project")
    entry = {"command": command, "modules": names, **made_by(*names), "date": date.today().isoformat()}
    entries = read_entries()
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: no such file; run {command!r} first")
        target = REFERENCE_DIR / file.name
        if file.resolve() != target.resolve():
            with replacing(target) as part:
                shutil.copyfile(file, part)
        entries[file.name] = entry
    write_text(REFERENCE_DIR / SIDECAR, json.dumps(dict(sorted(entries.items())), indent=2) + "\n")


def check() -> dict[str, str]:
    """The files of output/reference that this code did not make: name -> why; by name."""
    entries = read_entries()
    found = {}
    for file in listed():
        reason = _reason(entries.get(file))
        if reason:
            found[file] = reason
    return found


def listed() -> list[str]:
    """The names of the files of output/reference, but for evidence.json."""
    return sorted(file.name for file in REFERENCE_DIR.iterdir() if file.is_file() and file.name != SIDECAR)


def read_entries() -> dict[str, dict]:
    """What evidence.json holds: name -> command, modules, code, torch, date; or commit for what has no digest."""
    path = REFERENCE_DIR / SIDECAR
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise InputError(f"{path}: it cannot be read ({error}); restore it from version control") from None


def _reason(entry: dict | None) -> str | None:
    """Why a file does not come from this code, or None if it does."""
    if entry is None:
        return "not recorded"
    if not entry["modules"]:  # made by hand
        return None
    if entry["code"] is None:
        return f"made by commit {entry['commit']}, which recorded no digest ({entry['command']})"
    ours = made_by(*entry["modules"])
    differing = [f"{name} {entry[name]}, here {ours[name]}" for name in ours if entry[name] != ours[name]]
    return f"made by other code: {'; '.join(differing)} ({entry['command']})" if differing else None


def _exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
