"""`OnnxReader`: reads pictures with ONNX Runtime and NumPy alone. Nothing here imports torch."""

import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import onnxruntime

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.decode import Decoder, Reading

FACTS = ("alphabet", "height", "width", "length", "temperature")


@dataclass(frozen=True)
class OnnxReader(Decoder):
    """What `reader.export_onnx` wrote, ready for use.

    Attributes:
        session: the network in ONNX Runtime.
        alphabet: the characters of its classes.
        image_size: (H, W) of the pictures it was trained on, in px.
        length: the length of all its training labels, or None if they had several.
        temperature: see `Decoder`.
    """

    session: onnxruntime.InferenceSession
    alphabet: Alphabet
    image_size: tuple[int, int]
    length: int | None
    temperature: float

    @classmethod
    def load(cls, path: Path, threads: int = 1) -> "OnnxReader":
        """Reads an ONNX file with its metadata.

        Raises:
            InputError: no such file, no ONNX file, or one that this project did not write.
        """
        options = _options(threads)
        if not path.is_file():
            raise InputError(f"weights {path}: no such file; export some, or give another --weights")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own errors share no class
            raise InputError(f"weights {path}: no ONNX file ({type(error).__name__}); export it again") from None
        facts = session.get_modelmeta().custom_metadata_map
        missing = [name for name in FACTS if name not in facts]
        if missing:
            raise InputError(f"weights {path}: its metadata has no {missing[0]}; write it with the export command")
        size = int(facts["height"]), int(facts["width"])
        length = int(facts["length"]) or None
        return cls(session, Alphabet(facts["alphabet"]), size, length, float(facts["temperature"]))

    def logits(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Scores one or more pictures, (N, 1, H, W) uint8 -> (N, T, K) float32."""
        batches = [np.asarray(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
        return np.concatenate([self.session.run(["logits"], {"images": batch})[0] for batch in batches])

    def read(self, images: np.ndarray, length: int | None = None, allowed: str | None = None) -> list[Reading]:
        """Reads pictures of the reader's image size, (N, 1, H, W) uint8 -> N readings; see `Decoder.decode`."""
        return self.decode(self.logits(images), length, allowed) if len(images) else []


def profile_layers(path: Path, images: np.ndarray, repeats: int = 50) -> dict[str, float]:
    """Where ONNX Runtime spends its time on one thread: milliseconds a picture of each kind of operator, largest first.

    Args:
        path: an ONNX file.
        images: a batch, (B, 1, H, W) uint8.
        repeats: runs over the batch; the median of each operator's runs is taken.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = _options(threads=1)
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
    spent = Counter()
    for (kind, _), durations in runs.items():
        spent[kind] += median(durations) / 1000 / len(images)
    return dict(spent.most_common())


def measure_peak(size: int = 1024, repeats: int = 15) -> float:
    """What one thread can do at most, in GFLOP/s: a large product of float32 matrices in ONNX Runtime, the best run."""
    import onnx  # here, because reading does without

    a, b, c = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [size, size]) for name in "abc")
    product = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a, b], [c])
    model = onnx.helper.make_model(product, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), _options(1), providers=["CPUExecutionProvider"])
    square = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    seconds = []
    for _ in range(repeats):
        began = perf_counter()
        session.run(None, {"a": square, "b": square})
        seconds.append(perf_counter() - began)
    return 2 * size**3 / min(seconds) / 1e9


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return options
