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
from captcha_lib.decode import Decoder, Reading, is_sound

FACTS = ("alphabet", "height", "width", "length", "temperature")
MOST_BYTES = 2**26  # of a file that is read; far more than the networks here have


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
        if not path.is_file():
            raise InputError(f"weights {path}: no such file; export some, or give another --weights")
        try:
            session = onnxruntime.InferenceSession(
                _whole(path), _options(threads), providers=["CPUExecutionProvider"], enable_fallback=False
            )
            facts = session.get_modelmeta().custom_metadata_map
        except Exception as error:  # ONNX Runtime's own errors share no class
            raise InputError(f"weights {path}: no ONNX file ({type(error).__name__}); export it again") from None
        missing = [name for name in FACTS if name not in facts]
        if missing:
            raise InputError(f"weights {path}: its metadata has no {missing[0]}; write it with the export command")
        try:
            size, length = (int(facts["height"]), int(facts["width"])), int(facts["length"]) or None
            temperature = float(facts["temperature"])
        except ValueError:
            raise _damaged(path) from None
        if not is_sound(facts["alphabet"], size, length, temperature):
            raise _damaged(path)
        reader = cls(session, Alphabet(facts["alphabet"]), size, length, temperature)
        if not reader._works():
            raise InputError(f"weights {path}: its network and its metadata do not fit together; export it again")
        return reader

    def logits(self, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
        """Scores one or more pictures, (N, 1, H, W) uint8 -> (N, T, K) float32."""
        batches = [np.asarray(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
        return np.concatenate([self.session.run(["logits"], {"images": batch})[0] for batch in batches])

    def _works(self) -> bool:
        """Whether two white pictures get numbers for each class, in time steps enough for the length."""
        try:
            (logits,) = self.session.run(["logits"], {"images": np.full((2, 1, *self.image_size), 255, np.uint8)})
            batch, steps, classes = logits.shape  # (2, T, K)
        except Exception:  # ONNX Runtime's own errors share no class, and an output may be no array
            return False
        fits = (batch, classes) == (2, self.alphabet.num_classes) and steps >= (self.length or 1)
        return fits and logits.dtype == np.float32 and bool(np.isfinite(logits).all())

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


def _whole(path: Path) -> bytes:
    """The bytes of an ONNX file that needs no other; raises ValueError for one that is too large, or that names others.

    ONNX names the file of weights that lie elsewhere by the key "location". Nothing that `export_onnx` writes has it.
    """
    raw = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
    if not raw or b"location" in raw:
        raise ValueError
    return raw


def _damaged(path: Path) -> InputError:
    return InputError(f"weights {path}: its metadata is damaged; export it again")


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what goes wrong is raised; it is not to be printed, too
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options
