"""The pictures of the notebooks and of the studies: tables and tensors -> matplotlib figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from captcha_lib.metrics import wilson_interval
from captcha_lib.plots import WIDTH, finished

RIGHT, WRONG = "tab:blue", "tab:red"
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


def plot_risk_coverage(curves: dict[str, pd.DataFrame]) -> Figure:
    """The share of wrong readings among the surest ones, for each share that is kept: tables of `risk_coverage`."""
    figure, axis = plt.subplots(figsize=(WIDTH * 0.7, 3.2), layout="constrained")
    for name, curve in curves.items():
        axis.step(100 * curve["coverage"], 100 * (1 - curve["exact_rate"]), where="post", label=name)
    axis.axhline(0.1, color="grey", linestyle=":", label="99.9 % right")
    axis.set(xlabel="coverage: readings kept, surest first, %", ylabel="wrong among the kept, %", xlim=(88, 100.2))
    axis.legend()
    return finished(figure)


def plot_margins(ranking: pd.DataFrame, suspects: pd.Series, name: str, ranks: int = 60) -> Figure:
    """The margins of the first ranks of a label audit, those of `suspects` (booleans) in red under their name."""
    figure, axis = plt.subplots(figsize=(WIDTH * 0.7, 3.2), layout="constrained")
    first = ranking[ranking["rank"] <= ranks]
    for is_suspect, color, label in ((False, RIGHT, "other labels"), (True, WRONG, name)):
        rows = first[suspects.loc[first.index] == is_suspect]
        axis.plot(rows["rank"], rows["margin"], ".", color=color, label=label)
    axis.axhline(0, color="grey", linestyle=":")
    axis.set(xlabel="rank", ylabel="log-likelihood of the label\nminus that of the best other text, nats")
    axis.legend()
    return finished(figure)


def plot_time_to_accuracy(epochs: pd.DataFrame, target: float) -> Figure:
    """Exact match against seconds of training, a line a seed: device, threads, seed, seconds, exact, n."""
    figure, axis = plt.subplots(figsize=(WIDTH * 0.7, 3.4), layout="constrained")
    for place, ((device, threads), table) in enumerate(epochs.groupby(["device", "threads"])):
        color = plt.get_cmap("tab10")(place)
        name = f"{threads} thread{'s' if threads > 1 else ''}" if device == "cpu" else device
        for i, (_, seed) in enumerate(table.groupby("seed")):
            label = None if i else f"{name}, {table['seed'].nunique()} seeds"
            axis.plot(
                seed["seconds"], 100 * seed["exact"] / seed["n"], color=color, alpha=0.6, linewidth=1, label=label
            )
    axis.axhline(100 * target, color="grey", linestyle=":", label=f"{target:.0%}")
    axis.set(xlabel="seconds since training began", ylabel="exact match on the test, %", ylim=(-2, 102), xlim=(0, None))
    axis.legend(loc="lower right")
    return finished(figure)


def plot_reading_speed(rows: pd.DataFrame) -> Figure:
    """Images a second of several readers as bars, with their exact match: reader, images_per_second, exact."""
    rows = rows.sort_values("images_per_second")
    figure, axis = plt.subplots(figsize=(WIDTH, 0.42 * len(rows) + 1), layout="constrained")
    ours = rows["reader"].str.startswith("captcha_lib")
    axis.barh(rows["reader"], rows["images_per_second"], color=np.where(ours, RIGHT, "silver"))
    for place, row in enumerate(rows.itertuples()):
        said = f" {row.images_per_second:,.0f} a second, {100 * row.exact:.1f} % exact"
        axis.annotate(said, (row.images_per_second, place), va="center", fontsize=9)
    axis.set(xscale="log", xlabel="images a second, from file bytes to text, one core")
    axis.set_xlim(rows["images_per_second"].min() / 3, rows["images_per_second"].max() * 50)  # room for the texts
    return finished(figure)


def plot_label_curve(summary: pd.DataFrame) -> Figure:
    """Exact match against labels, a line a start with the band of its draws: start, labels, mean, lowest, highest.

    Left all of it, right the upper end; the axis of labels is linear near 0 and logarithmic from 10 on.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.6), layout="constrained")
    names = {"generated": "after generated captchas", "scratch": "from scratch"}
    for axis, low in zip(axes, (0, 95), strict=True):
        for color, start in zip((RIGHT, "tab:orange"), names, strict=True):
            rows = summary[summary["start"] == start]
            axis.fill_between(rows["labels"], 100 * rows["lowest"], 100 * rows["highest"], color=color, alpha=0.2)
            axis.plot(rows["labels"], 100 * rows["mean"], marker=".", color=color, label=names[start])
        axis.set_xscale("symlog", linthresh=10)
        ticks = sorted(summary["labels"].unique())
        axis.set_xticks(ticks, [str(tick) for tick in ticks], fontsize=8)
        axis.minorticks_off()
        axis.set(xlabel="labelled images", ylabel="exact match on the test, %", ylim=(low - 0.02 * (100 - low), 100.2))
        axis.grid(alpha=0.3)
    axes[0].legend(loc="upper left", bbox_to_anchor=(0, 0.92))
    return finished(figure)


def plot_growth(curve: pd.DataFrame) -> Figure:
    """Exact match against training images with 95 % intervals, and the last row's estimate: images, exact, n, rate."""
    measured, expected = curve.iloc[:-1], curve.iloc[-2:]
    bounds = [wilson_interval(int(row.exact), int(row.n)) for row in measured.itertuples()]
    rates = measured["rate"].to_numpy()
    errors = np.abs(np.array(bounds).T - rates)  # (2, N): below, above
    figure, axis = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    axis.plot(expected["images"], 100 * expected["rate"], ls=":", marker="o", color=RIGHT, mfc="w", label="expected")
    axis.errorbar(measured["images"], 100 * rates, 100 * errors, marker="o", capsize=3, color=RIGHT, label="measured")
    axis.set_xscale("log", base=2)
    axis.set_xticks(curve["images"], [str(n) for n in curve["images"]])
    axis.set(xlabel="training images", ylabel="exact match, %", ylim=(-2, 102))
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    return finished(figure)


def plot_protection(table: pd.DataFrame, named: int = 10) -> Figure:
    """What each setting costs the reader against what it costs general OCR, a panel for each number of labels.

    Args:
        table: of `protect.with_losses`.
        named: settings to name: those that cost the reader most beyond what they cost OCR, if they stand apart.
    """
    sizes = sorted(table["labels"].unique())
    figure, axes = plt.subplots(1, len(sizes), figsize=(WIDTH, 4.4), squeeze=False, layout="constrained", sharey=True)
    for axis, labels in zip(axes[0], sizes, strict=True):
        rows = table[table["labels"] == labels]
        gain = (rows["machine_loss"] - rows["legibility_loss"]).sort_values(ascending=False)
        is_pair = rows["setting"].str.contains("+", regex=False)
        for pair, color, name in ((True, "silver", "pairs"), (False, RIGHT, "single knobs")):
            some = rows[is_pair == pair]
            axis.plot(some["legibility_loss"], some["machine_loss"], "o", color=color, markersize=5, label=name)
        best = rows.loc[gain.index[:named]]
        for row in _apart(best[best["machine_loss"] > 3]).itertuples():
            right = row.legibility_loss > 50  # there a name goes to the left of its point
            at, offset = (row.legibility_loss, row.machine_loss), (-5 if right else 5, 0)
            side = "right" if right else "left"
            axis.annotate(row.setting, at, offset, textcoords="offset points", fontsize=7, va="center", ha=side)
        axis.axline((0, 0), slope=1, color="grey", linestyle=":")
        axis.set(
            xlabel="lost by general OCR, points of characters", title=f"{labels:,} labelled images", xlim=(-4, 100)
        )
    axes[0][0].set(ylabel="lost by the reader,\npoints of exact match")
    axes[0][-1].legend(loc="upper left")
    return finished(figure)


def _apart(rows: pd.DataFrame, points: float = 3.0) -> pd.DataFrame:
    """The rows whose machine_loss is at least so far from that of every row kept before: their names do not touch."""
    kept: list[int] = []
    for i, loss in rows["machine_loss"].items():
        if all(abs(loss - rows["machine_loss"][k]) >= points for k in kept):
            kept.append(i)
    return rows.loc[kept]


def _interval_errors(table: pd.DataFrame) -> np.ndarray:
    """How far the 95 % interval of right / n reaches below and above it, (2, rows)."""
    intervals = [wilson_interval(right, n) for right, n in zip(table["right"], table["n"], strict=True)]
    return np.abs(np.array(intervals).T - (table["right"] / table["n"]).to_numpy())
