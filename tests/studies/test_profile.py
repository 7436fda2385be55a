"""Where the time of a reading goes."""

from captcha_lib.model import CRNN
from studies.profile import count_multiplications, describe_stages, measure_peak, profile_layers


def test_stages_have_shapes_and_all_parameters(reader, drawn):
    table = describe_stages(reader.model, drawn[1])
    assert not reader.model.training
    assert table["stage"].tolist() == ["convolutions", "columns", "lstm", "classify"]
    assert table["output"].iloc[-1] == (24, 25, 20)
    assert table["parameters"].sum() == sum(p.numel() for p in reader.model.parameters())


def test_multiplications_by_hand():
    """Two time steps a 16 px of width; every weight once at each place."""
    model = CRNN(20, 16, channels=(4, 8, 8), hidden=8).eval()
    counts = count_multiplications(model, 16, 32)
    first, second, third = 25 * 4 * 8 * 16, (9 * 4 + 4 * 8) * 4 * 8, (9 * 8 + 8 * 8) * 2 * 8
    columns = 8 * 8 * 1 * 3 * 4
    assert counts["Conv2d"] == first + second + third + columns
    assert counts["LSTM"] == 4 * 2 * (4 * 4 * (8 + 4))  # steps, directions, gates of 4 units, inputs
    assert counts["Linear"] == 4 * 8 * 20


def test_layers_of_onnx_runtime_are_timed(onnx_weights, drawn):
    layers = profile_layers(onnx_weights, drawn[1][:4].numpy(), repeats=3)
    assert {"Conv", "LSTM"} <= set(layers)
    assert list(layers.values()) == sorted(layers.values(), reverse=True)
    assert 0 < sum(layers.values()) < 50
    assert measure_peak(128, repeats=2) > 0.1
