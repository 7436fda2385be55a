"""The pictures of the notebooks: tables and tensors -> matplotlib figures; and the tables of errors that they show."""

from itertools import zip_longest

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from captcha_lib.metrics import align_characters, wilson_interval
from captcha_lib.plots import RIGHT, WIDTH, WRONG, finished

NOTHING = "∅"  # "no character" on an axis


def plot_gallery(images: torch.Tensor, titles: list[str], columns: int = 4, wrong: list[bool] | None = None) -> Figure:
    """Pictures (N, 1, H, W) uint8, each under its title; titles marked as wrong are red."""
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 0.85 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    wrong = wrong or [False] * len(images)
    for axis, image, title, is_wrong in zip(axes.flat, images, titles, wrong, strict=False):
        axis.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, family="monospace", fontsize=10, color=WRONG if is_wrong else "black", pad=2)
    return finished(figure)


def plot_counts(counts: pd.Series, xlabel: str, ylabel: str = "count") -> Figure:
    """A bar for each entry of a counted series, in its order."""
    figure, axis = plt.subplots(figsize=(WIDTH, 2.6), layout="constrained")
    axis.bar([str(name) for name in counts.index], counts.to_numpy(), color=RIGHT)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    return finished(figure)


def plot_ink(images: torch.Tensor) -> Figure:
    """The mean picture, and the mean ink of each column: (N, 1, H, W) uint8."""
    mean = images.float().mean((0, 1)).numpy()  # (H, W)
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(WIDTH, 4), sharex=True, layout="constrained")
    top.imshow(mean, cmap="gray", aspect="auto")
    top.set(ylabel="row, px", title=f"mean of {len(images):,} pictures")
    bottom.plot(1 - mean.mean(0) / 255, color=RIGHT)
    bottom.set(xlabel="column, px", ylabel="mean darkness", xlim=(0, mean.shape[1] - 1))
    return finished(figure)


def plot_plateau(runs: dict[str, pd.DataFrame]) -> Figure:
    """The training loss, and how much of the output is blank, of several runs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.2), layout="constrained")
    for name, history in runs.items():
        left.plot(history["epoch"], history["train_ctc"], label=name, marker=".")
        right.plot(history["epoch"], 100 * history["blank"], label=name, marker=".")
    left.set(xlabel="epoch", ylabel="training CTC loss, nats per text", ylim=(0, 30))
    right.set(xlabel="epoch", ylabel="blank time steps, %", ylim=(-2, 102))
    left.legend()
    return finished(figure)


def plot_variables(tables: dict[str, np.ndarray], states: list[str]) -> Figure:
    """Tables of numbers (T, S) side by side, each a row of squares for a state."""
    figure, axes = plt.subplots(1, len(tables), figsize=(WIDTH, 2.6), layout="constrained")
    for axis, (name, table) in zip(axes, tables.items(), strict=True):
        axis.imshow(table.T, cmap="Blues", vmin=0, vmax=1.3 * table.max(), aspect="auto")
        for (t, s), value in np.ndenumerate(table):
            axis.text(t, s, f"{value:.3f}".lstrip("0") if value else "0", ha="center", va="center", fontsize=8)
        axis.set(title=name, xlabel="time step", xticks=range(len(table)))
        axis.set_yticks(range(len(states)), states, family="monospace")
    return finished(figure)


def plot_lattice(flow: np.ndarray, posterior: np.ndarray, states: list[str]) -> Figure:
    """The paths of a text: circles as large as the posterior (T, S), lines as wide as the flow (T - 1, S, S)."""
    figure, axis = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    for (t, s, r), share in np.ndenumerate(flow):
        if share > 0:
            axis.plot([t, t + 1], [s, r], linewidth=20 * share, color=RIGHT, alpha=0.5, zorder=1)
    for (t, s), share in np.ndenumerate(posterior):
        if share > 0:
            axis.scatter(t, s, s=150 + 900 * share, color="white", edgecolor="black", zorder=2)
            axis.text(t, s, f"{share:.2f}".lstrip("0"), ha="center", va="center", fontsize=8, zorder=3)
    steps = len(posterior)
    axis.set(xlabel="time step", xticks=range(steps), xlim=(-0.5, steps - 0.5), ylim=(len(states) - 0.4, -0.6))
    axis.set_yticks(range(len(states)), states, family="monospace")
    return finished(figure)


def plot_blanks(pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> Figure:
    """What the blank has in each time step, and what the text asks for: softmax and posterior (T,), by name."""
    figure, axes = plt.subplots(1, len(pairs), figsize=(WIDTH, 2.6), sharey=True, layout="constrained")
    for axis, (name, (softmax, posterior)) in zip(axes, pairs.items(), strict=True):
        axis.plot(softmax.numpy(), color=RIGHT, label="softmax")
        axis.plot(posterior.numpy(), color=WRONG, linestyle="--", label="posterior")
        axis.set(title=name, xlabel="time step", ylim=(-0.05, 1.05))
    axes[0].set_ylabel("blank")
    axes[0].legend(fontsize=8)
    return finished(figure)


def plot_positions(positions: pd.DataFrame) -> Figure:
    """The share of right characters at each place, with 95 % Wilson intervals."""
    figure, axis = plt.subplots(figsize=(WIDTH / 2, 2.8), layout="constrained")
    errors = 100 * _interval_errors(positions)
    axis.errorbar(positions["position"], 100 * positions["rate"], errors, fmt="o", capsize=4, color=RIGHT)
    axis.set(xlabel="position", ylabel="right characters, %", xticks=positions["position"])
    return finished(figure)


def plot_confusions(pairs: pd.DataFrame) -> Figure:
    """Counts of every character against what it was read as; equal pairs are on the diagonal."""
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix  # here, because training does without

    names = sorted(set(pairs["label"]) | set(pairs["text"]))
    matrix = confusion_matrix(pairs["label"], pairs["text"], labels=names)
    figure, axis = plt.subplots(figsize=(WIDTH * 0.72, WIDTH * 0.66), layout="constrained")
    display = ConfusionMatrixDisplay(matrix, display_labels=[name or NOTHING for name in names])
    display.plot(ax=axis, cmap="Blues", colorbar=False, text_kw={"fontsize": 7})
    for text in display.text_.flat:
        text.set_visible(text.get_text() != "0")
    axis.set(xlabel="read as", ylabel="label")
    return finished(figure)


def plot_calibration(table: pd.DataFrame) -> Figure:
    """Correctness against confidence: points on the diagonal are honest."""
    figure, axis = plt.subplots(figsize=(WIDTH / 2, 3.4), layout="constrained")
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axis.errorbar(table["confidence"], table["right"] / table["n"], _interval_errors(table), fmt="o", capsize=4)
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for confidence, n in zip(table["confidence"], table["n"], strict=True):
        # upright at the foot of the plot, where the points of a good reader are not, and in front of long error bars
        axis.text(confidence, 0, f"n = {n}", rotation=90, ha="center", va="bottom", fontsize=8, bbox=paper, zorder=5)
    axis.set(xlabel="mean confidence", ylabel="share of exact readings", xlim=(-0.03, 1.03), ylim=(-0.05, 1.05))
    return finished(figure)


def plot_scores_over_image(image: torch.Tensor, probs: torch.Tensor, class_names: list[str]) -> Figure:
    """A picture (1, H, W) above the probabilities (T, K) of its columns, on one horizontal axis."""
    width = image.shape[2]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(WIDTH, 6), sharex=True, layout="constrained", height_ratios=[1, 1.7]
    )
    top.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=255, aspect="auto")
    top.set(ylabel="row, px")
    extent = (0, width, len(class_names), 0)
    heat = bottom.imshow(probs.numpy().T, cmap="viridis", vmin=0, vmax=1, aspect="auto", extent=extent)
    bottom.set_yticks(np.arange(len(class_names)) + 0.5, class_names, family="monospace", fontsize=8)
    bottom.set(xlabel=f"column, px; {len(probs)} time steps of {width / len(probs):.0f} px", ylabel="class")
    figure.colorbar(heat, ax=bottom, label="probability", pad=0.01)
    return finished(figure)


def by_position(predictions: pd.DataFrame) -> pd.DataFrame:
    """How many characters are right at each place of the label, counted from 1; a text cut short is wrong there."""
    labels, texts = predictions["label"].tolist(), predictions["text"].tolist()
    rows = []
    for place in range(max(map(len, labels))):
        reach = [(label, text) for label, text in zip(labels, texts, strict=True) if place < len(label)]
        here = [text[place : place + 1] == label[place] for label, text in reach]
        rows.append({"position": place + 1, "n": len(here), "right": sum(here), "rate": sum(here) / len(here)})
    return pd.DataFrame(rows)


def character_pairs(predictions: pd.DataFrame) -> pd.DataFrame:
    """Every character beside what it was read as, by the least-errors alignment; "" is a deletion or an insertion."""
    labels, texts = predictions["label"].tolist(), predictions["text"].tolist()
    pairs: list[tuple[str, str]] = []
    for label, text, chunks in zip(labels, texts, align_characters(labels, texts).alignments, strict=True):
        for chunk in chunks:
            said = label[chunk.ref_start_idx : chunk.ref_end_idx]
            read = text[chunk.hyp_start_idx : chunk.hyp_end_idx]
            pairs += zip_longest(said, read, fillvalue="")
    return pd.DataFrame(pairs, columns=["label", "text"])


def _interval_errors(table: pd.DataFrame) -> np.ndarray:
    """How far the 95 % interval of right / n reaches below and above it, (2, rows)."""
    intervals = [wilson_interval(right, n) for right, n in zip(table["right"], table["n"], strict=True)]
    return np.abs(np.array(intervals).T - (table["right"] / table["n"]).to_numpy())
