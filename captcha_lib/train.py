"""`fit()`: a short, flat loop that returns its history. Checkpoint each epoch, resume to the very same weights.

An epoch is a function of the state that it starts from, the seed and its number, and of nothing else: its random
numbers are seeded anew. So a run that was cut off goes on as if nothing had happened.
"""

import copy
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from captcha_lib.alphabet import BLANK, Alphabet, count_doubles
from captcha_lib.augment import augment
from captcha_lib.config import Config, InputError
from captcha_lib.data import Captchas
from captcha_lib.decode import spell
from captcha_lib.files import check_writable, replacing
from captcha_lib.metrics import fit_temperature
from captcha_lib.model import CRNN, MIN_SIDE, ctc_loss, has_bfloat16
from captcha_lib.reader import Reader, round_weights
from captcha_lib.results import describe_epoch, write_run


@dataclass
class State:
    """All that a run carries from one epoch to the next."""

    model: CRNN
    averaged: AveragedModel
    optimizer: torch.optim.AdamW
    schedule: torch.optim.lr_scheduler.OneCycleLR
    history: list[dict]
    best: dict

    def state_dict(self) -> dict:
        parts = {name: getattr(self, name).state_dict() for name in ("model", "averaged", "optimizer", "schedule")}
        return parts | {"history": self.history, "best": self.best}

    def load_state_dict(self, saved: dict) -> None:
        for name in ("model", "averaged", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(saved[name])
        self.history, self.best = saved["history"], saved["best"]


def run(
    captchas: Captchas,
    alphabet: Alphabet,
    config: Config,
    out: Path,
    resume: bool = False,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> tuple[Reader, pd.DataFrame, pd.DataFrame]:
    """Trains on a split data set, then reads its test images once; everything is written to `out`.

    Returns:
        the reader, the history (see `fit`), the predictions for the test images.
    """
    check_writable(out / "weight.pth")  # now, not when the training is done
    train, val = captchas.subset("train"), captchas.subset("val")
    reader, history = fit(train, val, alphabet, config, out / "checkpoint.pth", resume, device, report)
    return reader, history, write_run(out, captchas, reader, history, config, device)


def fit(
    train: Captchas,
    val: Captchas | None,
    alphabet: Alphabet,
    config: Config,
    checkpoint: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> tuple[Reader, pd.DataFrame]:
    """Trains a CRNN; the weights are those of the last epoch that reads the validation images best.

    Args:
        train, val: labelled images of one size. No test image is ever seen here. Without validation images the weights
            of the last epoch are kept, and confidences stay as they are.
        alphabet: the characters to learn.
        config: the hyperparameters.
        checkpoint: a file written after every epoch.
        resume: goes on from the checkpoint, if there is one.
        device: where the network is trained, such as "cpu" or "cuda".
        report: gets one line an epoch.

    Returns:
        the reader, and the history: one row an epoch with epoch, phase ("frames" or "ctc"), train_ctc and val_ctc (nats
        a text), val_exact and val_n (texts, best path), blank (share of the validation time steps), seconds (so far).
        Without validation images it has no val_ctc, val_exact, val_n and blank.

    Raises:
        InputError: a label with too many characters for the time steps, or a checkpoint of another run.
    """
    torch.manual_seed(config.seed)
    height = train.images.shape[2]
    model = CRNN(alphabet.num_classes, height, config.channels, config.hidden, config.dropout)
    state = _start(model.to(device, memory_format=torch.channels_last), len(train), config)
    _check_lengths(model, train)
    own = identity(train, val, alphabet, config)
    if resume and checkpoint is not None and checkpoint.exists():
        _load_checkpoint(checkpoint, state, own)
        report(f"resumed after epoch {len(state.history)}")
    ids, lengths = alphabet.encode_batch(train.labels)
    for epoch in range(len(state.history), config.epochs):
        began = time.perf_counter()
        train_ctc = _train_epoch(state, train.images, ids, lengths, config, epoch)
        row = {"epoch": epoch + 1, "phase": _phase(epoch, config), "train_ctc": train_ctc}
        if val is not None:
            row |= _validate(state.averaged.module, val, alphabet)
        spent = state.history[-1]["seconds"] if state.history else 0.0
        row["seconds"] = spent + time.perf_counter() - began
        state.history.append(row)
        _keep_if_best(state, row)
        if checkpoint is not None:
            _save_checkpoint(checkpoint, state, own)
        report(describe_epoch(row, config.epochs))
    return _best_reader(state, train, val, alphabet), pd.DataFrame(state.history)


def frame_targets(images: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor, steps: int) -> torch.Tensor:
    """Lays each label out evenly over the inked columns, blank elsewhere: a class for every time step.

    Ink is what differs from the picture's median grey by at least half of what its most different pixel does. A column
    counts as inked if it holds, smoothed, at least half of what the mean column holds: glyphs do, a lone line does not.

    Shape:
        (B, 1, H, W) uint8, padded ids (B, max L), lengths (B,) -> (B, T) int64.
    """
    grey = images[:, 0].float()  # (B, H, W)
    paper = grey.flatten(1).median(1).values[:, None, None]
    contrast = (grey - paper).abs()
    ink = (contrast >= contrast.amax((1, 2), keepdim=True) / 2).float().mean(1)  # (B, W)
    ink = F.avg_pool1d(ink[:, None], 9, stride=1, padding=4)[:, 0]  # (B, W)
    inked = ink >= ink.mean(1, keepdim=True) / 2
    width = inked.shape[1]
    place = torch.arange(width, device=images.device)
    first = torch.where(inked, place, width).amin(1, keepdim=True)  # (B, 1)
    last = torch.where(inked, place, -1).amax(1, keepdim=True)  # (B, 1)
    centre = (torch.arange(steps, device=images.device) + 0.5) * width / steps  # (T,), px
    index = ((centre - first) / (last + 1 - first) * lengths[:, None]).floor().long()  # (B, T)
    inside = (index >= 0) & (index < lengths[:, None])
    return ids.gather(1, index.clamp(0, ids.shape[1] - 1)) * inside


def _start(model: CRNN, n: int, config: Config) -> State:
    steps = max(6, config.epochs * -(-n // config.batch_size))  # OneCycleLR divides by zero at five
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
    rate, decay, betas = config.learning_rate, config.weight_decay, (0.9, config.adam_beta2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, betas=betas, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=config.schedule_peak)
    return State(model, averaged, optimizer, schedule, history=[], best={})


def _best_reader(state: State, train: Captchas, val: Captchas | None, alphabet: Alphabet) -> Reader:
    model = state.averaged.module
    model.load_state_dict(state.best["weights"])
    round_weights(model)
    lengths = set(train.manifest["label"].str.len())
    length = int(lengths.pop()) if len(lengths) == 1 else None
    reader = Reader(model.eval(), alphabet, tuple(train.images.shape[2:]), length)
    if val is None:
        return reader
    readings = reader.read(val.images)
    right = [reading.text == label for reading, label in zip(readings, val.labels, strict=True)]
    return replace(reader, temperature=fit_temperature([reading.confidence for reading in readings], right))


def _phase(epoch: int, config: Config) -> str:
    return "frames" if epoch < config.warmup_epochs else "ctc"


def _strength(epoch: int, config: Config) -> float:
    """No warps in the warm-up, which is to find where the characters are; then more with each epoch."""
    grown = (epoch - config.warmup_epochs) / max(1, config.augment_ramp)
    return config.augment_strength * min(1.0, max(0.0, grown))


def _train_epoch(
    state: State, images: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor, config: Config, epoch: int
) -> float:
    """One pass over the training images; returns the mean CTC loss in nats a text."""
    seed = config.seed * 10_000 + epoch
    torch.manual_seed(seed)  # dropout
    chance = torch.Generator().manual_seed(seed)  # order and warps
    device = next(state.model.parameters()).device
    bfloat16 = has_bfloat16(str(device))
    warming_up = _phase(epoch, config) == "frames"
    state.model.train()
    total = 0.0
    for rows in torch.randperm(len(images), generator=chance).split(config.batch_size):
        batch = augment(images[rows].to(device), _strength(epoch, config), chance)  # (B, 1, H, W)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = state.model(batch)  # (B, T, K)
        ctc = ctc_loss(logits, ids[rows], lengths[rows])  # (B,)
        if warming_up:
            targets = frame_targets(batch.cpu(), ids[rows], lengths[rows], logits.shape[1])  # (B, T)
            loss = F.cross_entropy(logits.transpose(1, 2), targets.to(device))
        else:
            loss = (ctc / lengths[rows]).mean()
        state.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_norm)
        state.optimizer.step()
        state.schedule.step()
        state.averaged.update_parameters(state.model)
        total += float(ctc.detach().sum())
    return total / len(images)


@torch.no_grad()
def _validate(model: CRNN, val: Captchas, alphabet: Alphabet) -> dict:
    logits = Reader(model.eval(), alphabet, tuple(val.images.shape[2:]), None).logits(val.images)  # (N, T, K)
    texts = spell(logits, alphabet)
    return {
        "val_ctc": float(ctc_loss(logits, *alphabet.encode_batch(val.labels)).mean()),
        "val_exact": sum(text == label for text, label in zip(texts, val.labels, strict=True)),
        "val_n": len(val),
        "blank": float((logits.argmax(-1) == BLANK).float().mean()),
    }


def _keep_if_best(state: State, row: dict) -> None:
    """Equally good epochs are settled by the schedule, which ends with the smallest steps, and not by the loss: a wrong
    label among the validation images costs more the surer a network is, so the loss would favour early epochs.
    """
    exact = row.get("val_exact", 0)
    if not state.best or exact >= state.best["exact"]:
        state.best = {"exact": exact, "weights": copy.deepcopy(state.averaged.module.state_dict())}


def _check_lengths(model: CRNN, train: Captchas) -> None:
    """CTC needs a time step for each character, and one for the blank between equal neighbours."""
    width = train.images.shape[3]
    if width < MIN_SIDE:
        raise InputError(f"images {width} px wide are too narrow for the network; it needs {MIN_SIDE} px")
    with torch.no_grad():
        steps = model.eval()(train.images[:1].to(next(model.parameters()).device)).shape[1]
    for file, label in zip(train.manifest["file"], train.labels, strict=True):
        needed = len(label) + count_doubles(label)
        if needed > steps:
            raise InputError(f"{file}: its label needs {needed} time steps and the picture gives {steps}; widen it")


def identity(train: Captchas, val: Captchas | None, alphabet: Alphabet, config: Config) -> dict:
    """What has to agree for two runs to be the same one; plain values only."""
    val_manifest = train.manifest.head(0) if val is None else val.manifest
    images = pd.concat([train.manifest, val_manifest])[["sha256", "label"]]
    settings = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(config).items()}
    digest = hashlib.sha256(images.to_csv(index=False).encode()).hexdigest()
    return settings | {"alphabet": alphabet.characters, "images": f"{len(train)} + {len(val_manifest)} ({digest[:8]})"}


def _save_checkpoint(path: Path, state: State, identity: dict) -> None:
    with replacing(path) as part:
        torch.save({"identity": identity, "state": state.state_dict()}, part)


def _load_checkpoint(path: Path, state: State, identity: dict) -> None:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        theirs, state_dict = dict(saved["identity"]), saved["state"]
    except Exception as error:  # a torn or foreign file fails in many ways
        raise _unreadable(path, error) from None
    for name, value in identity.items():
        if theirs.get(name) != value:
            raise InputError(
                f"checkpoint {path}: it belongs to another run ({name} {theirs.get(name)}, here {value}); "
                "start without --resume"
            )
    try:
        state.load_state_dict(state_dict)
    except (KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"checkpoint {path}: it cannot be read ({type(error).__name__}); start without --resume")
