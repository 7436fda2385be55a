"""The picture of a training, and what all pictures share."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

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


def finished(figure: Figure) -> Figure:
    """Takes the figure out of pyplot's hands, so that a notebook shows it once: as the value of its cell."""
    plt.close(figure)
    return figure
