"""`Result`: what a training leaves; and its files."""

import json
import platform
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from captcha_lib import metrics, plots
from captcha_lib.config import Config
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.split import write_split
from captcha_lib.files import replacing, write_csv, write_text
from captcha_lib.model import cpu_facts, has_bfloat16
from captcha_lib.reading.torch_reader import TorchReader

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "pillow", "scipy", "jiwer")

CLOCKED = ("seconds", "waited")  # what a clock measured of a training; all else is the same whenever it is run again

NUMBERS = {  # the columns of our tables that hold no text
    "confidence", "label_confidence", "fold", "seed", "seconds",
    "rank", "label_log_p", "other_log_p", "margin", "generator", "votes",
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a training leaves."""

    reader: TorchReader  # the trained network, ready for use
    history: pd.DataFrame  # one row an epoch, see `training.fit`
    captchas: Captchas  # the images, with their split
    config: Config
    predictions: pd.DataFrame  # of the test images: file, label, text, confidence, subset

    @cached_property
    def score(self) -> dict[str, float | int]:
        """Exact match on the test images and more, see `metrics.score`."""
        return metrics.score(self.predictions)


def read_test(
    reader: TorchReader, history: pd.DataFrame, captchas: Captchas, config: Config
) -> tuple[Result, pd.DataFrame]:
    """Reads the test images, once; also gives the predictions by best path, of any length."""
    test = captchas.subset("test")
    logits = reader.logits(test.images)
    predictions, best_path = (metrics.predictions_table(test, reader.decode(logits, length)) for length in (None, 0))
    return Result(reader, history, captchas, config, predictions), best_path


def write_run(out: Path, result: Result, best_path: pd.DataFrame, device: str = "cpu") -> None:
    """Writes all files of a run to the folder `out`.

    These are split.csv, weight.pth, history.csv, log.txt, loss.png, predictions.csv, environment.json and metrics.json,
    and skipped.csv where files were left out. The same run leaves the same bytes in all but metrics.json, which holds
    the seconds that it took. `best_path` holds the predictions for the test images by best path.
    """
    captchas, reader, history, config = result.captchas, result.reader, result.history, result.config
    figures = {
        "data": captchas.source,
        "test": result.score,
        "test_best_path": metrics.score(best_path),
        "seed": config.seed,
        "best_epoch": int(best_row(history)["epoch"]),
        "first_exact_epoch": first_exact_epoch(history),
        "train_seconds": round(float(history["seconds"].iloc[-1]), 1),
        **({"waited": round(float(history["waited"].mean()), 4)} if "waited" in history else {}),
        "parameters": sum(p.numel() for p in reader.model.parameters()),
    }
    write_split(captchas.manifest, out / "split.csv")
    reader.save(out / "weight.pth")
    repeatable = history.drop(columns=list(CLOCKED), errors="ignore")
    write_csv(out / "history.csv", repeatable)
    lines = [metrics.describe_epoch(row, config.epochs) for row in repeatable.to_dict("records")]
    lines = [captchas.summary(), *lines, "test: " + metrics.describe(result.score)]
    write_text(out / "log.txt", "\n".join(lines) + "\n")
    with replacing(out / "loss.png") as part:
        plots.plot_history(history).savefig(part, dpi=150)
    write_csv(out / "predictions.csv", result.predictions)
    if len(captchas.skipped):
        write_csv(out / "skipped.csv", captchas.skipped)
    write_json(out / "environment.json", environment(captchas, config, device))
    write_json(out / "metrics.json", figures)


def environment(captchas: Captchas, config: Config, device: str = "cpu") -> dict:
    """What a run depended on: versions, processor, threads, precision, data, hyperparameters."""
    return machine(device, config.bfloat16) | {
        "seed": config.seed,
        "data": captchas.source,
        "images": len(captchas),
        "notes": captchas.notes,
        "config": asdict(config),
    }


def machine(device: str = "cpu", bfloat16: bool = True) -> dict:
    """Where something was measured: versions, processor, threads, precision; `bfloat16`: whether that may be used."""
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": str(cpu_facts().get("cpu_name") or platform.processor() or platform.machine()),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "precision": "bfloat16" if bfloat16 and has_bfloat16(device) else "float32",
    }


def write_json(path: Path, figures: dict | list) -> None:
    """Writes figures as a JSON file, whole or not at all."""
    write_text(path, json.dumps(figures, indent=2) + "\n")


def read_table(csv: Path) -> pd.DataFrame:
    """Reads a CSV that this project wrote; its texts stay texts, even one such as 25e64, and empty ones stay empty."""
    table = pd.read_csv(csv, dtype=str, keep_default_na=False)
    return table.assign(**{name: pd.to_numeric(table[name]) for name in NUMBERS & set(table)})


def best_row(history: pd.DataFrame) -> pd.Series:
    """The epoch whose weights were kept: the last of those that read the validation images best."""
    return history[history["val_exact"] == history["val_exact"].max()].iloc[-1]


def first_exact_epoch(history: pd.DataFrame) -> int | None:
    """The first epoch that reads a whole validation text: the run has left the blank plateau. None if none does."""
    reads = history[history["val_exact"] > 0]
    return int(reads["epoch"].iloc[0]) if len(reads) else None
