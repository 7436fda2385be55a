"""Files of weights that nobody vouches for: read, or refused in one line; never run, never trusted with memory."""

import builtins
import gzip
import io
import os
import pickle
import random
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from captcha_lib.commands import main as cli
from captcha_lib.config import Config, InputError
from captcha_lib.reading import read as reading
from captcha_lib.reading.onnx_reader import OnnxReader
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.training import Session, fit
from examples import demo
from studies.captchas import generated_captchas

FLIPS = 300
PICTURES = np.random.default_rng(0).integers(0, 256, (2, 1, 50, 200), dtype=np.uint8)


@pytest.fixture
def refuse(tmp_path, capfd) -> Callable[[bytes, type], str]:
    """Loads bytes that have to be refused: in one line that names the file, at once, with nothing printed."""

    def refuse(content: bytes, kind: type = TorchReader) -> str:
        path = tmp_path / ("weights.pth" if kind is TorchReader else "weights.onnx")
        path.write_bytes(content)
        began, held = time.process_time(), _most_memory()
        with pytest.raises(InputError) as caught:
            kind.load(path)
        assert time.process_time() - began < 2
        assert _most_memory() - held < 1000
        assert str(caught.value).startswith(f"weights {path}: ")
        assert "\n" not in str(caught.value)
        assert capfd.readouterr() == ("", "")
        return str(caught.value).removeprefix(f"weights {path}: ")

    return refuse


def _most_memory() -> float:
    """The most memory that this process has held so far, in MB; 0 where nobody counts it."""
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def made(write: Callable, *given, **options) -> bytes:
    """What a function writes into a file."""
    file = io.BytesIO()
    write(file, *given, **options)
    return file.getvalue()


def saved(thing: object, **options) -> bytes:
    return made(lambda file: torch.save(thing, file, **options))


def changed(weights: Path, **parts) -> bytes:
    return saved(torch.load(weights, weights_only=True) | parts)


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def archive_of(pickled: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip such as torch.save writes, around any pickle."""
    names = {"weights/data.pkl": pickled, "weights/byteorder": b"little", "weights/version": b"3\n"}
    return zipped(names, compression)


# Files of other kinds, and damaged ones


def tarred() -> bytes:
    with tarfile.open(fileobj=(file := io.BytesIO()), mode="w") as archive:
        for name in "sys_info", "pickle", "tensors", "storages":
            archive.addfile(tarfile.TarInfo(name))
    return file.getvalue()


def scripted() -> bytes:
    return zipped({"m/code/__torch__.py": b"", "m/constants.pkl": pickle.dumps((), 2), "m/data.pkl": b"\x80\x02}."})


FOREIGN = {
    "empty": b"",
    "random": random.Random(0).randbytes(5000),
    "png": made(Image.new("L", (200, 50)).save, "PNG"),
    "zip": zipped({"a.txt": b"text"}),
    "npz": made(np.savez, state=np.zeros(3)),
    "gzip": gzip.compress(bytes(1000)),
    "pickle": pickle.dumps({"format": "captcha_lib weights 3"}),
    "json": b'{"format": "captcha_lib weights 3"}',
    "safetensors": b"\x36" + bytes(7) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' + bytes(4),
    "tar": tarred(),
    "old torch": saved({"format": "captcha_lib weights 3"}, _use_new_zipfile_serialization=False),
    "torch script": scripted(),
    "list": saved(["format", "state"]),
    "other weights": saved({"conv.weight": torch.zeros(3, 3)}),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("kind", [TorchReader, OnnxReader])
def test_files_of_other_kinds_are_refused(content, kind, refuse):
    refuse(content, kind)


@pytest.mark.parametrize("kind", [TorchReader, OnnxReader])
def test_a_file_that_is_cut_off_is_refused(kind, weights, onnx_weights, refuse):
    """At its start, its end, and fifty places between; and whole it is no file of the other kind."""
    ours, theirs = (path.read_bytes() for path in (weights, onnx_weights)[:: 1 if kind is TorchReader else -1])
    size = len(ours)
    for end in *range(1, 10), *range(10, size, size // 50), *range(size - 9, size):
        refuse(ours[:end], kind)
    refuse(theirs, kind)


def flipped(whole: bytes) -> Iterator[bytes]:
    """The file again and again, each time with another bit turned over."""
    for place in random.Random(0).sample(range(8 * len(whole)), FLIPS):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        yield bytes(content)


def test_a_flipped_bit_is_noticed_or_does_not_matter(weights, reader, tmp_path):
    path, read = tmp_path / "weights.pth", 0
    right = reader.logits(PICTURES)
    for content in flipped(weights.read_bytes()):
        path.write_bytes(content)
        try:
            assert torch.equal(TorchReader.load(path).logits(PICTURES), right)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            read += 1
    assert 0 < read < FLIPS


def test_a_flipped_bit_of_an_onnx_file_leaves_numbers_or_a_refusal(onnx_weights, tmp_path, capfd):
    """The format has no checksums, and so a weight may be another one."""
    path, read = tmp_path / "weights.onnx", 0
    for content in flipped(onnx_weights.read_bytes()):
        path.write_bytes(content)
        try:
            readings = OnnxReader.load(path).read(PICTURES)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert all(0 <= reading.confidence <= 1 for reading in readings)
            read += 1
    assert 0 < read < FLIPS
    assert capfd.readouterr() == ("", "")


# Weights that contradict themselves


NAME = "classify.1.weight"
TENSORS = {
    "complex": lambda tensor: tensor.to(torch.complex32),
    "integers": lambda tensor: tensor.to(torch.int16),
    "bool": lambda tensor: tensor > 0,
    "single": lambda tensor: tensor.float(),
    "double": lambda tensor: tensor.double(),
    "quantized": lambda tensor: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
    "sparse": lambda tensor: tensor.to_sparse(),
    "compressed rows": lambda tensor: tensor.to_sparse_csr(),
    "on no device": lambda tensor: tensor.to("meta"),
    "turned": lambda tensor: tensor.T.contiguous(),
    "longer": lambda tensor: torch.cat([tensor, tensor]),
    "flat": lambda tensor: tensor.flatten(),
    "huge": lambda tensor: torch.zeros(1).half().expand(10**6, 10**6),
    "list": lambda tensor: tensor.tolist(),
    "none": lambda tensor: None,
}


@pytest.mark.filterwarnings("ignore")  # of torch, on kinds of tensors that it means to change or drop
@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_a_tensor_of_another_kind_is_refused(change, weights, refuse):
    state = torch.load(weights, weights_only=True)["state"]
    content = changed(weights, state=state | {NAME: change(state[NAME])})
    assert refuse(content) == "its parts contradict each other; copy or train it again"


@pytest.mark.parametrize("what", [torch.nan, torch.inf])
def test_no_tensor_may_hold_what_is_not_finite(what, weights, refuse):
    state = torch.load(weights, weights_only=True)["state"]
    for name, tensor in state.items():
        if tensor.is_floating_point():
            refuse(changed(weights, state=state | {name: torch.full_like(tensor, what)}))


ABSURD = {
    "format": [2, torch.zeros(2)],
    "state": [None, {}, [1], {1: 2}],
    "alphabet": [
        "", None, list("2345678bcdefgmnpwxy"), "".join(map(chr, range(0x4E00, 0xD000))),
        *("2345678bcdefgmnpwx" + last for last in ("", "x", "\n", "\0", "\udc80")),
    ],
    "image_size": [
        None, 50, [50], [50, 200, 1], [50.0, 200.0], [50, True], [50, 15], [-50, 200], [10**9, 200], [50, 10**30],
        torch.tensor([50, 200]),
    ],
    "channels": [None, 4, [4, 4], [4, 4, 4, 4], [4, 4, 0], [4, 4, -4], [4, 4, 4.0], [10**9] * 3, [512, 512, 512]],
    "hidden": [None, 7, 0, -8, 8.0, 10**9, 512, "8"],
    "length": [0, -1, 26, 10**30, 5.0, True, "5"],
    "temperature": [
        [1.0, float("nan")], [float("inf"), 1.0], [1.0, 0.0], [-1.0, 1.0], [1, 1], [1.0], [1.0, 1.0, 1.0], 1.0, None,
        torch.tensor([1.0, 1.0]),
    ],
    "more": [1],
}  # fmt: skip
CHANGES = [{name: part} for name, parts in ABSURD.items() for part in parts]
CHANGES.append(
    {"image_size": [2048, 200], "channels": [512, 512, 512], "hidden": 512}
)  # the largest network, little memory


@pytest.mark.parametrize("parts", CHANGES, ids=lambda parts: str(parts)[:60].encode("ascii", "replace").decode())
def test_what_cannot_be_true_is_refused(parts, weights, refuse):
    refuse(changed(weights, **parts))


TRUE = [{"length": None}, {"length": 25}, {"temperature": [0.3, 2.0]}, {"image_size": [50, 240]}]


@pytest.mark.parametrize("parts", TRUE, ids=str)
def test_what_can_be_true_is_read(parts, weights, tmp_path):
    (tmp_path / "weights.pth").write_bytes(changed(weights, **parts))
    loaded = TorchReader.load(tmp_path / "weights.pth")
    temperatures = [loaded.temperature, loaded.temperature_any]
    read = {"length": loaded.length, "temperature": temperatures, "image_size": list(loaded.image_size)}
    assert read | parts == read


def test_a_part_too_few_or_too_many_is_refused(weights, refuse):
    whole = torch.load(weights, weights_only=True)
    for key in whole:
        refuse(saved({name: part for name, part in whole.items() if name != key}))
    for name in whole["state"]:
        refuse(saved(whole | {"state": {other: part for other, part in whole["state"].items() if other != name}}))
    refuse(saved(whole | {"state": whole["state"] | {"more": torch.zeros(1)}}))


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(refuse):
    bomb = archive_of(bytes(2 * 10**8), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10**6
    assert "BadZipFile" in refuse(bomb)


class Call:
    """Calls a function where it is unpickled."""

    def __init__(self, function: Callable, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "thing",
    [Call(bytearray, 10**11), Call(torch.Tensor, 10**6, 10**6), Call(torch.FloatStorage, 10**11)],
    ids=["bytes", "tensor", "storage"],
)
def test_a_pickle_that_asks_for_memory_gets_none(thing, refuse):
    refuse(archive_of(pickle.dumps(thing, 2)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="an empty file would take space there, and pipes have no names")
@pytest.mark.parametrize("kind", [TorchReader, OnnxReader])
def test_a_huge_file_and_a_pipe_are_not_even_opened(kind, tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**33)  # it takes no space on the disk
    os.mkfifo(tmp_path / "pipe")
    for name, says in {"huge": "huge", "pipe": "no such file"}.items():
        with pytest.raises(InputError, match=says):
            kind.load(tmp_path / name)


# Weights that would run code


def calls(marker: Path) -> list[Call]:
    """Three ways to make the file `marker`."""
    in_python = Call(builtins.exec, f"open({str(marker)!r}, 'w')")
    return [Call(os.system, f"echo > {marker}"), in_python, Call(open, str(marker), "w")]


def bombs(marker: Path) -> Iterator[bytes]:
    """Pickles of all protocols that make the file `marker`, in every coat that torch knows."""
    for call in calls(marker):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            for thing in call, {"format": "captcha_lib weights 3", "state": call}:
                pickled = pickle.dumps(thing, protocol)
                yield from (pickled, archive_of(pickled), gzip.compress(pickled))
            for zipped in True, False:
                yield saved({"state": call}, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        pickled = pickle.dumps(call, 2)
        yield from (archive_of(pickled) + pickled, pickled + archive_of(pickled))


def test_code_is_never_run(refuse, tmp_path):
    for content in bombs(tmp_path / "exploded"):
        refuse(content)
        refuse(content, OnnxReader)
    assert not (tmp_path / "exploded").exists()


@pytest.fixture
def bomb(tmp_path) -> Path:
    """A file that passes for weights and for a checkpoint until it is unpickled; it makes the file `exploded`."""
    path = tmp_path / "bomb.pth"
    call = Call(open, str(tmp_path / "exploded"), "w")
    path.write_bytes(saved({"format": "captcha_lib weights 3", "identity": {}, "state": call}))
    return path


@pytest.mark.parametrize("command", ["predict", "evaluate", "export", "train"])
def test_no_command_runs_code(command, bomb, folder, tmp_path, capsys):
    words = {
        "predict": (folder, "--weights", bomb),
        "evaluate": ("--data", folder, "--weights", bomb),
        "export": ("--weights", bomb, "--out", tmp_path / "out.onnx"),
        "train": ("--data", folder, "--start", bomb, "--epochs", 1, "--threads", 1, "--out", tmp_path / "run"),
    }[command]
    assert cli.main([command, *map(str, words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: weights {bomb}: it holds code or is not a weights file; it was not run"
    assert not (tmp_path / "exploded").exists()


def test_the_page_runs_no_code(bomb, folder, tmp_path):
    picture = str(next(folder.iterdir()))
    for read in (lambda: reading.read(picture, bomb), lambda: demo.read_page(picture, bomb)):
        with pytest.raises(InputError, match="it was not run"):
            read()
    assert not (tmp_path / "exploded").exists()


def test_a_checkpoint_runs_no_code(bomb, tmp_path):
    captchas, config = generated_captchas(4, 0), Config(epochs=1, channels=(4, 4, 4), hidden=8)
    with pytest.raises(InputError, match=r"bomb\.pth") as caught:
        fit(captchas, None, config, session=Session(bomb, resume=True))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


# ONNX files that this project did not write


FACTS = {"alphabet": "abc", "height": "50", "width": "200", "length": "5", "temperature": "1.0"}


def small_network(
    inputs: str = "images",
    outputs: str = "logits",
    taken: int = TensorProto.UINT8,
    given: int = TensorProto.FLOAT,
    shape: tuple = ("batch", 1, 50, "width"),
    scores: list[float] = (1.0, 2.0, 3.0, 4.0),
    domain: str = "",
    facts: dict[str, str] = FACTS,
) -> onnx.ModelProto:
    """A foreign network that passes for ours: each column's mean, times a number for each class; T = W."""
    weights = numpy_helper.from_array(np.array(scores, np.float32), "scores")
    nodes = [
        helper.make_node("Cast", [inputs], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x"], ["column"], axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["column"], ["columns"], axes=[2]),
        helper.make_node("Mul", ["columns", "scores"], ["product"], domain=domain),
        helper.make_node("Cast", ["product"], [outputs], to=given),
    ]
    takes = helper.make_tensor_value_info(inputs, taken, shape)
    gives = helper.make_tensor_value_info(outputs, given, None)
    graph = helper.make_graph(nodes, "small", [takes], [gives], [weights])
    versions = [helper.make_opsetid("", 11), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=versions, ir_version=7)
    helper.set_model_props(model, facts)
    return model


def test_a_network_that_fits_is_read_whoever_wrote_it(tmp_path):
    onnx.save(small_network(), tmp_path / "weights.onnx")
    reader = OnnxReader.load(tmp_path / "weights.onnx")
    assert reader.logits(PICTURES).shape == (2, 200, 4)
    assert len(reader.read(PICTURES)) == 2


MISFITS = {
    "inputs": ["pictures"],
    "outputs": ["scores_of_classes"],
    "taken": [TensorProto.FLOAT],
    "given": [TensorProto.DOUBLE, TensorProto.INT64],
    "shape": [
        (1, 1, 50, 200), ("batch", 1, 64, "width"), ("batch", 1, 50, 240), ("batch", 3, 50, "width"),
        ("batch", 50, "width"),
    ],
    "scores": [[1.0, 2, 3], [1.0, 2, 3, 4, 5], [1.0, np.nan, 3, 4], [1.0, np.inf, 3, 4], [1.0, 3e38, 3, 4]],
    "domain": ["my.own", "com.microsoft"],
    "facts": [{}, *({other: fact for other, fact in FACTS.items() if other != name} for name in FACTS)],
}  # fmt: skip


@pytest.mark.parametrize("parts", [{name: part} for name, parts in MISFITS.items() for part in parts], ids=str)
def test_a_network_that_does_not_fit_is_refused(parts, refuse):
    refuse(small_network(**parts).SerializeToString(), OnnxReader)


UNTRUE = {
    "alphabet": ["", "aab", "ab", "abcd", "ab\n"],
    "height": ["x", "50.0", "-50", "1000000000", "9" * 5000],
    "width": ["", "0", "1000000000"],
    "length": ["-1", "201", "None"],
    "temperature": ["nan", "inf", "0", "-1", "warm"],
    "temperature_any": ["0", "nan", ""],
}


@pytest.mark.parametrize(
    "fact", [{name: fact} for name, facts in UNTRUE.items() for fact in facts], ids=lambda fact: str(fact)[:30]
)
def test_metadata_that_cannot_be_true_are_refused(fact, refuse):
    refuse(small_network(facts=FACTS | fact).SerializeToString(), OnnxReader)


@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_an_export_of_what_is_not_finite_is_refused(what, onnx_weights, refuse):
    model = onnx.load(onnx_weights)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, what), tensor.name))
    refuse(model.SerializeToString(), OnnxReader)


@pytest.mark.parametrize("place", ["beside.bin", "../secret.bin", "secret.bin", "*/_ORT_MEM_ADDR_/*"])
def test_weights_in_another_file_are_never_read(place, refuse, tmp_path):
    """Not even where they would fit: the network itself is sound, and the file is there."""
    values = np.array([1, 2, 3, 4], np.float32)
    for folder in tmp_path, tmp_path.parent:
        values.tofile(folder / "secret.bin")
    values.tofile(tmp_path / "beside.bin")
    for location in {place, str(tmp_path / place)}:
        model = small_network()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": "0", "length": "16"}.items():
            tensor.external_data.add(key=key, value=value)
        refuse(model.SerializeToString(), OnnxReader)
