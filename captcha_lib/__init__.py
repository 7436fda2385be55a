"""Reads text captchas with a convolutional recurrent network and CTC.

The way of one captcha, and the function that does each step:

    a folder, a zip, Kaggle's archive or the generator
      |  data.load.load_data     data.split.split_captchas says which image is for what
    images    (B, 1, H, W) uint8
      |  data.batches            in an order of each epoch's own
      |  augment.augment         in training only
    images    (B, 1, H, W) uint8
      |  model.CRNN              convolutions -> columns -> BiLSTM -> linear
    logits    (B, T, K)          in training, model.ctc_loss compares them with the labels: training.fit
      |  decode.decode_length    or decode_greedy, decode_beam
    readings  text, confidence
      |  metrics.score
    exact match, CER

`train` goes this way in one call; `read` goes from a picture in any form to its text, without torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

# The public names, each imported when it is first used (PEP 562): reading does not wait for torch. See __init__.pyi.
_HOMES = {
    "adapting": "adapt",
    "alphabet": "Alphabet",
    "config": "Config InputError",
    "data.captchas": "Captchas",
    "data.load": "load_data",
    "data.pixels": "pixels",
    "data.split": "split_captchas",
    "decode": "Reading Span align decode_beam decode_greedy decode_length spell",
    "generator.draw": "generate_captchas",
    "generator.style": "Style",
    "lattice": "collapse",
    "metrics": "score",
    "model": "CRNN ctc_loss",
    "reading.base": "Reader",
    "reading.onnx_reader": "OnnxReader",
    "reading.read": "read",
    "reading.torch_reader": "TorchReader",
    "recipe": "Recipe recipe_for",
    "run": "train",
    "runs.results": "Result",
    "training": "Session fit",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith(__name__):
            raise
        from captcha_lib.config import missing_extra

        raise missing_extra(str(error.name)) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
