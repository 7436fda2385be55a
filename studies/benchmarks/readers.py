"""The readers that are measured: each turns the bytes of image files into texts, one file or a list at a time.

A reader is a function that loads itself, from the files named in the options of `read`, and returns `Loaded`. Ours is
`captcha_lib.read`, as users call it. Peers are used as their own documentation says; where they are to know the length
and the alphabet, their scores go through this project's exact-length decoder. Pillow opens the files, for comparison.
"""

import io
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captcha_lib.alphabet import Alphabet
from captcha_lib.decode import spell
from captcha_lib.lattice import log_probabilities
from studies.evidence import ROOT

CHARACTERS, LENGTH = "2345678bcdefgmnpwxy", 5
ALPHABET = Alphabet(CHARACTERS)
BATCH = 32
PEERS_PYTHON = ROOT / ".venv-peers/bin/python"  # of the environment that `make peers` makes
Texts = Callable[[list[bytes]], list[str]]


class Loaded(NamedTuple):
    """Both ways of reading, `many` only where a reader takes lists, and the size of the weights in bytes."""

    one: Callable[[bytes], str]
    many: Texts | None
    size: int


def captcha_lib_onnx(options: Namespace) -> Loaded:
    """`captcha_lib.read` with its default weights: ONNX Runtime, no torch."""
    return _ours(options.onnx)


def captcha_lib_torch(options: Namespace) -> Loaded:
    """`captcha_lib.read` with the same weights in torch."""
    return _ours(options.weights)


def ddddocr_plain(options: Namespace) -> Loaded:
    """ddddocr as its README says: 8,210 characters, any length, case folded."""
    return Loaded(ddddocr_plain_reader(), None, _ddddocr_size())


def ddddocr_exact(options: Namespace) -> Loaded:
    """ddddocr's scores limited to our characters in both cases, decoded to five characters."""
    scores = ddddocr_scores(ALPHABET)
    return Loaded(lambda raw: spell(scores(raw)[None], ALPHABET, LENGTH)[0], None, _ddddocr_size())


def ddddocr_plain_reader(beta: bool = False) -> Callable[[bytes], str]:
    """From the bytes of a file to what ddddocr reads, case folded."""
    engine = _ddddocr(beta)
    return lambda raw: engine.classification(raw).lower()


def ddddocr_scores(alphabet: Alphabet, beta: bool = False) -> Callable[[bytes], np.ndarray]:
    """From the bytes of a file to ddddocr's scores (T, K) of an alphabet's classes."""
    from PIL import Image

    owner = _ddddocr(beta)  # it closes its engine when it goes
    engine = owner.ocr_engine
    name = engine.session.get_inputs()[0].name
    classes = _classes_of(engine.charset_manager.get_charset(), blank=0, alphabet=alphabet)

    def score(raw: bytes) -> np.ndarray:
        picture = owner.ocr_engine._preprocess_image(Image.open(io.BytesIO(raw)), False)
        return _fold(engine.session.run(None, {name: picture})[0][:, 0], classes)  # (T, their K) -> (T, K)

    return score


def captcha_whisperer_plain(options: Namespace) -> Loaded:
    """captcha-whisperer as its README says, case folded."""
    recognizer, preprocess = _whisperer()
    return _in_batches(
        preprocess, lambda pictures: [result["text"].lower() for result in recognizer.recognize_batch(pictures)]
    )


def captcha_whisperer_exact(options: Namespace) -> Loaded:
    """captcha-whisperer's scores limited to our characters, decoded to five characters."""
    _, preprocess = _whisperer()
    score = _whisperer_scores_of(ALPHABET)
    return _in_batches(preprocess, lambda pictures: spell(score(pictures), ALPHABET, LENGTH))


def whisperer_plain_reader() -> Callable[[bytes], str]:
    """From the bytes of a file to what captcha-whisperer reads, case folded."""
    recognizer, preprocess = _whisperer()
    return lambda raw: recognizer.recognize_batch([preprocess(raw)])[0]["text"].lower()


def whisperer_scores(alphabet: Alphabet) -> Callable[[bytes], np.ndarray]:
    """From the bytes of a file to captcha-whisperer's scores (T, K) of an alphabet's classes."""
    _, preprocess = _whisperer()
    score = _whisperer_scores_of(alphabet)
    return lambda raw: score([preprocess(raw)])[0]


def _whisperer_scores_of(alphabet: Alphabet) -> Callable[[list[np.ndarray]], np.ndarray]:
    from captcha_whisperer import BLANK_INDEX, LABELS

    recognizer, _ = _whisperer()
    classes = _classes_of(list(LABELS), BLANK_INDEX, alphabet)

    def score(pictures: list[np.ndarray]) -> np.ndarray:
        scores = recognizer._session.run(None, {recognizer._input_name: np.concatenate(pictures)})[0]  # (T, B, their K)
        return _fold(scores.transpose(1, 0, 2), classes)

    return score


def tesseract(options: Namespace) -> Loaded:
    """tesseract 5 on one word of our characters; each picture is a process of its own."""

    def read(raw: bytes) -> str:
        words = ["--psm", "8", "--oem", "1", "-c", f"tessedit_char_whitelist={CHARACTERS}"]
        command = [_tesseract_path(), "stdin", "stdout", *words]
        said = subprocess.run(command, input=raw, capture_output=True, check=True).stdout
        return "".join(said.decode().split())

    _tesseract_path()
    models = Path("/usr/share/tesseract-ocr").glob("*/tessdata/eng.traineddata")
    return Loaded(read, None, sum(path.stat().st_size for path in models))


def pillow(options: Namespace) -> Loaded:
    """Pillow opens a file and unpacks its pixels. Nothing is read."""
    from PIL import Image

    def open_one(raw: bytes) -> str:
        Image.open(io.BytesIO(raw)).load()
        return ""

    return Loaded(open_one, None, 0)


def pillow_grey(options: Namespace) -> Loaded:
    """Pillow opens a file and makes it grey. Nothing is read."""
    from PIL import Image

    def open_one(raw: bytes) -> str:
        Image.open(io.BytesIO(raw)).convert("L")
        return ""

    return Loaded(open_one, None, 0)


READERS: dict[str, Callable[[Namespace], Loaded]] = {
    "captcha_lib, ONNX Runtime": captcha_lib_onnx,
    "captcha_lib, torch": captcha_lib_torch,
    "ddddocr": ddddocr_plain,
    "ddddocr, exact five": ddddocr_exact,
    "captcha-whisperer": captcha_whisperer_plain,
    "captcha-whisperer, exact five": captcha_whisperer_exact,
    "tesseract": tesseract,
    "Pillow, opening alone": pillow,
    "Pillow, opening as grey": pillow_grey,
}
OURS = [name for name in READERS if name.startswith("captcha_lib")]
OPENERS = [name for name in READERS if name.startswith("Pillow")]
PEERS = [name for name in READERS if name not in OURS + OPENERS]


def _ours(weights: str | Path) -> Loaded:
    from captcha_lib import read
    from captcha_lib.reading.read import weights_path

    def many(raws: list[bytes]) -> list[str]:
        return [reading.text for reading in read(raws, weights)]

    return Loaded(lambda raw: read(raw, weights).text, many, weights_path(weights).stat().st_size)


def _in_batches(preprocess: Callable[[bytes], np.ndarray], read: Callable[[list[np.ndarray]], list[str]]) -> Loaded:
    def many(raws: list[bytes]) -> list[str]:
        batches = [raws[start : start + BATCH] for start in range(0, len(raws), BATCH)]
        return [text for batch in batches for text in read([preprocess(raw) for raw in batch])]

    from captcha_whisperer import default_model_path

    return Loaded(lambda raw: read([preprocess(raw)])[0], many, default_model_path().stat().st_size)


def _ddddocr(beta: bool = False) -> Any:
    """With the older of its two models, which is its default, or with the other one."""
    import ddddocr

    return ddddocr.DdddOcr(show_ad=False, beta=beta)


def _ddddocr_size() -> int:
    import ddddocr

    return (Path(ddddocr.__file__).parent / "common_old.onnx").stat().st_size


def _whisperer() -> tuple[Any, Callable[[bytes], np.ndarray]]:
    from captcha_whisperer import CaptchaRecognizer
    from captcha_whisperer.preprocess import preprocess_bytes

    return CaptchaRecognizer(threads=1), preprocess_bytes


def _classes_of(charset: list[str], blank: int, alphabet: Alphabet) -> list[list[int]]:
    """Which of a peer's classes stand for each of ours; both cases where the alphabet knows only one."""
    ours = alphabet.characters
    one_case = len(set(ours.lower())) == len(ours)
    said = [theirs.lower() for theirs in charset] if one_case else charset
    wanted = ours.lower() if one_case else ours
    return [[blank], *([k for k, theirs in enumerate(said) if theirs == character] for character in wanted)]


def _fold(scores: np.ndarray, classes: list[list[int]]) -> np.ndarray:
    """Their scores (..., their K) as log-probabilities of ours (..., K): those that stand for one are added up."""
    log_probs = log_probabilities(scores)
    return np.stack([np.logaddexp.reduce(log_probs[..., columns], axis=-1) for columns in classes], axis=-1)


def _tesseract_path() -> str:
    path = shutil.which("tesseract")
    if path is None:
        raise ModuleNotFoundError("tesseract is not installed", name="tesseract")
    return path
