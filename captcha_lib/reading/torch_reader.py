"""`TorchReader`: a weights file, read by torch. A weights file is data, and code in it is never run."""

import io
import pickle
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captcha_lib.config import InputError
from captcha_lib.data.colour import GREY
from captcha_lib.files import progress, replacing
from captcha_lib.model import CRNN, time_steps
from captcha_lib.reading.base import FACTS, MAX_BYTES, Reader, reader_facts, weights_path

FORMAT = "captcha_lib weights 5"
OLDER_FORMATS = ("captcha_lib weights 4", "captcha_lib weights 3", "captcha_lib weights 2")
KEYS = {"format", "state", "channels", "hidden", "blocks", *FACTS}
MAX_FEATURES = 512  # of a layer; far more than the networks here have
MAX_BLOCKS = 16


@dataclass(frozen=True)
class TorchReader(Reader):
    """A reader whose network is a torch module in evaluation mode."""

    model: CRNN = field(kw_only=True)

    @torch.no_grad()
    def logits(self, images: torch.Tensor | np.ndarray, batch_size: int = 64) -> torch.Tensor:
        """Scores pictures, (N, 1, H, W) uint8 -> (N, T, K) float32 on the CPU."""
        device = next(self.model.parameters()).device
        batches = torch.as_tensor(images).split(batch_size)
        return torch.cat([self.model(batch.to(device)).cpu() for batch in progress(batches)])

    @property
    def layers(self) -> dict:
        """What its network is built with: the fields of `Config` that a training that starts from it has to take."""
        return {"channels": self.model.channels, "hidden": self.model.hidden, "blocks": self.model.blocks}

    def save(self, path: str | Path) -> None:
        """Writes a weights file: a dict of tensors, matrices in half precision, and plain values; no code."""
        weights = {
            "format": FORMAT,
            "state": {name: _stored(tensor.cpu()) for name, tensor in self.model.state_dict().items()},
            "alphabet": self.alphabet.characters,
            "image_size": list(self.image_size),
            "length": self.length,
            "temperature": [self.temperature, self.temperature_any],
            "conversion": self.conversion,
            "sizes": [list(size) for size in self.sizes],
            "channels": list(self.model.channels),
            "hidden": self.model.hidden,
            "blocks": self.model.blocks,
        }
        write_tensors(path, weights)

    @staticmethod
    def load(path: str | Path, device: str = "cpu", threads: int = 1) -> "TorchReader":
        """Reads a weights file; raises InputError for one that is missing, damaged, foreign, or carries code."""
        weights = _modern(unpacked(Path(path)))
        if not isinstance(weights, dict) or set(weights) != KEYS or weights["format"] != FORMAT:
            raise InputError(f"weights {path}: not weights of this project; train some with the train command")
        facts = reader_facts(weights)
        model = _build(weights, facts) if facts else None
        if facts is None or model is None:
            raise InputError(f"weights {path}: its parts contradict each other; copy or train it again")
        return TorchReader(**facts, model=model.eval().to(device))


def load_start(weights: str | Path) -> TorchReader:
    """The reader of weights that can be trained further; raises InputError if there are none."""
    return TorchReader.load(weights_path(weights).with_suffix(".pth"))


def write_tensors(path: str | Path, things: dict) -> None:
    """Writes a file of tensors and plain values atomically; raises InputError where it is not writable."""
    buffer = io.BytesIO()  # torch's own writing to a file does not report a full disk
    torch.save(things, buffer)
    with replacing(path) as part:
        part.write_bytes(buffer.getvalue())


def round_weights(model: CRNN) -> None:
    """Rounds a network's weights to the precision of a weights file, so that what is measured is what is stored."""
    model.load_state_dict({name: _stored(tensor) for name, tensor in model.state_dict().items()})


def unpacked(path: Path) -> Any:
    """What torch finds in a file, without running code; raises InputError."""
    try:
        if path.is_dir():
            raise IsADirectoryError
        if not path.is_file():  # nor a pipe or a device, which may have no end
            raise FileNotFoundError
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about archives of other kinds, which the next lines refuse
            return torch.load(path, map_location="cpu", weights_only=True)
    except IsADirectoryError:
        raise InputError(f"weights {path}: this is a folder; name a file") from None
    except FileNotFoundError:
        raise InputError(f"weights {path}: no such file; train first, or give another --weights") from None
    except pickle.UnpicklingError:
        raise InputError(f"weights {path}: it holds code or is not a weights file; it was not run") from None
    except Exception as error:  # damaged bytes fail in many ways
        kind = type(error).__name__
        raise InputError(f"weights {path}: it cannot be read ({kind}); copy or train it again") from None


def _check_archive(path: Path) -> None:
    """Raises BadZipFile unless this is a zip such as torch.save writes: nothing is compressed, every checksum is right.

    torch itself verifies no checksums, and it would unpack a small file to any size.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise zipfile.BadZipFile
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if compressed or sum(entry.file_size for entry in entries) > size or archive.testzip() is not None:
            raise zipfile.BadZipFile


def _modern(weights: Any) -> Any:
    """Weights of an older format as those of today: of grey pictures, without blocks, and once with one temperature."""
    if not isinstance(weights, dict) or weights.get("format") not in OLDER_FORMATS:
        return weights
    weights = {"conversion": GREY, "sizes": [], "blocks": 0, **weights, "format": FORMAT}
    one = weights.get("temperature")
    return weights | ({"temperature": [one, one]} if isinstance(one, float) else {})


def _build(weights: dict, facts: dict) -> CRNN | None:
    """The network of a weights file, or None where the file contradicts itself."""
    channels, hidden, (height, width) = weights["channels"], weights["hidden"], facts["image_size"]
    features, blocks = [*channels, hidden] if type(channels) is list else [], weights["blocks"]
    if type(blocks) is not int or not 0 <= blocks <= MAX_BLOCKS:
        return None
    if len(features) != 4 or any(type(n) is not int or not 1 <= n <= MAX_FEATURES for n in features) or hidden % 2:
        return None
    if (facts["length"] or 0) > time_steps(width):
        return None
    model = CRNN(facts["alphabet"].num_classes, height, tuple(channels), hidden, blocks=blocks)
    own, state = model.state_dict(), weights["state"]
    fits = isinstance(state, dict) and set(state) == set(own)
    if not fits or not all(_is_like(state[name], _stored(tensor)) for name, tensor in own.items()):
        return None
    model.load_state_dict(state)
    return model


def _is_like(thing: object, tensor: torch.Tensor) -> bool:
    """Whether it is a finite tensor of the same kind, type and shape."""
    return (
        type(thing) is torch.Tensor
        and (thing.device, thing.layout, thing.dtype) == (tensor.device, tensor.layout, tensor.dtype)
        and thing.shape == tensor.shape
        and bool(thing.isfinite().all())
    )


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    """Matrices and kernels, which are nearly all of the bytes, in half precision; statistics and biases unchanged."""
    return tensor.half() if tensor.ndim > 1 else tensor
