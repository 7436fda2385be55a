"""`fit()`: a short, flat loop that returns its history. Checkpoint each epoch, resume to the very same weights.

An epoch is a function of the state that it starts from, the seed and its number, and of nothing else: its random
numbers are seeded anew. So a run that was cut off goes on as if nothing had happened.
"""

import copy
import hashlib
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from captcha_lib import metrics, plots
from captcha_lib.alphabet import Alphabet, count_doubles
from captcha_lib.augment import augment
from captcha_lib.config import Config, InputError
from captcha_lib.data import Captchas
from captcha_lib.decode import collapse
from captcha_lib.files import check_writable, replacing, write_text
from captcha_lib.model import CRNN, ctc_loss
from captcha_lib.reader import Reader
from captcha_lib.split import write_split

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pillow", "scipy", "jiwer")


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
    val: Captchas,
    alphabet: Alphabet,
    config: Config,
    checkpoint: Path | None = None,
    resume: bool = False,
    device: str = "cpu",
    report: Callable[[str], None] = print,
) -> tuple[Reader, pd.DataFrame]:
    """Trains a CRNN; the weights are those of the epoch that reads the validation images best.

    Args:
        train, val: labelled images of one size. No test image is ever seen here.
        alphabet: the characters to learn.
        config: the hyperparameters.
        checkpoint: a file written after every epoch.
        resume: goes on from the checkpoint, if there is one.
        device: where the network is trained, such as "cpu" or "cuda".
        report: gets one line an epoch.

    Returns:
        the reader, and the history: one row an epoch with epoch, phase ("frames" or "ctc"), train_ctc and val_ctc (nats
        a text), val_exact and val_n (texts, best path), blank (share of the validation time steps), seconds (so far).

    Raises:
        InputError: a label with too many characters for the time steps, or a checkpoint of another run.
    """
    torch.manual_seed(config.seed)
    height = train.images.shape[2]
    model = CRNN(alphabet.num_classes, height, config.channels, config.hidden, config.dropout)
    state = _start(model.to(device, memory_format=torch.channels_last), len(train), config)
    _check_lengths(model, train)
    identity = _identity(train, val, alphabet, config)
    if resume and checkpoint is not None and checkpoint.exists():
        _load_checkpoint(checkpoint, state, identity)
        report(f"resumed after epoch {len(state.history)}")
    ids, lengths = alphabet.encode_batch(train.labels)
    for epoch in range(len(state.history), config.epochs):
        began = time.perf_counter()
        train_ctc = _train_epoch(state, train.images, ids, lengths, config, epoch)
        row = {"epoch": epoch + 1, "phase": _phase(epoch, config), "train_ctc": train_ctc}
        row |= _validate(state.averaged.module, val, alphabet)
        spent = state.history[-1]["seconds"] if state.history else 0.0
        row["seconds"] = spent + time.perf_counter() - began
        state.history.append(row)
        _keep_if_best(state, row)
        if checkpoint is not None:
            _save_checkpoint(checkpoint, state, identity)
        report(describe_epoch(row, config.epochs))
    best = state.averaged.module
    best.load_state_dict(state.best["weights"])
    label_lengths = set(train.manifest["label"].str.len())
    length = int(label_lengths.pop()) if len(label_lengths) == 1 else None
    reader = Reader(best.eval(), alphabet, tuple(train.images.shape[2:]), length)
    return reader, pd.DataFrame(state.history)


def describe_epoch(row: dict, epochs: int) -> str:
    """An epoch in one line."""
    return (
        f"epoch {row['epoch']:2d}/{epochs}  {row['phase']:6s}  CTC loss train {row['train_ctc']:7.3f}  "
        f"val {row['val_ctc']:7.3f}  exact {row['val_exact']:3d}/{row['val_n']}  blank {row['blank']:4.0%}  "
        f"{row['seconds']:6.1f} s"
    )


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


def write_run(
    out: Path, captchas: Captchas, reader: Reader, history: pd.DataFrame, config: Config, device: str = "cpu"
) -> pd.DataFrame:
    """Reads the test images, once, and writes all files of a run.

    These are split.csv, weight.pth, log.txt, loss.png, predictions.csv, environment.json and metrics.json.

    Returns:
        the predictions for the test images.
    """
    test = captchas.subset("test")
    predictions = metrics.predictions_table(test, reader.read(test.images))
    best_path = metrics.predictions_table(test, reader.read(test.images, length=0))
    figures = {
        "data": captchas.source,
        "test": metrics.score(predictions),
        "test_best_path": metrics.score(best_path),
        "seed": config.seed,
        "best_epoch": int(best_row(history)["epoch"]),
        "first_exact_epoch": first_exact_epoch(history),
        "train_seconds": round(float(history["seconds"].iloc[-1]), 1),
        "parameters": sum(p.numel() for p in reader.model.parameters()),
    }
    write_split(captchas.manifest, out / "split.csv")
    reader.save(out / "weight.pth")
    lines = [describe_epoch(row, config.epochs) for row in history.to_dict("records")]
    lines = [captchas.summary(), *lines, "test: " + metrics.describe(figures["test"])]
    write_text(out / "log.txt", "\n".join(lines) + "\n")
    with replacing(out / "loss.png") as part:
        plots.plot_history(history).savefig(part, dpi=150)
    write_text(out / "predictions.csv", predictions.to_csv(index=False, lineterminator="\n"))
    write_text(out / "environment.json", json.dumps(environment(captchas, config, device), indent=2) + "\n")
    write_text(out / "metrics.json", json.dumps(figures, indent=2) + "\n")
    return predictions


def environment(captchas: Captchas, config: Config, device: str = "cpu") -> dict:
    """What a run depended on: versions, processor, threads, precision, data, hyperparameters."""
    cpu = torch.cpu.get_capabilities()
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": str(cpu.get("cpu_name", platform.processor())),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "precision": "bfloat16" if has_bfloat16(device) else "float32",
        "seed": config.seed,
        "data": captchas.source,
        "images": len(captchas),
        "notes": captchas.notes,
        "config": asdict(config),
    }


def best_row(history: pd.DataFrame) -> pd.Series:
    """The epoch whose weights were kept."""
    return history.sort_values(["val_exact", "val_ctc"], ascending=[False, True]).iloc[0]


def first_exact_epoch(history: pd.DataFrame) -> int | None:
    """The first epoch that reads a whole validation text: the run has left the blank plateau. None if none does."""
    reads = history[history["val_exact"] > 0]
    return int(reads["epoch"].iloc[0]) if len(reads) else None


def seeds_table(folders: list[Path]) -> pd.DataFrame:
    """One row a run: seed, n, exact, exact_best_path, first_exact_epoch, best_epoch, train_seconds."""
    runs = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in folders]
    rows = [
        {
            "seed": figures["seed"],
            "n": figures["test"]["n"],
            "exact": figures["test"]["exact"],
            "exact_best_path": figures["test_best_path"]["exact"],
            "first_exact_epoch": figures["first_exact_epoch"],
            "best_epoch": figures["best_epoch"],
            "train_seconds": figures["train_seconds"],
        }
        for figures in runs
    ]
    return pd.DataFrame(rows)


def has_bfloat16(device: str) -> bool:
    """Whether the processor multiplies in bfloat16; one that only imitates it would be slower, not faster."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    cpu = torch.cpu.get_capabilities()
    return bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16"))


def _start(model: CRNN, n: int, config: Config) -> State:
    steps = max(6, config.epochs * -(-n // config.batch_size))  # OneCycleLR divides by zero at five
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps, pct_start=0.2)
    return State(model, averaged, optimizer, schedule, history=[], best={})


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
    warming_up = _phase(epoch, config) == "frames"
    state.model.train()
    total = 0.0
    for rows in torch.randperm(len(images), generator=chance).split(config.batch_size):
        batch = augment(images[rows].to(device), _strength(epoch, config), chance)  # (B, 1, H, W)
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(str(device))):
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
    reader = Reader(model.eval(), alphabet, tuple(val.images.shape[2:]), None)
    logits = reader.logits(val.images)  # (N, T, K)
    paths = logits.argmax(-1)  # (N, T)
    texts = [alphabet.decode(collapse(path)) for path in paths.tolist()]
    return {
        "val_ctc": float(ctc_loss(logits, *alphabet.encode_batch(val.labels)).mean()),
        "val_exact": sum(text == label for text, label in zip(texts, val.labels, strict=True)),
        "val_n": len(val),
        "blank": float((paths == 0).float().mean()),
    }


def _keep_if_best(state: State, row: dict) -> None:
    rank = [row["val_exact"], -row["val_ctc"]]
    if not state.best or rank > state.best["rank"]:
        state.best = {"rank": rank, "weights": copy.deepcopy(state.averaged.module.state_dict())}


def _check_lengths(model: CRNN, train: Captchas) -> None:
    """CTC needs a time step for each character and a blank between equal neighbours."""
    with torch.no_grad():
        steps = model.eval()(train.images[:1].to(next(model.parameters()).device)).shape[1]
    for file, label in zip(train.manifest["file"], train.labels, strict=True):
        needed = len(label) + count_doubles(label)
        if needed > steps:
            raise InputError(f"{file}: its label needs {needed} time steps and the picture gives {steps}; widen it")


def _identity(train: Captchas, val: Captchas, alphabet: Alphabet, config: Config) -> dict:
    """What has to agree for a checkpoint to be this run's own; plain values only."""
    images = pd.concat([train.manifest, val.manifest])[["sha256", "label"]]
    own = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(config).items()}
    digest = hashlib.sha256(images.to_csv(index=False).encode()).hexdigest()
    return own | {"alphabet": alphabet.characters, "images": f"{len(train)} + {len(val)} ({digest[:8]})"}


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
