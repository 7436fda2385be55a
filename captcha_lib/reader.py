"""The whole inference path: weights file -> `Reader` -> pictures -> readings; and the way to ONNX."""

import copy
import io
import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.decode import Decoder, Reading, is_sound
from captcha_lib.files import progress, replacing
from captcha_lib.model import CRNN, time_steps

if TYPE_CHECKING:
    import onnx

FORMAT = "captcha_lib weights 2"
KEYS = {"format", "state", "alphabet", "image_size", "length", "temperature", "channels", "hidden"}
MOST_BYTES, MOST_FEATURES = 2**26, 512  # of a file that is read; of a layer. Far more than the networks here have


@dataclass(frozen=True)
class Reader(Decoder):
    """A trained network and what is needed to use it.

    Attributes:
        model: the network, in evaluation mode.
        alphabet: the characters of its classes.
        image_size: (H, W) of the pictures it was trained on, in px.
        length: the length of all its training labels, or None if they had several.
        temperature: see `Decoder`; fitted on validation images.
    """

    model: CRNN
    alphabet: Alphabet
    image_size: tuple[int, int]
    length: int | None
    temperature: float = 1.0

    @torch.no_grad()
    def logits(self, images: torch.Tensor | np.ndarray, batch_size: int = 64) -> torch.Tensor:
        """Scores pictures, (N, 1, H, W) uint8 -> (N, T, K) float32 on the CPU."""
        device = next(self.model.parameters()).device
        batches = torch.as_tensor(images).split(batch_size)
        return torch.cat([self.model(batch.to(device)).cpu() for batch in progress(batches)])

    def read(
        self, images: torch.Tensor | np.ndarray, length: int | None = None, allowed: str | None = None
    ) -> list[Reading]:
        """Reads pictures, (N, 1, H, W) uint8 -> N readings.

        Args:
            images: of the reader's image size.
            length: characters of every text; None takes the length of the training labels, 0 lets the network decide.
            allowed: the characters that may occur; None allows the whole alphabet.
        """
        return self.decode(self.logits(images), length, allowed)

    def save(self, path: Path) -> None:
        """Writes a weights file: a dict of tensors, matrices in half precision, and plain values; no code."""
        weights = {
            "format": FORMAT,
            "state": {name: _stored(tensor.cpu()) for name, tensor in self.model.state_dict().items()},
            "alphabet": self.alphabet.characters,
            "image_size": list(self.image_size),
            "length": self.length,
            "temperature": self.temperature,
            "channels": list(self.model.channels),
            "hidden": self.model.hidden,
        }
        write_tensors(path, weights)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> "Reader":
        """Reads a weights file; code in it is never run.

        Raises:
            InputError: no such file, no weights of this project, damaged ones, or a file that carries code.
        """
        weights = _unpacked(path)
        if not isinstance(weights, dict) or set(weights) != KEYS or weights["format"] != FORMAT:
            raise InputError(f"weights {path}: these are no weights of this project; train some with the train command")
        model = _build(weights)
        if model is None:
            raise InputError(f"weights {path}: the parts do not fit together; copy or train it again")
        alphabet, (height, width) = Alphabet(weights["alphabet"]), weights["image_size"]
        return cls(model.eval().to(device), alphabet, (height, width), weights["length"], weights["temperature"])


def write_tensors(path: Path, things: dict) -> None:
    """Writes a whole file of tensors and plain values; raises InputError where it cannot be written."""
    buffer = io.BytesIO()  # torch's own writing to a file does not say that a disk is full
    torch.save(things, buffer)
    with replacing(path) as part:
        part.write_bytes(buffer.getvalue())


def _unpacked(path: Path) -> object:
    """What torch finds in a file, without running code; raises InputError."""
    try:
        if path.is_dir():
            raise IsADirectoryError
        if not path.is_file():  # nor a pipe or a device, which may have no end
            raise FileNotFoundError
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on archives of other kinds, which the next lines refuse
            return torch.load(path, map_location="cpu", weights_only=True)
    except IsADirectoryError:
        raise InputError(f"weights {path}: this is a folder; name a file") from None
    except FileNotFoundError:
        raise InputError(f"weights {path}: no such file; train first, or give another --weights") from None
    except pickle.UnpicklingError:
        raise InputError(f"weights {path}: it holds code or is no weights file; it was not run") from None
    except Exception as error:  # damaged bytes fail in many ways
        kind = type(error).__name__
        raise InputError(f"weights {path}: it cannot be read ({kind}); copy or train it again") from None


def _check_archive(path: Path) -> None:
    """Raises BadZipFile unless this is a zip such as torch.save writes: nothing is compressed, every checksum is right.

    torch itself checks no sums, and it would unpack a small file to any size.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise zipfile.BadZipFile
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if compressed or sum(entry.file_size for entry in entries) > size or archive.testzip() is not None:
            raise zipfile.BadZipFile


def _build(weights: dict) -> CRNN | None:
    """The network of a weights file, or None where the file contradicts itself."""
    size, length, channels, hidden = (weights[name] for name in ("image_size", "length", "channels", "hidden"))
    if not is_sound(weights["alphabet"], size, length, weights["temperature"]) or (length or 0) > time_steps(size[1]):
        return None
    if type(channels) is not list or len(channels) != 3:
        return None
    if any(type(n) is not int or not 1 <= n <= MOST_FEATURES for n in [*channels, hidden]) or hidden % 2:
        return None
    model = CRNN(len(weights["alphabet"]) + 1, size[0], tuple(channels), hidden)
    own, state = model.state_dict(), weights["state"]
    if not isinstance(state, dict) or set(state) != set(own):
        return None
    if not all(_is_like(state[name], _stored(tensor)) for name, tensor in own.items()):
        return None
    model.load_state_dict(state)
    return model


def _is_like(thing: object, tensor: torch.Tensor) -> bool:
    """Whether it is a tensor of the same kind, type and shape, and all numbers."""
    return (
        type(thing) is torch.Tensor
        and (thing.device, thing.layout, thing.dtype) == (tensor.device, tensor.layout, tensor.dtype)
        and thing.shape == tensor.shape
        and bool(thing.isfinite().all())
    )


def round_weights(model: CRNN) -> None:
    """Rounds a network's weights to what a weights file keeps of them, so that what is measured is what is stored."""
    model.load_state_dict({name: _stored(tensor) for name, tensor in model.state_dict().items()})


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    """Matrices and kernels, which are nearly all of the bytes, in half precision; statistics and biases as they are."""
    return tensor.half() if tensor.ndim > 1 else tensor


def export_onnx(reader: Reader, path: Path) -> None:
    """Writes the network as ONNX: images (B, 1, H, W) uint8 -> logits (B, T, K), batch and width free.

    The alphabet, the image size, the length and the temperature are in the file's metadata. The weights are stored in
    half precision, as in a weights file, and are back in single precision once the file is loaded. The older exporter
    is taken, since the newer one (dynamo=True) cannot leave the width of an LSTM's input free.
    """
    import onnx  # here, because only an export needs it

    height, width = reader.image_size
    with replacing(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on other batch sizes, which a test reads, and on the exporter's age
        torch.onnx.export(
            copy.deepcopy(reader.model).cpu(),
            (torch.zeros(1, 1, height, width, dtype=torch.uint8),),
            part,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "batch", 3: "width"}, "logits": {0: "batch", 1: "time"}},
            dynamo=False,
        )
        graph = onnx.load(part)
        facts = {"alphabet": reader.alphabet.characters, "height": height, "width": width, "length": reader.length or 0}
        facts["temperature"] = reader.temperature
        _halve_weights(graph)
        onnx.helper.set_model_props(graph, {name: str(value) for name, value in facts.items()})
        onnx.checker.check_model(graph)
        onnx.save(graph, part)


def _halve_weights(graph: "onnx.ModelProto") -> None:
    """Stores the large constants as float16, each followed by a Cast, which ONNX Runtime folds away when it loads."""
    import onnx

    casts = []
    for tensor in graph.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 256:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.graph.node.insert(0, cast)
