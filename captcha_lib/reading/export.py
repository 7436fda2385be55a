"""`export_onnx`: the way from torch to ONNX Runtime."""

import copy
import json
import warnings
from pathlib import Path

import torch

from captcha_lib.config import optional_module
from captcha_lib.files import replacing
from captcha_lib.reading.torch_reader import TorchReader


def export_onnx(reader: TorchReader, path: str | Path) -> None:
    """Writes the network as ONNX: images (B, 1, H, W) uint8 -> logits (B, T, K), batch and width free.

    What else a reader is told, such as the alphabet, is in the file's metadata. The weights are stored in
    single precision: BatchNorm is folded into them, and rounding the products once more would move logits by 1e-2. The
    older exporter is taken, since the newer one (dynamo=True) cannot leave the width of an LSTM's input free.
    """
    onnx = optional_module("onnx")
    height, width = reader.image_size
    with replacing(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about other batch sizes, which a test reads, and about the exporter's age
        torch.onnx.export(
            copy.deepcopy(reader.model).cpu(),
            (torch.zeros(1, 1, height, width, dtype=torch.uint8),),
            str(part),
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "batch", 3: "width"}, "logits": {0: "batch", 1: "time"}},
            dynamo=False,
        )
        graph = onnx.load(part)
        facts = {
            "alphabet": reader.alphabet.characters,
            "height": height,
            "width": width,
            "length": reader.length or 0,
            "temperature": reader.temperature,
            "temperature_any": reader.temperature_any,
            "conversion": reader.conversion,
            "sizes": json.dumps(reader.sizes),
        }
        onnx.helper.set_model_props(graph, {name: str(value) for name, value in facts.items()})
        onnx.checker.check_model(graph)
        onnx.save(graph, part)
