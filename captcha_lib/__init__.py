"""Reads five-character text captchas with a convolutional recurrent network and CTC.

The way of one captcha, and the function that does each step:

    a folder, a zip, Kaggle's archive or the generator
      |  data.load_data          split.split_captchas says which image is for what
    images    (B, 1, H, W) uint8
      |  feed.open_feed          batches: from memory, or from a stream of captchas drawn as they are needed
      |  augment.augment         in training only
    images    (B, 1, H, W) uint8
      |  model.CRNN              convolutions -> columns -> BiLSTM -> linear
    logits    (B, T, K)          in training, model.ctc_loss compares them with the labels: train.fit
      |  decode.decode_length    or decode_greedy, decode_beam
    readings  text, confidence
      |  metrics.score
    exact match, CER

`reading.read` takes a picture in any form and gives its text. `reader.Reader` is the part from images to readings;
`onnx_reader.OnnxReader` does the same with ONNX Runtime, without torch. `crossval` and `audit` ask how far readings and
labels can be believed; `zero` and `curve`, how many labels it takes; `protect`, what the maker of a captcha can do
about it. `style.Style` says what generated captchas look like.
"""

from importlib import import_module

_HOME = {
    "Alphabet": "alphabet",
    "CRNN": "model",
    "Captchas": "data",
    "Config": "config",
    "InputError": "config",
    "OnnxReader": "onnx_reader",
    "Reader": "reader",
    "Reading": "decode",
    "Span": "decode",
    "Stream": "feed",
    "Style": "style",
    "align": "decode",
    "collapse": "decode",
    "crossvalidate": "crossval",
    "ctc_loss": "model",
    "decode_beam": "decode",
    "decode_greedy": "decode",
    "decode_length": "decode",
    "fit": "train",
    "generate_captchas": "generate",
    "load_data": "data",
    "read": "reading",
    "spell": "decode",
    "split_captchas": "split",
    "write_run": "results",
}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Imports a public name when it is first used (PEP 562), so that `--help` does not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
