"""Fixtures that several test modules share. Every picture is drawn by the generator; nothing is downloaded."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from captcha_lib.alphabet import Alphabet
from captcha_lib.data.load import write_captchas
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.model import CRNN
from captcha_lib.reading.export import export_onnx
from captcha_lib.reading.torch_reader import TorchReader, round_weights

# In the background a shell has Ctrl-C ignored, which the commands that tests start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

for _name in ("CAPTCHA_DATA", "CAPTCHA_OUT"):  # a tester's own settings must not choose the data
    os.environ.pop(_name, None)
torch.set_num_threads(1)

# No deadline: the first example pays for imports. Derandomized: the same examples every time.
settings.register_profile("captchas", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("captchas")


@pytest.fixture(scope="session")
def drawn() -> tuple[list[str], torch.Tensor]:
    """24 texts and their pictures (24, 1, 50, 200)."""
    return generate_captchas(24, seed=3)


@pytest.fixture(scope="session")
def folder(drawn, tmp_path_factory) -> Path:
    """A folder of the 24 captchas; not to be written to."""
    place = tmp_path_factory.mktemp("captchas") / "images"
    write_captchas(*drawn, place)
    return place


@pytest.fixture
def own_folder(folder, tmp_path) -> Path:
    """A copy of `folder` that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / "own"))


@pytest.fixture(scope="session")
def reader() -> TorchReader:
    """A tiny network that has learnt nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CRNN(20, channels=(4, 4, 4), hidden=8)
    round_weights(model)
    return TorchReader(Alphabet.of([KAPTCHA.characters]), (50, 200), 5, model=model.eval())


@pytest.fixture(scope="session")
def weights(reader, tmp_path_factory) -> Path:
    """The weights file of `reader`, with no split.csv beside it."""
    path = tmp_path_factory.mktemp("weights") / "weight.pth"
    reader.save(path)
    return path


@pytest.fixture(scope="session")
def onnx_weights(reader, tmp_path_factory) -> Path:
    """The same network as ONNX."""
    path = tmp_path_factory.mktemp("onnx") / "captcha.onnx"
    export_onnx(reader, path)
    return path


@pytest.fixture
def error_of(capsys):
    """Runs a command that has to fail by a function `run`, and returns the one line that it says."""

    def error_of(run, *words) -> str:
        capsys.readouterr()
        assert run(*words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        return line

    return error_of
