"""Weights files: there and back, or a clear refusal; and the same readings from ONNX."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from studies.profile import measure_peak, profile_layers

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.decode import Reading, decode_greedy, decode_length
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.model import CRNN
from captcha_lib.reading.export import export_onnx
from captcha_lib.reading.onnx_reader import OnnxReader
from captcha_lib.reading.torch_reader import TorchReader, round_weights

ALPHABET = Alphabet.of([KAPTCHA.characters])


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def make_reader(channels=(4, 4, 8), hidden=16, length=5) -> TorchReader:
    """A network that was never trained, its weights blown up so that every picture gets a text of its own."""
    torch.manual_seed(4)
    model = CRNN(ALPHABET.num_classes, 50, channels, hidden).eval()
    with torch.no_grad():
        model.columns[0].weight *= 1000
        model.classify[1].weight *= 50
    round_weights(model)
    return Reader(model, ALPHABET, (50, 200), length)


def same_readings(ours: list[Reading], theirs: list[Reading]) -> bool:
    confidences = [reading.confidence for reading in theirs]
    return [r.text for r in ours] == [r.text for r in theirs] and [r.confidence for r in ours] == pytest.approx(
        confidences, abs=1e-12
    )


@pytest.fixture(scope="module")
def reader() -> TorchReader:
    return make_reader()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return generate_captchas(5, 0)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def saved(reader, folder) -> Path:
    reader.save(folder / "weight.pth")
    return folder / "weight.pth"


def refusal(path: Path) -> str:
    """What loading `path` says; anything but an InputError of one line that names the file is a failure."""
    with pytest.raises(InputError) as caught:
        TorchReader.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_test_pictures_get_different_texts(reader, images):
    texts = [reading.text for reading in reader.read(images, length=0)]
    assert len(set(texts)) == len(texts)
    assert all(texts)


def test_round_trip(reader, images, saved):
    loaded = TorchReader.load(saved)
    assert (loaded.alphabet, loaded.image_size, loaded.length) == (ALPHABET, (50, 200), 5)
    assert not loaded.model.training
    assert torch.equal(loaded.logits(images), reader.logits(images))


def test_round_trip_without_a_length(images, tmp_path):
    reader = make_reader(length=None)
    reader.save(tmp_path / "weight.pth")
    loaded = TorchReader.load(tmp_path / "weight.pth")
    assert loaded.length is None
    assert same_readings(loaded.read(images), decode_greedy(reader.logits(images), ALPHABET))


def test_the_weights_of_the_default_network_are_small(tmp_path):
    make_reader(Config().channels, Config().hidden).save(tmp_path / "weight.pth")
    assert (tmp_path / "weight.pth").stat().st_size < 600_000


def test_reading_takes_the_trained_length_unless_told_otherwise(reader, images):
    logits = reader.logits(images)
    assert same_readings(reader.read(images), decode_length(logits, ALPHABET, 5))
    assert same_readings(reader.read(images, length=4), decode_length(logits, ALPHABET, 4))
    assert same_readings(reader.read(images, length=0), decode_greedy(logits, ALPHABET))


def test_the_temperature_scales_the_log_odds_and_no_text(reader, images):
    cooler = replace(reader, temperature=2.0)
    ours, theirs = cooler.read(images, length=0), reader.read(images, length=0)
    assert [r.text for r in ours] == [r.text for r in theirs]
    odds = [np.log(r.confidence / (1 - r.confidence)) for r in theirs]
    assert [r.confidence for r in ours] == pytest.approx([1 / (1 + np.exp(-o / 2)) for o in odds])


def test_spelling_takes_the_trained_length_unless_told_otherwise(reader, images):
    logits = reader.logits(images)
    assert {len(text) for text in reader.spell(logits)} == {5}
    assert reader.spell(logits, length=0) == [reading.text for reading in decode_greedy(logits, ALPHABET)]
    assert all(set(text) <= set("2345678") for text in reader.spell(logits, allowed="2345678"))


def test_reading_with_allowed_characters(reader, images):
    texts = [reading.text for reading in reader.read(images, allowed="2345678")]
    assert all(len(text) == 5 and set(text) <= set("2345678") for text in texts)
    with pytest.raises(InputError, match="'Z'"):
        reader.read(images, allowed="2Z")


def test_logits_do_not_depend_on_the_batch_size(reader, images):
    together, in_twos = reader.logits(images), reader.logits(images, batch_size=2)
    assert in_twos.shape == (5, 25, ALPHABET.num_classes)
    assert torch.allclose(together, in_twos, rtol=1e-4, atol=1e-3)


def test_no_pictures_no_readings(reader):
    assert reader.read(torch.zeros(0, 1, 50, 200, dtype=torch.uint8)) == []


def test_a_missing_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.pth")


def test_a_folder(tmp_path):
    refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PK", b"\x80\x02", b"(", bytes(2000)])
def test_garbage(content, tmp_path):
    path = tmp_path / "weight.pth"
    path.write_bytes(content)
    refusal(path)


@given(st.sampled_from([b"", b"\x80\x02", b"PK\x03\x04"]), st.binary(max_size=60))
@settings(deadline=None, max_examples=100)
def test_any_bytes_are_refused(folder, start, rest):
    path = folder / "any.pth"
    path.write_bytes(start + rest)
    refusal(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file(saved, share, tmp_path):
    content, path = saved.read_bytes(), tmp_path / "weight.pth"
    path.write_bytes(content[: int(len(content) * share)])
    refusal(path)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, 2))])
def test_code_in_a_file_is_not_run(write, saved, tmp_path):
    path, target = tmp_path / "weight.pth", tmp_path / "boom"
    weights = torch.load(saved, weights_only=True)
    write(weights | {"state": Bomb(target)}, path)
    refusal(path)
    assert not target.exists()


def test_the_bomb_is_live(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "boom"))).close()
    assert (tmp_path / "boom").exists()


@pytest.mark.parametrize("thing", [{}, {"state": {}}, [1, 2], 3, torch.zeros(2), {"format": "captcha_lib weights 1"}])
def test_other_things_are_refused(thing, tmp_path):
    torch.save(thing, tmp_path / "weight.pth")
    refusal(tmp_path / "weight.pth")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "another"},
        {"extra": 1},
        {"state": {}},
        {"state": [1]},
        {"alphabet": "ab"},
        {"alphabet": "aa"},
        {"alphabet": 5},
        {"hidden": 18},
        {"temperature": 0.0},
        {"temperature": "1"},
        {"channels": [4, 4]},
        {"image_size": [5, 5]},
        {"image_size": 3},
    ],
    ids=str,
)
def test_weights_that_do_not_fit_together_are_refused(change, saved, tmp_path):
    torch.save(torch.load(saved, weights_only=True) | change, tmp_path / "weight.pth")
    refusal(tmp_path / "weight.pth")


@pytest.mark.parametrize(
    "key", ["format", "state", "alphabet", "image_size", "length", "temperature", "channels", "hidden"]
)
def test_a_missing_entry_is_refused(key, saved, tmp_path):
    weights = torch.load(saved, weights_only=True)
    del weights[key]
    torch.save(weights, tmp_path / "weight.pth")
    refusal(tmp_path / "weight.pth")


@pytest.fixture(scope="module")
def session(reader, folder) -> onnxruntime.InferenceSession:
    export_onnx(reader, folder / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("batch", "width"), [(1, 200), (5, 200), (5, 160), (1, 240)])
def test_onnx_reads_the_same(session, reader, images, batch, width):
    pictures = torch.nn.functional.pad(images[:batch], (0, width - 200), value=255).contiguous()
    (theirs,) = session.run(["logits"], {"images": pictures.numpy()})
    ours = reader.logits(pictures)
    assert theirs.shape == (batch, width // 8, ALPHABET.num_classes)
    assert np.abs(theirs - ours.numpy()).max() < 1e-4 * ours.abs().max()
    read_by_onnx = decode_greedy(torch.from_numpy(theirs), ALPHABET)
    assert [r.text for r in read_by_onnx] == [r.text for r in decode_greedy(ours, ALPHABET)]


def test_onnx_metadata(session):
    facts = session.get_modelmeta().custom_metadata_map
    size = {"height": "50", "width": "200"}
    assert facts == {"alphabet": ALPHABET.characters, "length": "5", "temperature": "1.0"} | size


def test_an_onnx_file_of_the_default_network_is_small(tmp_path):
    export_onnx(make_reader(Config().channels, Config().hidden), tmp_path / "captcha.onnx")
    assert (tmp_path / "captcha.onnx").stat().st_size < 600_000


def test_onnx_reader_reads_as_torch_does(session, reader, images, folder):
    onnx_reader = OnnxReader.load(folder / "model.onnx")
    assert (onnx_reader.alphabet, onnx_reader.image_size, onnx_reader.length) == (ALPHABET, (50, 200), 5)
    ours, theirs = onnx_reader.read(images.numpy()), reader.read(images)
    assert [r.text for r in ours] == [r.text for r in theirs]
    assert [r.confidence for r in ours] == pytest.approx([r.confidence for r in theirs], abs=1e-3)


def test_onnx_reader_in_batches_and_without_pictures(session, images, folder):
    onnx_reader = OnnxReader.load(folder / "model.onnx")
    together, in_twos = onnx_reader.logits(images.numpy()), onnx_reader.logits(images.numpy(), batch_size=2)
    assert np.allclose(together, in_twos, rtol=1e-4, atol=1e-3)
    assert onnx_reader.read(images.numpy()[:0]) == []


def test_onnx_reader_needs_no_torch(session, folder):
    code = f"""
import sys
from pathlib import Path
import numpy as np
from captcha_lib.onnx_reader import OnnxReader, measure_peak, profile_layers
from captcha_lib.style import KAPTCHA
OnnxReader.load(Path({str(folder / "model.onnx")!r})).read(np.zeros((2, 1, 50, 200), np.uint8))
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("content", [None, b"", b"no ONNX at all"])
def test_onnx_reader_refuses_other_files(content, tmp_path):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx: no ") as caught:
        OnnxReader.load(path)
    assert "\n" not in str(caught.value)


def test_onnx_reader_refuses_a_file_without_its_facts(session, folder, tmp_path):
    graph = onnx.load(folder / "model.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "bare.onnx")
    with pytest.raises(InputError, match="its metadata has no alphabet"):
        OnnxReader.load(tmp_path / "bare.onnx")


def test_an_export_leaves_the_reader_as_it_was(session, reader, images, saved):
    assert not reader.model.training
    assert torch.equal(reader.logits(images), TorchReader.load(saved).logits(images))


def test_the_profile_says_where_the_time_goes(session, images, folder):
    spent = profile_layers(folder / "model.onnx", images.numpy(), repeats=3)
    assert {"Conv", "LSTM", "MaxPool"} <= set(spent)
    assert list(spent.values()) == sorted(spent.values(), reverse=True)
    assert all(0 <= milliseconds < 1000 for milliseconds in spent.values())


def test_the_peak_is_a_rate_that_processors_have():
    assert 0.5 < measure_peak(size=256, repeats=3) < 5000
