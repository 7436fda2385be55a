"""The pictures of a training and of a reading: tables and tensors -> matplotlib figures."""

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure

from captcha_lib.decode import Span

WIDTH = 9.0  # inches, what a page of a notebook shows without scaling
RIGHT, WRONG = "tab:blue", "tab:red"


def plot_history(history: pd.DataFrame) -> Figure:
    """Both loss curves, and the share of validation texts that are read exactly."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.2), layout="constrained")
    left.plot(history["epoch"], history["train_ctc"], label="training", marker=".")
    left.plot(history["epoch"], history["val_ctc"], label="validation", marker=".")
    left.set(xlabel="epoch", ylabel="CTC loss, nats per text", yscale="log")
    right.plot(history["epoch"], 100 * history["val_exact"] / history["val_n"], color="tab:green", marker=".")
    right.set(xlabel="epoch", ylabel="exact match on validation, %", ylim=(-2, 102))
    if warmup := int((history["phase"] == "frames").sum()):
        for axis in (left, right):
            axis.axvspan(0.5, warmup + 0.5, color="grey", alpha=0.15, label="framewise warm-up", linewidth=0)
    left.legend()
    return finished(figure)


def plot_alignment(image: torch.Tensor, spans: list[Span], steps: int) -> Figure:
    """A picture (1, H, W) with the time steps that spelt each character."""
    width = image.shape[2]
    figure, axis = plt.subplots(figsize=(WIDTH, 2.9), layout="constrained")
    axis.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=255)
    for i, span in enumerate(spans):
        left, right = span.first * width / steps, (span.last + 1) * width / steps
        axis.axvspan(left, right, color=plt.cm.tab10(i), alpha=0.35)
        axis.text((left + right) / 2, -3, span.character, ha="center", family="monospace", fontsize=14)
    axis.set(xlabel="column, px", ylabel="row, px")
    return finished(figure)


def finished(figure: Figure) -> Figure:
    """Takes the figure out of pyplot's hands, so that a notebook shows it once: as the value of its cell."""
    plt.close(figure)
    return figure
