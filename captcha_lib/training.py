"""`fit`: a short, flat training loop that returns its history. Checkpoints every epoch, resumes to the same weights.

An epoch is a function of the state that it starts from, the seed and its number, and of nothing else: its random
numbers are seeded again. So a run that was interrupted goes on as if nothing had happened. Several processes may train
one network (see `runs.distributed`).
"""

import copy
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from captcha_lib.alphabet import ANY, BLANK, Alphabet, count_doubles, named
from captcha_lib.augment import augment
from captcha_lib.config import MIN_SIDE, Config, InputError
from captcha_lib.data.batches import Batch, Batches, Source
from captcha_lib.data.captchas import Captchas
from captcha_lib.decode import Reading, spell
from captcha_lib.metrics import count_exact, describe_epoch, fit_temperature
from captcha_lib.model import CRNN, ctc_loss, frame_targets, has_bfloat16, time_steps
from captcha_lib.reading.torch_reader import TorchReader, round_weights
from captcha_lib.runs.checkpoint import identity, load_checkpoint, save_checkpoint
from captcha_lib.runs.distributed import leads, own_rank

_SEEDS_OF_A_RANK = 2**32  # apart from those of every other process
_LEAST_SPENT = 4  # epochs of CTC; before, nobody can tell whether a network learns


def silent(line: str) -> None:
    """A `report` for trainings that nobody watches."""


@dataclass(frozen=True)
class Session:
    """How a training is run, which does not change its result."""

    checkpoint: str | Path | None = None  # a file written after every epoch
    resume: bool = False  # goes on from the checkpoint, if there is one
    device: str = "cpu"  # where the network is trained, such as "cuda"
    report: Callable[[str], None] = silent  # gets one line an epoch


@dataclass
class State:
    """All that a training carries from one epoch to the next."""

    model: nn.Module
    averaged: AveragedModel
    optimizer: torch.optim.AdamW
    schedule: torch.optim.lr_scheduler.OneCycleLR
    history: list[dict] = field(default_factory=list)
    best: dict = field(default_factory=dict)
    finished: list[dict] = field(default_factory=list)  # the weights of the networks before this one

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def smoothed(self) -> CRNN:
        """The network with the averaged weights."""
        return cast(CRNN, self.averaged.module)

    def state_dict(self) -> dict:
        parts = {name: getattr(self, name).state_dict() for name in ("model", "averaged", "optimizer", "schedule")}
        return parts | {"history": self.history, "best": self.best, "finished": self.finished}

    def load_state_dict(self, saved: dict) -> None:
        """Raises ValueError if weights are not finite, or the epochs are not 1, 2, 3, ..."""
        for name in ("model", "averaged", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(saved[name])
        self.history, self.best, self.finished = saved["history"], saved["best"], saved["finished"]
        parts = self.model.state_dict(), self.averaged.state_dict(), self.best["weights"], *self.finished
        if not all(tensor.isfinite().all() for part in parts for tensor in part.values()):
            raise ValueError("weights that are not finite")
        if [row["epoch"] for row in self.history] != list(range(1, len(self.history) + 1)):
            raise ValueError("epochs are missing")


def fit(
    train: Source,
    val: Captchas | None,
    config: Config,
    start: TorchReader | None = None,
    session: Session = Session(),
) -> tuple[TorchReader, pd.DataFrame]:
    """Trains a CRNN; the weights are those of the last epoch that reads the validation images best, or the mean of
    several networks' such weights.

    Args:
        train: labelled images of one size, such as `Captchas`; their alphabet is learnt.
        val: labelled images of the same size. Without them the last epoch's weights are kept, not calibrated.
        config: the hyperparameters.
        start: a reader of the same network, whose weights are trained further; of its classes those of the characters
            that both alphabets hold.
        session: checkpoint, device and progress.

    Returns:
        the reader, and the history: one row an epoch with epoch, phase ("frames" or "ctc"), train_ctc and val_ctc (nats
        per text), val_exact and val_n (texts, best path), blank (share of the validation time steps), seconds (so far);
        without what needs validation images where there are none; and what the batches measured.

    Raises InputError: a label with too many characters for the time steps, a checkpoint of another run, a start whose
    network is another one, several networks without a start, or a loss that is not finite.
    """
    devices = [torch.device(session.device)] if session.device.startswith("cuda") else []
    with torch.random.fork_rng(devices):  # torch's global random state is the caller's
        return _fit(train, val, config, start, session)


def _fit(
    train: Source, val: Captchas | None, config: Config, start: TorchReader | None, session: Session
) -> tuple[TorchReader, pd.DataFrame]:
    torch.manual_seed(config.seed)
    alphabet, batches = train.alphabet, train.batches(config, own_rank())
    model = CRNN(alphabet.num_classes, train.size[0], config.channels, config.hidden, config.dropout, config.blocks)
    if start is not None:
        _take_over(model, start, alphabet)
    elif config.networks > 1:
        raise InputError("networks: only those that start from the same weights have a mean; give a start, or 1")
    first = model.to(session.device).to(memory_format=torch.channels_last)
    state = begin(first, batches.steps, config)
    _check_labels(train.size[1], batches.named_texts + ([] if val is None else val.named_labels()), alphabet)
    own = identity(train, val, alphabet, config) | {"start": weights_digest(start)}
    if session.resume and load_checkpoint(session.checkpoint, state.load_state_dict, own, session.report):
        session.report(f"resumed after epoch {len(state.history)}")
    distributed = _distributed(state)
    for epoch in range(len(state.history), min(config.epochs, config.epochs_each * config.networks)):
        if on_plateau(state.history, config):
            break
        age = epoch % config.epochs_each
        if epoch and not age:
            state = _next_network(state, begin(first, batches.steps, config))
            distributed = _distributed(state)
        began = time.perf_counter()
        row: dict = {"epoch": epoch + 1, "phase": "frames" if age < config.warmup_epochs else "ctc"}
        row |= train_epoch(state, distributed, batches, config, epoch)
        _check_loss(row)
        if val is not None:
            row |= _validate(state.smoothed, val, alphabet)
        spent = state.history[-1]["seconds"] if state.history else 0.0
        row["seconds"] = spent + time.perf_counter() - began
        state.history.append(row)
        _keep_if_best(state, row)
        if session.checkpoint is not None and leads():
            save_checkpoint(session.checkpoint, state.state_dict(), own)
        session.report(describe_epoch(row, config.epochs))
    return _best_reader(state, train, val), pd.DataFrame(state.history)


def begin(first: nn.Module, steps_an_epoch: int, config: Config) -> State:
    """The state of a network that begins with the weights of `first`."""
    model = copy.deepcopy(first)
    steps = schedule_steps(config.epochs_each * steps_an_epoch, config.schedule_peak)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
    rate, decay, betas = config.learning_rate, config.weight_decay, (0.9, config.adam_beta2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, betas=betas, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=config.schedule_peak)
    return State(model, averaged, optimizer, schedule)


def train_epoch(state: State, distributed: nn.Module, batches: Batches, config: Config, epoch: int) -> dict:
    """One pass over an epoch's images; returns the columns of the history that it fills."""
    seed = config.seed * 10_000 + epoch
    rank_seed = seed + own_rank().rank * _SEEDS_OF_A_RANK
    torch.manual_seed(rank_seed)  # dropout
    order = torch.Generator().manual_seed(seed)
    warps = order if leads() else torch.Generator().manual_seed(rank_seed)
    state.model.train()
    total, seen, age = 0.0, 0, epoch % config.epochs_each
    for batch in batches.epoch(epoch, order):
        images = augment(batch.images.to(state.device), _strength(age, config), warps)  # (B, 1, H, W)
        total += _step(state, distributed, batch._replace(images=images), config, age < config.warmup_epochs)
        seen += len(images)
    return {"train_ctc": total / seen, **batches.measured}


def on_plateau(history: list[dict], config: Config) -> bool:
    """Whether a training has learnt nothing when a third of its CTC epochs are over, see `Config.plateau`."""
    spent, all_ = (epochs - config.warmup_epochs for epochs in (len(history), config.epochs_each))
    if config.plateau is None or spent < max(_LEAST_SPENT, all_ / 3):
        return False
    return not any(row.get("val_exact", 1) for row in history) and history[-1]["train_ctc"] > config.plateau


def schedule_steps(steps: int, peak: float) -> int:
    """The steps that OneCycleLR is told of: it divides by zero where its peak is reached after exactly one step."""
    return steps + 1 if math.isclose(peak * steps, 1) else steps


def weights_digest(start: TorchReader | None) -> str:
    """Identifies the weights that a training starts from."""
    tensors = start.model.state_dict().values() if start else []
    return hashlib.sha256(b"".join(tensor.cpu().numpy().tobytes() for tensor in tensors)).hexdigest()[:8]


def _next_network(state: State, new: State) -> State:
    """A new state after one whose network is finished."""
    return replace(new, history=state.history, finished=[*state.finished, state.best["weights"]])


def _distributed(state: State) -> nn.Module:
    """The state's network, which averages its gradients over the processes if there are several."""
    return DistributedDataParallel(state.model) if own_rank().world > 1 else state.model


def _take_over(model: CRNN, start: TorchReader, alphabet: Alphabet) -> None:
    """Gives a new network the weights of a reader; classes of characters that the reader does not know stay random."""
    own, theirs = model.state_dict(), start.model.state_dict()
    known = "".join(character for character in alphabet.characters if character in start.alphabet.characters)
    ours_of, theirs_of = ([BLANK, *one.encode(known)] for one in (alphabet, start.alphabet))
    try:
        for name in ("classify.1.weight", "classify.1.bias"):
            own[name][ours_of] = theirs[name][theirs_of]
        model.load_state_dict(theirs | {name: own[name] for name in own if name.startswith("classify")})
    except RuntimeError:
        raise InputError("start: its network has other layers or another height; start from other weights") from None


def _best_reader(state: State, train: Source, val: Captchas | None) -> TorchReader:
    model = state.smoothed
    model.load_state_dict(mean_weights([*state.finished, state.best["weights"]]))
    round_weights(model)
    reader = TorchReader(train.alphabet, train.size, train.length, model=model.eval())
    if isinstance(train, Captchas):
        reader = replace(reader, conversion=train.conversion, sizes=train.sizes)
    if val is None:
        return reader
    logits = reader.logits(val.images)
    own, free = (_temperature(reader.decode(logits, length), val.labels) for length in (None, 0))
    return replace(reader, temperature=own, temperature_any=free)


def mean_weights(networks: list[dict]) -> dict:
    """The mean of the weights of several networks; of what is counted, that of the first."""
    first, n = networks[0], len(networks)
    return {
        name: sum(one[name] for one in networks) / n if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }


def _temperature(readings: list[Reading], labels: list[str]) -> float:
    right = [reading.text == label for reading, label in zip(readings, labels, strict=True)]
    return fit_temperature([reading.confidence for reading in readings], right)


def _check_loss(row: dict) -> None:
    """Stops before such weights would be kept."""
    if not math.isfinite(row["train_ctc"]):
        said = f"epoch {row['epoch']}: the loss is not finite ({row['train_ctc']})"
        raise InputError(f"{said}; train with a lower learning_rate, or on --device cpu")


def _strength(epoch: int, config: Config) -> float:
    """No warps in the warm-up, which is to find where the characters are; then more with each epoch."""
    grown = (epoch - config.warmup_epochs) / max(1, config.augment_ramp)
    return config.augment_strength * min(1.0, max(0.0, grown))


def _step(state: State, distributed: nn.Module, batch: Batch, config: Config, warming_up: bool) -> float:
    """Moves the weights by one batch; returns the sum of its CTC losses in nats."""
    half = config.bfloat16 and has_bfloat16(str(state.device))
    with torch.autocast(state.device.type, torch.bfloat16, enabled=half):
        logits = distributed(batch.images)  # (B, T, K)
    ctc = ctc_loss(logits, batch.ids, batch.lengths)  # (B,)
    if warming_up:
        targets = frame_targets(batch.images.cpu(), batch.ids, batch.lengths, logits.shape[1])  # (B, T)
        loss = F.cross_entropy(logits.transpose(1, 2), targets.to(state.device))
    else:
        loss = (ctc / batch.lengths).mean()
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_norm)
    state.optimizer.step()
    state.schedule.step()
    state.averaged.update_parameters(state.model)
    return float(ctc.detach().sum())


@torch.no_grad()
def _validate(model: CRNN, val: Captchas, alphabet: Alphabet) -> dict:
    logits = TorchReader(alphabet, val.size, None, model=model.eval()).logits(val.images)  # (N, T, K)
    return {
        "val_ctc": float(ctc_loss(logits, *alphabet.encode_batch(val.labels)).mean()),
        "val_exact": count_exact(spell(logits, alphabet), val.labels),
        "val_n": len(val),
        "blank": float((logits.argmax(-1) == BLANK).float().mean()),
    }


def _keep_if_best(state: State, row: dict) -> None:
    """Equally good epochs are settled by the schedule, which ends with the smallest steps, and not by the loss: a wrong
    label among the validation images costs more the surer a network is, so the loss would favour early epochs.
    """
    exact = row.get("val_exact", 0)
    if not state.best or exact >= state.best["exact"]:
        state.best = {"exact": exact, "weights": copy.deepcopy(state.smoothed.state_dict())}


def _check_labels(width: int, named_texts: list[tuple[str, str]], alphabet: Alphabet) -> None:
    """CTC needs a class and a time step for each character, and a step for the blank between equal neighbours."""
    if width < MIN_SIDE:
        raise InputError(f"images {width} px wide are too narrow for the network; it needs {MIN_SIDE} px")
    steps = time_steps(width)
    for name, text in named_texts:
        unknown = sorted(set(text) - {*alphabet.characters, ANY})
        if unknown:
            raise InputError(f"{name}: {named(unknown[0])} is not in the alphabet {alphabet.characters!r}; correct one")
        needed = len(text) + count_doubles(text)
        if needed > steps:
            raise InputError(f"{name}: its label needs {needed} time steps and the picture gives {steps}; widen it")
