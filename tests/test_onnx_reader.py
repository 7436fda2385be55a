"""ONNX Runtime reads what torch reads, from a file that says all that a reader needs to know."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import WEIGHTS_DIR, Config, InputError
from captcha_lib.decode import decode_greedy
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.metrics import count_exact
from captcha_lib.model import CRNN
from captcha_lib.reading.base import Reader
from captcha_lib.reading.export import export_onnx
from captcha_lib.reading.onnx_reader import OnnxReader
from captcha_lib.reading.torch_reader import TorchReader

KAGGLE = WEIGHTS_DIR / "kaggle.pth"


@pytest.fixture(scope="module")
def drawn64() -> tuple[list[str], torch.Tensor]:
    return generate_captchas(64, 2026)


@pytest.fixture(scope="module")
def kaggle() -> TorchReader:
    return replace(TorchReader.load(KAGGLE), temperature=0.5, temperature_any=1.5)


@pytest.fixture(scope="module")
def exported(kaggle, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "captcha.onnx"
    export_onnx(kaggle, path)
    return path


def test_logits_are_torchs(kaggle, exported, drawn64):
    """Fault 11: weights were rounded again after BatchNorm was folded in, and logits differed by 9e-3."""
    ours, theirs = OnnxReader.load(exported).logits(drawn64[1].numpy()), kaggle.logits(drawn64[1]).numpy()
    assert np.abs(ours - theirs).max() < 1e-4


def test_the_two_files_of_the_package_are_one_network(drawn64):
    torchs, onnxs = TorchReader.load(KAGGLE), Reader.from_pretrained("kaggle")
    assert isinstance(onnxs, OnnxReader)
    ours, theirs = onnxs.logits(drawn64[1].numpy()), torchs.logits(drawn64[1]).numpy()
    assert np.abs(ours - theirs).max() < 1e-4
    for name in ("alphabet", "image_size", "length", "temperature", "temperature_any"):
        assert getattr(onnxs, name) == getattr(torchs, name), name
    texts = [reading.text for reading in onnxs.read(drawn64[1].numpy())]
    assert texts == [reading.text for reading in torchs.read(drawn64[1])]
    assert count_exact(texts, drawn64[0]) >= 62


@pytest.mark.parametrize(("batch", "width"), [(1, 200), (5, 160), (1, 240)])
def test_batch_and_width_are_free(kaggle, exported, drawn64, batch, width):
    pictures = F.pad(drawn64[1][:batch], (0, width - 200), value=255).contiguous()
    theirs, ours = OnnxReader.load(exported).logits(pictures.numpy()), kaggle.logits(pictures)
    assert theirs.shape == (batch, width // 8, kaggle.alphabet.num_classes)
    assert np.abs(theirs - ours.numpy()).max() < 1e-4
    read_by_onnx = decode_greedy(torch.from_numpy(theirs), kaggle.alphabet)
    assert [r.text for r in read_by_onnx] == [r.text for r in decode_greedy(ours, kaggle.alphabet)]


@pytest.mark.parametrize("length", [None, 0, 4])
def test_readings_and_confidences_are_torchs(kaggle, exported, drawn64, length):
    ours = OnnxReader.load(exported).read(drawn64[1].numpy(), length)
    theirs = kaggle.read(drawn64[1], length)
    assert [r.text for r in ours] == [r.text for r in theirs]
    assert [r.confidence for r in ours] == pytest.approx([r.confidence for r in theirs], abs=1e-4)


def test_the_metadata_say_what_a_reader_is(kaggle, exported):
    facts = {prop.key: prop.value for prop in onnx.load(exported).metadata_props}
    size = {"height": "50", "width": "200"}
    temperatures = {"temperature": "0.5", "temperature_any": "1.5"}
    seen = {"conversion": "grey", "sizes": "[[50, 200], [50, 200]]"}
    assert facts == {"alphabet": kaggle.alphabet.characters, "length": "5"} | size | temperatures | seen
    loaded = OnnxReader.load(exported)
    assert (loaded.alphabet, loaded.image_size, loaded.length) == (kaggle.alphabet, (50, 200), 5)
    assert (loaded.temperature, loaded.temperature_any) == (0.5, 1.5)


def test_a_file_of_one_temperature_is_still_read(exported, tmp_path):
    graph = onnx.load(exported)
    (newer,) = [prop for prop in graph.metadata_props if prop.key == "temperature_any"]
    graph.metadata_props.remove(newer)
    onnx.save(graph, tmp_path / "old.onnx")
    assert OnnxReader.load(tmp_path / "old.onnx").temperature_any == 0.5


def test_a_length_that_is_not_known_stays_so(tmp_path):
    model = CRNN(3, channels=(4, 4, 4), hidden=8).eval()
    export_onnx(TorchReader(Alphabet("ab"), (50, 200), None, model=model), tmp_path / "captcha.onnx")
    assert OnnxReader.load(tmp_path / "captcha.onnx").length is None


def test_in_batches_and_without_pictures(exported, drawn64):
    reader, images = OnnxReader.load(exported), drawn64[1][:5].numpy()
    assert np.allclose(reader.logits(images), reader.logits(images, batch_size=2), atol=1e-4)
    assert reader.read(images[:0]) == []


def test_no_torch_is_needed():
    code = "import sys, numpy; from captcha_lib import Reader; reader = Reader.from_pretrained('kaggle'); "
    code += "reader.read(numpy.zeros((2, 1, 50, 200), 'uint8')); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_that_is_not_known():
    with pytest.raises(InputError, match="weights 'google': not one of kaggle"):
        Reader.from_pretrained("google")


@pytest.mark.parametrize(
    ("content", "says"), [(None, "no such file"), (b"", "not an ONNX file"), (b"no ONNX at all", "not an ONNX file")]
)
def test_other_files_are_refused(content, says, tmp_path):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"model\.onnx: {says}") as caught:
        OnnxReader.load(path)
    assert "\n" not in str(caught.value)


def test_an_export_leaves_the_reader_as_it_was(kaggle, exported, drawn64):
    assert not kaggle.model.training
    assert torch.equal(kaggle.logits(drawn64[1]), TorchReader.load(KAGGLE).logits(drawn64[1]))


def test_an_export_is_small(exported):
    assert exported.stat().st_size < 700_000
    assert TorchReader.load(KAGGLE).model.hidden == Config.hidden
