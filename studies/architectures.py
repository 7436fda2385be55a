"""Other networks for the same pictures and the same loss: (B, 1, H, W) uint8 -> logits (B, T, K).

Each is the network of a paper, or this repository's with one part exchanged, written as shortly as it can be read.
`ARCHITECTURES` names them. All get the same images, warps, epochs and framewise warm-up; what differs is the peak of
their learning rate, which was chosen on generated captchas, and so by no image that they are scored on.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18

from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.model import CRNN
from captcha_lib.recipe import config_for
from studies.ablation import count_read, crnn, train_network
from studies.crossval import draw_folds
from studies.jobs import Job, one_thread, run_jobs

COLUMNS = ["architecture", "set", "seed", "exact", "n", "parameters", "multiplications", "seconds", "ms"]
_RULED_OUT = -1e4  # a score whose exponential is 0, with a gradient that is a number


class Shi(nn.Module):
    """The CRNN of Shi, Bai and Yao (TPAMI 2017, table 1) in full size; pictures become 32 px high.

    T is a quarter of the width at that height, and one more: 33 for 200 x 50 px.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        low, narrow = nn.MaxPool2d(2), nn.MaxPool2d((2, 2), (2, 1), (0, 1))
        self.convolutions = nn.Sequential(
            *_convolution(1, 64), low, *_convolution(64, 128), low,
            *_convolution(128, 256), *_convolution(256, 256), narrow,
            *_convolution(256, 512, norm=True), *_convolution(512, 512, norm=True), narrow,
            nn.Conv2d(512, 512, 2), nn.ReLU(),
        )  # fmt: skip
        self.first, self.second = _lstm(512, 256), _lstm(512, 256)
        self.classify = nn.Linear(512, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = ink(images)
        size = (32, round(32 * x.shape[3] / x.shape[2]))
        x = self.convolutions(F.interpolate(x, size, mode="bilinear", antialias=True))  # (B, 512, 1, T)
        x = x.squeeze(2).transpose(1, 2)  # (B, T, 512)
        return self.classify(self.second(self.first(x)[0])[0]).float()  # (B, T, K)


class ResNet(nn.Module):
    """ResNet18 (He et al., CVPR 2016, table 1) up to conv4_x, from random weights, then columns and a BiLSTM.

    Its thirteen columns of a picture of 200 px are made ten, which is what CTC needs for five characters that are all
    alike and little more. With `dense` columns its last two stages halve the height alone: 50 time steps.
    """

    def __init__(self, classes: int, height: int, dense: bool) -> None:
        super().__init__()
        whole = resnet18(weights=None)
        if dense:
            _keep_width(whole.layer2)
            _keep_width(whole.layer3)
        self.features = nn.Sequential(*list(whole.children())[:-3])
        kernel, padding = ((math.ceil(height / 16), 3), (0, 1)) if dense else ((math.ceil(height / 16), 4), (0, 0))
        self.columns = nn.Sequential(nn.Conv2d(256, 256, kernel, padding=padding), nn.BatchNorm2d(256), nn.ReLU())
        self.lstm = _lstm(256, 128)
        self.classify = nn.Linear(256, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.columns(self.features(ink(images).expand(-1, 3, -1, -1)))  # (B, 256, 1, T)
        return self.classify(self.lstm(x.squeeze(2).transpose(1, 2))[0]).float()  # (B, T, K)


class Positions(nn.Module):
    """A head for each place of a text, on the features of the whole picture; no sequence and no alignment.

    A blank that is certain stands around all places, T = 2L + 1. So there is one path for each text, and its CTC loss
    is the sum of the cross-entropies of the places.
    """

    def __init__(self, classes: int, size: tuple[int, int], length: int, config: Config) -> None:
        super().__init__()
        crnn = CRNN(classes, size[0], config.channels, config.hidden)
        self.features = nn.Sequential(crnn.convolutions, crnn.columns, nn.Flatten())
        with torch.no_grad():
            inputs = self.features.eval()(torch.zeros(1, 1, *size)).shape[1]
        self.features.train()
        self.length = length
        self.heads = nn.Sequential(
            nn.Linear(inputs, 256), nn.ReLU(), nn.Dropout(0.25), nn.Linear(256, length * (classes - 1))
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores = self.heads(self.features(ink(images))).float().unflatten(1, (self.length, -1))  # (B, L, K - 1)
        places = F.pad(scores, (1, 0), value=_RULED_OUT)  # the blank has no chance there
        blanks = F.pad(scores.new_zeros(len(images), self.length + 1, 1), (0, scores.shape[2]), value=_RULED_OUT)
        both = torch.stack([blanks[:, :-1], places], 2).flatten(1, 2)  # blank, place, blank, place, ...
        return torch.cat([both, blanks[:, -1:]], 1)  # (B, 2L + 1, K)


class Neighbours(nn.Module):
    """In the place of an LSTM: two residual convolutions along nine columns, (B, T, C) -> the same."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(features, features, 5, padding=2, bias=False), nn.BatchNorm1d(features), nn.ReLU())
            for _ in range(2)
        )

    def forward(self, columns: torch.Tensor) -> tuple[torch.Tensor, None]:
        x = columns.transpose(1, 2)
        for layer in self.layers:
            x = x + layer(x)
        return x.transpose(1, 2), None


class Attention(nn.Module):
    """In the place of an LSTM: an encoder of two layers (Vaswani et al., NeurIPS 2017, section 3), with their sines.

    (B, T, C) -> the same.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(features, 4, 4 * features, 0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(features), enable_nested_tensor=False)

    def forward(self, columns: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.encoder(columns + _sines(*columns.shape[1:]).to(columns)), None


class Keras(nn.Module):
    """The network of the example "OCR model for reading Captchas" of Keras (A. K. Nain, 2020), T = W / 4."""

    def __init__(self, classes: int, height: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(*_convolution(1, 32), nn.MaxPool2d(2), *_convolution(32, 64), nn.MaxPool2d(2))
        self.dense = nn.Sequential(nn.Linear(64 * (height // 4), 64), nn.ReLU(), nn.Dropout(0.2))
        self.first, self.second = _lstm(64, 128), _lstm(256, 64)
        self.dropout, self.classify = nn.Dropout(0.25), nn.Linear(128, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.convolutions(ink(images))  # (B, 64, H / 4, W / 4)
        x = self.dense(x.flatten(1, 2).transpose(1, 2))  # (B, T, 64)
        x = self.dropout(self.first(x)[0])
        return self.classify(self.dropout(self.second(x)[0])).float()  # (B, T, K)


def ink(images: torch.Tensor) -> torch.Tensor:
    """Pictures uint8 with 0 for white and 1 for black."""
    return 1 - images.float() / 255


def _convolution(inputs: int, outputs: int, norm: bool = False) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    return [convolution, *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]


def _lstm(inputs: int, hidden: int) -> nn.LSTM:
    return nn.LSTM(inputs, hidden, bidirectional=True, batch_first=True)


def _keep_width(stage: nn.Module) -> None:
    """Lets a stage of a ResNet halve the height alone."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (2, 1)


def _sines(steps: int, features: int) -> torch.Tensor:
    """The positions as sines and cosines of many wavelengths, (T, C)."""
    place = torch.arange(steps)[:, None] / 10_000 ** (torch.arange(0, features, 2) / features)
    return torch.stack([place.sin(), place.cos()], 2).flatten(1)


@dataclass(frozen=True)
class Architecture:
    """How a network is made for captchas, and the peak of its learning rate."""

    build: Callable[[Captchas, Config], nn.Module]
    learning_rate: float = Config.learning_rate


def _instead_of_lstm(make: Callable[[int], nn.Module]) -> Callable[[Captchas, Config], nn.Module]:
    """This repository's network with another part between the columns and the classes."""

    def build(captchas: Captchas, config: Config) -> nn.Module:
        network = crnn(captchas, config)
        network.lstm = make(config.hidden)  # type: ignore[assignment]
        return network

    return build


def _positions(captchas: Captchas, config: Config) -> nn.Module:
    if captchas.length is None:
        raise InputError(f"{captchas.source}: a head per position needs texts of one length")
    return Positions(captchas.alphabet.num_classes, captchas.size, captchas.length, config)


def _of_height(make: Callable[[int, int], nn.Module]) -> Callable[[Captchas, Config], nn.Module]:
    """A network that is made for a number of classes and pictures of a height."""
    return lambda captchas, _: make(captchas.alphabet.num_classes, captchas.size[0])


ARCHITECTURES = {
    "this repository": Architecture(crnn),
    "convolutions only": Architecture(_instead_of_lstm(Neighbours)),
    "transformer encoder": Architecture(_instead_of_lstm(Attention)),
    "a head per position": Architecture(_positions),
    "Keras example": Architecture(_of_height(Keras)),
    "Shi et al.": Architecture(lambda captchas, _: Shi(captchas.alphabet.num_classes)),
    "ResNet18, 10 steps": Architecture(_of_height(lambda classes, height: ResNet(classes, height, dense=False))),
    "ResNet18, 50 steps": Architecture(_of_height(lambda classes, height: ResNet(classes, height, dense=True))),
}


def compare(
    captchas: Captchas,
    out: Path,
    names: list[str] | None = None,
    rates: tuple[float | None, ...] = (None,),
    folds: int = 10,
    seeds: int = 3,
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Cross-validates networks on the same folds: one row a network and seed, `COLUMNS`; exact and n are sums of folds.

    Args:
        captchas: labelled images; their subsets play no part.
        out: the folder of the jobs' results; finished jobs are taken from there.
        names: of `ARCHITECTURES`; None takes all.
        rates: peaks of the learning rate to try, which become part of the name; None is the network's own.
        folds, seeds: seed s draws the folds, the weights and the order of the images.
        jobs: processes at a time.
        report: gets one line a job.
    """
    captchas = captchas.replace(paths=[])  # a file in a zip cannot be sent to a process
    work = {
        f"{_named(name, rate)}, seed {seed}, fold {fold}": Job(
            _learn_and_read, (captchas, name, rate, folds, fold, seed), {"rate": rate, "folds": folds, "seed": seed}
        )
        for name in names or ARCHITECTURES
        for rate in rates
        for seed in range(seeds)
        for fold in range(folds)
    }
    table = pd.DataFrame(run_jobs(out, work, {"images": captchas.identity()}, jobs, report).values())
    summed = table.groupby(["network", "architecture", "seed"], sort=False)
    summed = summed.agg(exact=("exact", "sum"), n=("n", "sum"), seconds=("seconds", "mean")).round(1).reset_index()
    sizes = pd.DataFrame([measured(name, captchas) for name in names or ARCHITECTURES])
    return summed.assign(set=captchas.source).merge(sizes, on="network")[COLUMNS]


@one_thread()
def measured(name: str, captchas: Captchas) -> dict:
    """The parameters of a network, its multiplications and milliseconds a picture, read 32 at a time on one thread."""
    network = ARCHITECTURES[name].build(captchas, Config()).eval()
    images = captchas.rows(np.resize(np.arange(len(captchas)), 32)).images
    with torch.no_grad():
        spent = [_seconds(lambda: network(images)) for _ in range(30)]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.to("meta")(images.to("meta"))  # step by step; a processor's own LSTM and attention hide their products
    return {
        "network": name,
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "multiplications": counter.get_total_flops() // 2 // len(images),
        "ms": round(1000 * float(np.median(spent)) / len(images), 3),
    }


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _named(name: str, rate: float | None) -> str:
    return name if rate is None else f"{name} at {rate:g}"


def _learn_and_read(captchas: Captchas, name: str, rate: float | None, folds: int, fold: int, seed: int) -> dict:
    """A job: trains on all folds but one, and reads that one."""
    is_read = draw_folds(len(captchas), folds, seed) == fold
    train, test = captchas.rows(~is_read), captchas.rows(is_read)
    architecture = ARCHITECTURES[name]
    config = replace(config_for(len(train)), seed=seed, learning_rate=rate or architecture.learning_rate)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network, seconds = train_network(architecture.build(train, config), train, config)
    names = {"network": name, "architecture": _named(name, rate), "seed": seed}
    return names | {"exact": count_read(network, test), "n": len(test), "seconds": seconds}
