"""The example reader, in a process that cannot import torch."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from captcha_lib.config import CHECKOUT as ROOT
from captcha_lib.config import WEIGHTS_DIR
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.reading.export import export_onnx
from captcha_lib.reading.torch_reader import TorchReader

EXAMPLE = ROOT / "examples" / "read_onnx.py"
ALONE = "import sys; sys.modules |= {'torch': None}; sys.argv = sys.argv[1:]; import runpy; "
ALONE += "runpy.run_path(sys.argv[0], run_name='__main__')"


def spell_of_example():
    namespace: dict = {"__name__": "example"}
    exec(compile(EXAMPLE.read_text(encoding="utf-8"), EXAMPLE, "exec"), namespace)
    return namespace["spell"]


def test_it_is_short():
    code = [line for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(code) <= 40


@pytest.mark.parametrize("length", [5, None])
def test_it_reads_what_this_package_reads(length, tmp_path):
    reader = TorchReader.load(WEIGHTS_DIR / "kaggle.pth")
    export_onnx(replace(reader, length=length), tmp_path / "captcha.onnx")
    texts, images = generate_captchas(6, seed=2026)
    for text, image in zip(texts, images, strict=True):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{text}.png")
    files = [str(tmp_path / f"{text}.png") for text in texts]
    command = [sys.executable, "-c", ALONE, str(EXAMPLE), str(tmp_path / "captcha.onnx"), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.split()[1] for line in done.stdout.splitlines()] == texts


@pytest.mark.parametrize("seed", range(8))
def test_its_decoder_is_ours(seed):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((9, 4))
    reader = TorchReader.load(WEIGHTS_DIR / "kaggle.pth")
    alphabet = reader.alphabet.characters[:3]
    padded = np.concatenate([scores, np.full((9, reader.alphabet.num_classes - 4), -50.0)], axis=1)
    for length in (0, 1, 3, 4):
        assert spell_of_example()(scores, alphabet, length) == reader.spell(padded[None], length=length)[0]


def test_the_book_names_it():
    assert "examples/read_onnx.py" in (ROOT / "docs" / "own_captchas.md").read_text(encoding="utf-8")
