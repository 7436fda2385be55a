"""`OnnxReader`: an .onnx file of `export_onnx`, read by ONNX Runtime and NumPy alone. Nothing here imports torch."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime

from captcha_lib.config import InputError
from captcha_lib.data.colour import GREY
from captcha_lib.reading.base import MAX_BYTES, Reader, reader_facts

NEEDED = ("alphabet", "height", "width", "length", "temperature")


@dataclass(frozen=True)
class OnnxReader(Reader):
    """A reader whose network is a session of ONNX Runtime."""

    session: onnxruntime.InferenceSession = field(kw_only=True)

    def logits(self, images: np.ndarray, batch_size: int = 16) -> np.ndarray:
        """Scores one or more pictures, (N, 1, H, W) uint8 -> (N, T, K) float32; 16 at a time fit into the cache."""
        batches = [np.asarray(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
        return np.concatenate([self.session.run(["logits"], {"images": batch})[0] for batch in batches])

    @staticmethod
    def load(path: str | Path, device: str = "cpu", threads: int = 1) -> "OnnxReader":
        """Reads an ONNX file with its metadata; raises InputError for one that this project did not write."""
        if not Path(path).is_file():
            raise InputError(f"weights {path}: no such file; export some, or give another --weights")
        try:
            raw, options, cpu = _complete(Path(path)), session_options(threads), ["CPUExecutionProvider"]
            session = onnxruntime.InferenceSession(raw, options, providers=cpu, enable_fallback=False)
            facts = session.get_modelmeta().custom_metadata_map
        except Exception as error:  # ONNX Runtime's own errors share no class
            raise InputError(f"weights {path}: not an ONNX file ({type(error).__name__}); export it again") from None
        missing = [name for name in NEEDED if name not in facts]
        if missing:
            raise InputError(f"weights {path}: its metadata has no {missing[0]}; write it with the export command")
        reader = _built(session, facts)
        if reader is None:
            raise InputError(f"weights {path}: its metadata is damaged; export it again")
        if not reader._works():
            raise InputError(f"weights {path}: its network and its metadata do not fit together; export it again")
        return reader

    def _works(self) -> bool:
        """Whether two white pictures get scores for each class, in time steps enough for the length."""
        try:
            (logits,) = self.session.run(["logits"], {"images": np.full((2, 1, *self.image_size), 255, np.uint8)})
            batch, steps, classes = logits.shape  # (2, T, K)
        except Exception:  # ONNX Runtime's own errors share no class, and an output may be no array
            return False
        fits = (batch, classes) == (2, self.alphabet.num_classes) and steps >= (self.length or 1)
        return fits and logits.dtype == np.float32 and bool(np.isfinite(logits).all())


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Options for a number of threads; errors are raised and not printed, too."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _built(session: onnxruntime.InferenceSession, said: dict[str, str]) -> OnnxReader | None:
    """The reader of a session and its metadata; None where the metadata cannot be true."""
    try:
        stored = {
            "alphabet": said["alphabet"],
            "image_size": (int(said["height"]), int(said["width"])),
            "length": int(said["length"]) or None,
            "temperature": [float(said["temperature"]), float(said.get("temperature_any", said["temperature"]))],
            "conversion": said.get("conversion", GREY),
            "sizes": json.loads(said.get("sizes", "[]")),
        }
    except ValueError:
        return None
    facts = reader_facts(stored)
    return OnnxReader(**facts, session=session) if facts else None


def _complete(path: Path) -> bytes:
    """The bytes of an ONNX file that needs no other; raises ValueError for one that is too large, or that names others.

    ONNX names the file of weights that lie elsewhere by the key "location". Nothing that `export_onnx` writes has it.
    """
    raw = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
    if not raw or b"location" in raw:
        raise ValueError
    return raw
