"""`Config`: the hyperparameters of a run; the folders of the project; `InputError`, raised for every invalid input."""

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent
WEIGHTS_DIR = _PACKAGE / "weights"  # package data: reference weights, general weights, official splits
SPLITS_DIR = WEIGHTS_DIR / "splits"
# The checkout that the package lies in; None where it was installed from a wheel.
CHECKOUT = _PACKAGE.parent if (_PACKAGE.parent / "notebooks").is_dir() else None
RUN_DIR = Path(os.environ.get("CAPTCHA_OUT") or (CHECKOUT / "output" / "run" if CHECKOUT else "output"))
MIN_SIDE = 16  # px; the network halves pictures four times
MIN_PICTURE = 8  # px; of smaller pictures nobody could read a character

# The extra that brings an optional package; all others come with `train`.
_EXTRAS = {"gradio": "demo", "kagglehub": "kaggle", "onnx": "export", "optuna": "dev", "rapidocr": "legibility"}
_EXTRAS |= dict.fromkeys(("captcha", "joblib", "sklearn", "torchinfo", "wheezy"), "notebooks")


class InputError(ValueError):
    """Invalid input. Its message is one line, whatever names it quotes: where, what is wrong, what to do.

    Where many things are wrong at once, further `lines` name them.
    """

    def __init__(self, text: str, *lines: str) -> None:
        super().__init__("\n".join(map(printable, (text, *lines))))


@dataclass(frozen=True)
class Config:
    """The hyperparameters of a run. Chosen on validation images only."""

    # Of the weights, the order of the images, the warps and the dropout.
    seed: int = 0
    # 24 epochs take about 15 s on two cores; from the eighth on the validation score moves by single images.
    epochs: int = 24
    # So many networks are trained one after another from the same weights, each for an equal share of the epochs, and
    # the mean of their weights is kept (Wortsman et al., "Model soups", ICML 2022). Random weights make one.
    networks: int = 1
    # 51 steps an epoch for 802 images; batches of 32 leave the blank plateau later and need more epochs.
    batch_size: int = 16
    # The least number of images an epoch: fewer are repeated, each time in another warp. 0 shows each once.
    per_epoch: int = 0
    # The peak of the one-cycle schedule (Smith and Topin, 2019), and the share of the steps after which it is reached.
    learning_rate: float = 3e-3
    schedule_peak: float = 0.2
    # AdamW's second moment; the schedule moves the first between 0.95 and 0.85. 0.99 forgets within an epoch or two.
    adam_beta2: float = 0.99
    # AdamW's own default.
    weight_decay: float = 0.01
    # Epochs of framewise cross-entropy before CTC, which break the blank plateau: see notebook 03.
    warmup_epochs: int = 3
    # 1 shifts by up to 8 px, slants by up to 3 degrees, bends by up to 2 px (augment.py). It grows to this over the
    # first epochs of CTC: at full strength at once, some seeds fall back onto the plateau.
    augment_strength: float = 1.0
    augment_ramp: int = 3
    # Little, since the warps keep the network from learning pictures by heart; 0.25 read no more validation texts.
    dropout: float = 0.1
    # The weights that are kept are an exponential mean over about 1 / (1 - 0.98) = 50 steps, one epoch.
    ema_decay: float = 0.98
    # A training that has read no validation text when a third of its CTC epochs are over, and whose loss is above so
    # many nats a text, ends there: it is on the blank plateau. None lets it go on; `train` chooses, see `run`.
    plateau: float | None = None
    # Caps the large gradients of the first CTC steps.
    clip_norm: float = 2.0
    # Output channels of the first three convolutions, and the width of a column, which the fourth makes:
    # 152k parameters, 25 time steps, 9 million multiplications a picture. Multiples of 16 fill a processor's vectors.
    channels: tuple[int, int, int] = (32, 64, 96)
    hidden: int = 96
    # Residual blocks after each separable convolution; one kind of captchas is learnt without.
    blocks: int = 0
    # Half-precision products in training, where the processor has them: 17.4 s instead of 18.3 on two cores.
    bfloat16: bool = True

    @property
    def epochs_each(self) -> int:
        """The epochs of each network."""
        return max(1, self.epochs // self.networks)


def printable(text: str) -> str:
    """The text with line ends, control characters and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def data_choice(choice: str | None = None) -> str:
    """The data in words: `choice`, else the environment's CAPTCHA_DATA, else "generated"."""
    return (os.environ.get("CAPTCHA_DATA") or "generated") if choice is None else choice


def generated_dir() -> Path:
    """Where the generated captchas are kept: data/generated of a checkout, else the user's cache folder."""
    if CHECKOUT is not None and os.access(CHECKOUT / "data", os.W_OK):
        return CHECKOUT / "data" / "generated"
    from platformdirs import user_cache_path  # here, because reading does without

    return user_cache_path("captcha_lib", appauthor=False) / "generated"


def optional_module(name: str) -> Any:
    """Imports a module of an optional package; raises InputError if it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise missing_extra(name) from None


def missing_extra(package: str) -> InputError:
    """What to say where an optional package is not installed, and which extra of this one brings it."""
    extra = _EXTRAS.get(package.partition(".")[0], "train")
    return InputError(f"{package} is not installed; pip install 'captcha_lib[{extra}]'")
