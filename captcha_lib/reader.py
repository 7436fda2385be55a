"""The whole inference path: weights file -> `Reader` -> pictures -> readings; and the way to ONNX."""

import copy
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.decode import Decoder, Reading
from captcha_lib.files import progress, replacing
from captcha_lib.model import CRNN

if TYPE_CHECKING:
    import onnx

FORMAT = "captcha_lib weights 2"
KEYS = {"format", "state", "alphabet", "image_size", "length", "temperature", "channels", "hidden"}


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
        with replacing(path) as part:
            torch.save(weights, part)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> "Reader":
        """Reads a weights file; code in it is never run.

        Raises:
            InputError: no such file, no weights file, or one that carries code.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on pickles, which the next lines refuse
                weights = torch.load(path, map_location="cpu", weights_only=True)
        except IsADirectoryError:
            raise InputError(f"weights {path}: this is a folder; name a file") from None
        except FileNotFoundError:
            raise InputError(f"weights {path}: no such file; train first, or give another --weights") from None
        except pickle.UnpicklingError:
            raise InputError(f"weights {path}: it holds code or is no weights file; it was not run") from None
        except Exception as error:  # damaged bytes fail in many ways
            kind = type(error).__name__
            raise InputError(f"weights {path}: it cannot be read ({kind}); copy or train it again") from None
        if (
            not isinstance(weights, dict)
            or set(weights) != KEYS
            or weights["format"] != FORMAT
            or type(weights["length"]) not in (int, type(None))
            or not (type(weights["temperature"]) is float and weights["temperature"] > 0)
        ):
            raise InputError(f"weights {path}: these are no weights of this project; train some with the train command")
        try:
            alphabet, (height, width) = Alphabet(weights["alphabet"]), weights["image_size"]
            model = CRNN(alphabet.num_classes, height, tuple(weights["channels"]), weights["hidden"])
            model.load_state_dict(weights["state"])
        except (RuntimeError, TypeError, ValueError, AttributeError):
            raise InputError(f"weights {path}: the parts do not fit together; copy or train it again") from None
        return cls(model.eval().to(device), alphabet, (height, width), weights["length"], weights["temperature"])


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
