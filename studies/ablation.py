"""What each part of the recipe is worth: one thing is taken away or changed at a time, and all else stays.

The official test chooses nothing and is not read: the other images are cut into ten folds, and seed s reads fold s with
a network that learnt from a number of the others. So a change and the recipe itself are compared on the same images,
learnt from the same labels in the same order, ten times.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import nn

import captcha_lib.augment
from captcha_lib.config import Config
from captcha_lib.data.captchas import Captchas
from captcha_lib.decode import spell
from captcha_lib.metrics import count_exact
from captcha_lib.model import CRNN
from captcha_lib.recipe import config_for
from captcha_lib.training import State, begin, train_epoch
from studies.audit import plant_errors
from studies.crossval import draw_folds
from studies.jobs import Job, run_jobs

FOLDS, LABELS = 10, (100, 800)
AS_IS = ("recipe", "as it is")
COLUMNS = ["part", "setting", "labels", "seed", "exact", "n", "seconds"]


class Alone(nn.Module):
    """In the place of an LSTM: each column stays as it is."""

    def forward(self, columns: torch.Tensor) -> tuple[torch.Tensor, None]:
        return columns, None


def without_lstm(network: CRNN) -> CRNN:
    network.lstm = Alone()  # type: ignore[assignment]
    return network


def one_direction(network: CRNN) -> CRNN:
    network.lstm = nn.LSTM(network.hidden, network.hidden, batch_first=True)
    return network


def two_layers(network: CRNN) -> CRNN:
    network.lstm = nn.LSTM(network.hidden, network.hidden // 2, 2, bidirectional=True, batch_first=True)
    return network


def full_convolutions(network: CRNN) -> CRNN:
    """Ordinary 3 x 3 convolutions in the place of depthwise separable ones."""
    layers = list(network.convolutions)
    for i in reversed([i for i, layer in enumerate(layers) if getattr(layer, "groups", 1) > 1]):
        pointwise = cast(nn.Conv2d, layers[i + 2])
        layers[i : i + 3] = [nn.Conv2d(pointwise.in_channels, pointwise.out_channels, 3, padding=1, bias=False)]
    network.convolutions = nn.Sequential(*layers)
    return network


def half_the_steps(network: CRNN) -> CRNN:
    """13 time steps of a picture of 200 px: the last pooling halves the width, too."""
    network.convolutions[-1] = nn.MaxPool2d(2)
    return network


def twice_the_steps(network: CRNN) -> CRNN:
    """50 time steps of a picture of 200 px: the columns are as dense as the features."""
    cast(nn.Conv2d, network.columns[0]).stride = (1, 1)
    return network


def decay_matrices(state: State, config: Config) -> None:
    """Takes the weight decay from biases and from the scales and shifts of BatchNorm."""
    (group,) = state.optimizer.param_groups
    vectors = [weights for weights in group["params"] if weights.ndim < 2]
    group["params"] = [weights for weights in group["params"] if weights.ndim >= 2]
    state.optimizer.param_groups.append({**group, "params": vectors, "weight_decay": 0.0})


def constant(state: State, config: Config) -> None:
    """The peak's learning rate all the time."""
    _reschedule(state, config, lambda done: 1.0)


def falling(state: State, config: Config) -> None:
    """Half a cosine from the peak down, without the rise."""
    _reschedule(state, config, lambda done: (1 + math.cos(math.pi * done)) / 2)


def _reschedule(state: State, config: Config, share: Callable[[float], float]) -> None:
    """Gives a share of the peak's learning rate after each share of the steps, and Adam its usual first moment."""
    steps = state.schedule.total_steps
    for group in state.optimizer.param_groups:
        group.update(initial_lr=config.learning_rate, betas=(0.9, config.adam_beta2))
    state.schedule = torch.optim.lr_scheduler.LambdaLR(  # type: ignore[assignment]
        state.optimizer, lambda step: share(min(1.0, step / steps))
    )


@dataclass(frozen=True)
class Setting:
    """The recipe with one change.

    Attributes:
        config: fields of `Config` that are replaced.
        network: gets the network before its first step, and gives the one that is trained.
        optimiser: gets the state before its first step, and changes the optimiser or its schedule.
        warps: the maxima of `augment` that are 0.
        wrong: the share of the training labels of which one character is another one.
    """

    config: dict[str, Any] = field(default_factory=dict)
    network: Callable[[CRNN], nn.Module] | None = None
    optimiser: Callable[[State, Config], None] | None = None
    warps: tuple[str, ...] = ()
    wrong: float = 0.0


SETTINGS: dict[tuple[str, str], Setting] = {
    AS_IS: Setting(),
    ("warm-up", "none"): Setting({"warmup_epochs": 0}),
    ("warm-up", "1 epoch"): Setting({"warmup_epochs": 1}),
    ("warm-up", "6 epochs"): Setting({"warmup_epochs": 6}),
    ("warps", "none"): Setting({"augment_strength": 0.0}),
    ("warps", "half as strong"): Setting({"augment_strength": 0.5}),
    ("warps", "at once"): Setting({"augment_ramp": 0}),
    ("warps", "no shift"): Setting(warps=("MAX_SHIFT_X", "MAX_SHIFT_Y")),
    ("warps", "no zoom"): Setting(warps=("MAX_ZOOM",)),
    ("warps", "no slant"): Setting(warps=("MAX_SLOPE", "MAX_SHEAR")),
    ("warps", "no bend"): Setting(warps=("MAX_BEND_X", "MAX_BEND_Y")),
    ("warps", "no contrast"): Setting(warps=("MAX_CONTRAST",)),
    ("mean of the weights", "none"): Setting({"ema_decay": 0.0}),
    ("mean of the weights", "over 200 steps"): Setting({"ema_decay": 0.995}),
    ("LSTM", "none"): Setting(network=without_lstm),
    ("LSTM", "one direction"): Setting(network=one_direction),
    ("LSTM", "two layers"): Setting(network=two_layers),
    ("convolutions", "not separable"): Setting(network=full_convolutions),
    ("time steps", "13"): Setting(network=half_the_steps),
    ("time steps", "50"): Setting(network=twice_the_steps),
    ("batch", "8"): Setting({"batch_size": 8}),
    ("batch", "32"): Setting({"batch_size": 32}),
    ("batch", "64"): Setting({"batch_size": 64}),
    ("learning rate", "a third"): Setting({"learning_rate": 1e-3}),
    ("learning rate", "twice"): Setting({"learning_rate": 6e-3}),
    ("schedule", "constant"): Setting(optimiser=constant),
    ("schedule", "no rise"): Setting(optimiser=falling),
    ("dropout", "none"): Setting({"dropout": 0.0}),
    ("dropout", "0.3"): Setting({"dropout": 0.3}),
    ("weight decay", "none"): Setting({"weight_decay": 0.0}),
    ("weight decay", "0.1"): Setting({"weight_decay": 0.1}),
    ("weight decay", "of matrices only"): Setting(optimiser=decay_matrices),
    ("precision", "float32"): Setting({"bfloat16": False}),
    ("wrong labels", "2 %"): Setting(wrong=0.02),
    ("wrong labels", "5 %"): Setting(wrong=0.05),
    ("wrong labels", "10 %"): Setting(wrong=0.1),
}


def ablate(
    captchas: Captchas,
    out: Path,
    parts: list[str] | None = None,
    labels: tuple[int, ...] = LABELS,
    seeds: int = FOLDS,
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Trains with every setting, number of labels and seed: one row a training, `COLUMNS`.

    Args:
        captchas: a split data set; its test images are not used.
        out: the folder of the jobs' results; finished jobs are taken from there.
        parts: of the recipe, beside the recipe itself; None takes all.
        labels: numbers of training images.
        seeds: of the labels, the weights and the warps; each reads a fold of its own, up to ten.
        jobs: processes at a time.
        report: gets one line a job.
    """
    known = captchas.rows((captchas.manifest["subset"] != "test").to_numpy()).replace(paths=[])
    chosen = [name for name in SETTINGS if parts is None or name == AS_IS or name[0] in parts]
    work = {
        f"{part}, {setting}, {count} labels, seed {seed}": Job(
            _learn_and_read, (known, part, setting, count, seed), {"labels": count, "seed": seed, "setting": setting}
        )
        for part, setting in chosen
        for count in labels
        for seed in range(seeds)
    }
    return pd.DataFrame(run_jobs(out, work, {"images": known.identity()}, jobs, report).values(), columns=COLUMNS)


def effects(table: pd.DataFrame) -> pd.DataFrame:
    """What each change does, in points of exact match, against the recipe of the same number of labels.

    Returns:
        one row a number of labels and setting: labels, part, setting, exact and spread (mean and standard deviation of
        the seeds, in %), effect, low, high (the mean difference and its 95 % interval by Student's t over the seeds, in
        points), q (the least share of false discoveries at which it counts as an effect, by Benjamini and Hochberg,
        Journal of the Royal Statistical Society B 1995, of paired t-tests), seconds (median of a training).
    """
    table = table.assign(rate=100 * table["exact"] / table["n"])
    rows = []
    for count, some in table.groupby("labels"):
        rates = some.pivot_table(values="rate", index="seed", columns=["part", "setting"], sort=False)
        seconds = some.groupby(["part", "setting"])["seconds"].median()
        for part, setting in rates.columns:
            more = (rates[part, setting] - rates[AS_IS]).to_numpy()
            low, high, p = paired(more)
            rows.append(
                {
                    "labels": count,
                    "part": part,
                    "setting": setting,
                    "exact": rates[part, setting].mean(),
                    "spread": rates[part, setting].std(ddof=1),
                    "effect": more.mean(),
                    "low": low,
                    "high": high,
                    "q": p,
                    "seconds": seconds[part, setting],
                }
            )
    found = pd.DataFrame(rows)
    changed = found["part"] != AS_IS[0]
    found.loc[changed, "q"] = stats.false_discovery_control(found.loc[changed, "q"])
    return found


def paired(more: np.ndarray) -> tuple[float, float, float]:
    """The 95 % interval of the mean of differences (S,), and the p of a paired t-test; 1 where all are alike."""
    if not more.std():
        return float(more.mean()), float(more.mean()), float(not more.mean())
    test = stats.ttest_1samp(more, 0.0)
    low, high = test.confidence_interval(0.95)
    return float(low), float(high), float(test.pvalue)


def learn(train: Captchas, config: Config, setting: Setting = Setting()) -> tuple[nn.Module, float]:
    """Trains as `training.fit` does without validation images, but for one change.

    Returns the averaged network, ready to read, and the seconds.
    """
    config = replace(config, **setting.config)
    if setting.wrong:
        train, _ = plant_errors(train, round(setting.wrong * len(train)), config.seed)
    with torch.random.fork_rng([]), patch.dict(vars(captcha_lib.augment), dict.fromkeys(setting.warps, 0.0)):
        torch.manual_seed(config.seed)
        return train_network(_changed(crnn(train, config), setting), train, config, setting.optimiser)


def train_network(
    network: nn.Module,
    train: Captchas,
    config: Config,
    optimiser: Callable[[State, Config], None] | None = None,
) -> tuple[nn.Module, float]:
    """Trains any network (B, 1, H, W) uint8 -> (B, T, K) with the steps of `training.fit`; see `learn`."""
    began = time.perf_counter()
    batches = train.batches(config)
    state = begin(network.to(memory_format=torch.channels_last), batches.steps, config)
    if optimiser:
        optimiser(state, config)
    for epoch in range(config.epochs):
        train_epoch(state, state.model, batches, config, epoch)
    return state.averaged.module.eval(), time.perf_counter() - began


@torch.no_grad()
def count_read(network: nn.Module, captchas: Captchas) -> int:
    """How many captchas a network reads exactly, their length given."""
    logits = torch.cat([network(images) for images in captchas.images.split(128)])
    return count_exact(spell(logits, captchas.alphabet, captchas.length or 0), captchas.labels)


def _learn_and_read(known: Captchas, part: str, setting: str, count: int, seed: int) -> dict:
    """A job: trains on `count` images outside the seed's fold, and reads that fold."""
    is_read = draw_folds(len(known), FOLDS, seed=0) == seed % FOLDS
    others = np.random.default_rng(seed).permutation(np.flatnonzero(~is_read))
    config = replace(config_for(min(count, len(others))), seed=seed)
    network, seconds = learn(known.rows(np.sort(others[:count])), config, SETTINGS[part, setting])
    test = known.rows(is_read)
    names = {"part": part, "setting": setting, "labels": min(count, len(others)), "seed": seed}
    return names | {"exact": count_read(network, test), "n": len(test), "seconds": round(seconds, 1)}


def parameters(setting: tuple[str, str], captchas: Captchas) -> int:
    """The number of weights of the network of a setting."""
    network = _changed(crnn(captchas, Config()), SETTINGS[setting])
    return sum(weights.numel() for weights in network.parameters())


def crnn(captchas: Captchas, config: Config) -> CRNN:
    """This repository's network for captchas, with random weights."""
    classes, height = captchas.alphabet.num_classes, captchas.size[0]
    return CRNN(classes, height, config.channels, config.hidden, config.dropout, config.blocks)


def _changed(network: CRNN, setting: Setting) -> nn.Module:
    return setting.network(network) if setting.network else network
