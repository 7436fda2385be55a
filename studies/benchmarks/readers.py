"""The readers that are measured: each turns the bytes of image files into texts, one file or many at a time.

A reader is a function that loads itself, from the files named in the options of `read`, and returns `Loaded`. Peers
are used as their own documentation says; where they are to know the length and the alphabet, their scores go through
this project's exact-length decoder.
"""

import io
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captcha_lib.alphabet import Alphabet
from captcha_lib.data.images import decode_image
from captcha_lib.decode import log_probabilities, spell

CHARACTERS, LENGTH = "2345678bcdefgmnpwxy", 5
ALPHABET = Alphabet(CHARACTERS)
BATCH = 32
Texts = Callable[[list[bytes]], list[str]]


class Loaded(NamedTuple):
    """Both ways of reading, `many` only where a reader has batches, and the bytes of the files with the weights."""

    one: Callable[[bytes], str]
    many: Texts | None
    size: int


def captcha_lib_onnx(options: Namespace) -> Loaded:
    """This model in ONNX Runtime: NumPy and Pillow, no torch."""
    from captcha_lib.reading.onnx_reader import OnnxReader

    reader = OnnxReader.load(options.onnx)
    return _ours(lambda images: reader.spell(reader.logits(images, BATCH)), options.onnx)


def captcha_lib_torch(options: Namespace) -> Loaded:
    """This model in torch, as `predict` runs it."""
    import torch

    from captcha_lib.reading.torch_reader import Reader

    torch.set_num_threads(1)
    reader = Reader.load(options.weights)
    return _ours(lambda images: reader.spell(reader.logits(images, BATCH)), options.weights)


def ddddocr_plain(options: Namespace) -> Loaded:
    """ddddocr as its README says: 8,210 characters, any length, case folded."""
    engine = _ddddocr()
    return Loaded(lambda raw: engine.classification(raw).lower(), None, _ddddocr_size())


def ddddocr_exact(options: Namespace) -> Loaded:
    """ddddocr's scores limited to our characters in both cases, decoded to five characters."""
    scores = ddddocr_scores(ALPHABET)
    return Loaded(lambda raw: spell(scores(raw)[None], ALPHABET, LENGTH)[0], None, _ddddocr_size())


def ddddocr_scores(alphabet: Alphabet) -> Callable[[bytes], np.ndarray]:
    """From the bytes of a file to ddddocr's scores (T, K) of an alphabet's classes."""
    from PIL import Image

    owner = _ddddocr()  # it closes its engine when it goes
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
    from captcha_whisperer import BLANK_INDEX, LABELS

    recognizer, preprocess = _whisperer()
    classes = _classes_of(list(LABELS), BLANK_INDEX, ALPHABET)

    def read(pictures: list[np.ndarray]) -> list[str]:
        scores = recognizer._session.run(None, {recognizer._input_name: np.concatenate(pictures)})[0]  # (T, B, their K)
        return spell(_fold(scores.transpose(1, 0, 2), classes), ALPHABET, LENGTH)

    return _in_batches(preprocess, read)


def tesseract(options: Namespace) -> Loaded:
    """tesseract 5 on one word of our characters; each picture is a process of its own."""
    options = ["--psm", "8", "--oem", "1", "-c", f"tessedit_char_whitelist={CHARACTERS}"]

    def read(raw: bytes) -> str:
        command = [_tesseract_path(), "stdin", "stdout", *options]
        said = subprocess.run(command, input=raw, capture_output=True, check=True).stdout
        return "".join(said.decode().split())

    _tesseract_path()
    models = Path("/usr/share/tesseract-ocr").glob("*/tessdata/eng.traineddata")
    return Loaded(read, None, sum(path.stat().st_size for path in models))


READERS = {
    "captcha_lib, ONNX Runtime": captcha_lib_onnx,
    "captcha_lib, torch": captcha_lib_torch,
    "ddddocr": ddddocr_plain,
    "ddddocr, exact five": ddddocr_exact,
    "captcha-whisperer": captcha_whisperer_plain,
    "captcha-whisperer, exact five": captcha_whisperer_exact,
    "tesseract": tesseract,
}
PEERS = [name for name in READERS if not name.startswith("captcha_lib")]


def _ours(texts_of_images: Callable[[np.ndarray], list[str]], weights: Path) -> Loaded:
    def many(raws: list[bytes]) -> list[str]:
        texts = []
        for start in range(0, len(raws), BATCH):
            pictures = [decode_image(raw, "image") for raw in raws[start : start + BATCH]]
            texts += texts_of_images(np.stack(pictures)[:, None])  # (B, 1, H, W)
        return texts

    return Loaded(lambda raw: many([raw])[0], many, weights.stat().st_size)


def _in_batches(preprocess: Callable[[bytes], np.ndarray], read: Callable[[list[np.ndarray]], list[str]]) -> Loaded:
    def many(raws: list[bytes]) -> list[str]:
        batches = [raws[start : start + BATCH] for start in range(0, len(raws), BATCH)]
        return [text for batch in batches for text in read([preprocess(raw) for raw in batch])]

    from captcha_whisperer import default_model_path

    return Loaded(lambda raw: read([preprocess(raw)])[0], many, default_model_path().stat().st_size)


def _ddddocr():
    import ddddocr

    return ddddocr.DdddOcr(show_ad=False)


def _ddddocr_size() -> int:
    import ddddocr

    return (Path(ddddocr.__file__).parent / "common_old.onnx").stat().st_size


def _whisperer():
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
