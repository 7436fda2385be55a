"""Where the time of a reading goes: the network's stages, its multiplications, and the layers in ONNX Runtime."""

import json
import tempfile
from collections import defaultdict
from math import prod
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import onnxruntime
import pandas as pd
import torch
from torchinfo import summary

from captcha_lib.model import CRNN
from captcha_lib.reading.onnx_reader import session_options

KINDS = ("Conv2d", "LSTM", "Linear")


def describe_stages(model: CRNN, images: torch.Tensor) -> pd.DataFrame:
    """Sends pictures (B, 1, H, W) through the network: one row a stage with its output's shape and its parameters."""
    stages = [layer for layer in summary(model, input_data=images, depth=1, verbose=0).summary_list if layer.depth == 1]
    rows = [
        {"stage": stage.var_name, "output": tuple(stage.output_size), "parameters": stage.num_params}
        for stage in stages
    ]
    return pd.DataFrame(rows)


def count_multiplications(model: CRNN, height: int, width: int) -> dict[str, int]:
    """The multiplications that one picture costs, by kind of layer: Conv2d, LSTM, Linear.

    Every weight of a matrix or kernel is used once at each place of the layer's output. The shapes are torchinfo's; its
    own counts are not taken, since they add the biases and count a linear layer at one time step alone.
    """
    images = torch.zeros(1, 1, height, width, dtype=torch.uint8, device=next(model.parameters()).device)
    counts = dict.fromkeys(KINDS, 0)
    for layer in summary(model, input_data=images, verbose=0).summary_list:
        if layer.class_name in counts:
            weights = sum(tensor.numel() for tensor in layer.module.parameters() if tensor.ndim > 1)
            size = layer.output_size  # (1, C, H, W) of convolutions, (1, T, C) of the others
            counts[layer.class_name] += weights * (prod(size[2:]) if layer.class_name == "Conv2d" else size[1])
    return counts


def profile_layers(path: Path, images: np.ndarray, repeats: int = 50) -> dict[str, float]:
    """Where ONNX Runtime spends its time on one thread: milliseconds a picture of each kind of operator, largest first.

    Args:
        path: an ONNX file.
        images: a batch, (B, 1, H, W) uint8.
        repeats: runs over the batch; the median of each operator's runs is taken.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(threads=1)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for _ in range(repeats):
            session.run(["logits"], {"images": images})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    runs: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            runs[event["args"]["op_name"], event["name"]].append(event["dur"])  # microseconds
    spent: dict[str, float] = defaultdict(float)
    for (kind, _), durations in runs.items():
        spent[kind] += median(durations) / 1000 / len(images)
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


def measure_peak(size: int = 1024, repeats: int = 15) -> float:
    """The most that one thread can do, in GFLOP/s: the best of some large float32 products in ONNX Runtime."""
    import onnx  # here, because the rest does without

    a, b, c = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [size, size]) for name in "abc")
    product = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a, b], [c])
    model = onnx.helper.make_model(product, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = session_options(threads=1)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    square = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    seconds = []
    for _ in range(repeats):
        began = perf_counter()
        session.run(None, {"a": square, "b": square})
        seconds.append(perf_counter() - began)
    return 2 * size**3 / min(seconds) / 1e9
