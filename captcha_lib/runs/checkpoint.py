"""Checkpoints: the state of a training after an epoch, and whose training it is."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.batches import Source
from captcha_lib.data.captchas import Captchas
from captcha_lib.reading.torch_reader import unpacked, write_tensors

CODE = ("code", "torch")  # parts of an identity that tell by which code a training was run


def identity(train: Source, val: Captchas | None, alphabet: Alphabet, config: Config) -> dict:
    """What has to agree for two trainings to be the same one; plain values only."""
    settings = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(config).items()}
    images = f"{train.identity()} + {'0' if val is None else val.identity()}"
    code = {"code": code_digest(), "torch": torch.__version__.partition("+")[0]}
    return settings | {"alphabet": alphabet.characters, "images": images} | code


@cache
def code_digest() -> str:
    """Eight hexadecimal digits that change when the source of this package does."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]


def differences(theirs: dict, ours: dict) -> list[str]:
    """The names under which two identities differ; code and version last."""
    names = [name for name in ours if theirs.get(name) != ours[name]]
    return sorted(names, key=lambda name: name in CODE)


def save_checkpoint(path: str | Path, state_dict: dict, own: dict) -> None:
    """Writes a checkpoint atomically."""
    write_tensors(path, {"identity": own, "state": state_dict})


def load_checkpoint(
    path: str | Path | None, load_state: Callable[[dict], None], own: dict, report: Callable[[str], None]
) -> bool:
    """Hands the state of a checkpoint, if there is one, to `load_state`; False, and a line, where other code made it.

    Raises:
        InputError: it belongs to another training, or cannot be read.
    """
    if path is None or not Path(path).exists():
        return False
    path = Path(path)
    try:
        saved = unpacked(path)
        theirs, state_dict = dict(saved["identity"]), saved["state"]
    except Exception as error:  # a truncated or foreign file fails in many ways
        raise _unreadable(path, error) from None
    differing = differences(theirs, own)
    if differing and differing[0] not in CODE:
        name = differing[0]
        said = f"checkpoint {path}: it belongs to another run ({name} {theirs.get(name)}, here {own[name]})"
        raise InputError(f"{said}; start without --resume")
    if differing:
        report(f"checkpoint {path}: made by other {' and '.join(differing)}; training starts from the beginning")
        return False
    try:
        load_state(state_dict)
    except (KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
        raise _unreadable(path, error) from None
    return True


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"checkpoint {path}: it cannot be read ({type(error).__name__}); start without --resume")
