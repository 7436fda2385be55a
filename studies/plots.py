"""The pictures of the studies: tables -> matplotlib figures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from captcha_lib.metrics import wilson_interval
from captcha_lib.plots import RIGHT, WIDTH, WRONG, finished


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


def plot_sets(table: pd.DataFrame, columns: int = 4) -> Figure:
    """Exact match against labels, a panel a set, the hardest first: columns as in `studies.real`.

    A dot is a seed, the line their mean; the dotted line is what ddddocr reads that knows the alphabet and the lengths.
    """
    rates = table.assign(rate=100 * table["exact"] / table["n"], peer=100 * table["ddddocr_given"] / table["n"])
    order = rates.groupby("set")["rate"].mean().sort_values().index
    rows = -(-len(order) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, 1.5 * rows), layout="constrained", sharey=True)
    for axis, name in zip(axes.flat, order, strict=False):
        some = rates[rates["set"] == name]
        means = some.groupby("labels")["rate"].mean()
        axis.plot(some["labels"], some["rate"], ".", color=RIGHT, alpha=0.5)
        axis.plot(means.index, means, color=RIGHT)
        if some["peer"].notna().any():
            axis.axhline(some["peer"].mean(), color="grey", linestyle=":")
        axis.set_xscale("log")
        axis.set_xticks(means.index, [str(labels) for labels in means.index], fontsize=7)
        axis.minorticks_off()
        axis.set_title(name, fontsize=9)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(order) :]:
        axis.axis("off")
    axes.flat[0].set(ylim=(-2, 102))
    figure.supxlabel("labels", fontsize=9)
    figure.supylabel("exact match, %", fontsize=9)
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


def plot_families(rates: pd.Series, n: int) -> Figure:
    """The share of pictures that are read exactly, a bar a family of makers, with 95 % Wilson intervals of n each."""
    rates = rates.sort_values()
    figure, axis = plt.subplots(figsize=(WIDTH, 0.22 * len(rates) + 0.8), layout="constrained")
    low_high = np.array([wilson_interval(round(rate * n), n) for rate in rates])  # (rows, 2)
    errors = 100 * np.abs(low_high - rates.to_numpy()[:, None]).T
    axis.barh(rates.index, 100 * rates, xerr=errors, color=RIGHT, ecolor="grey")
    axis.set(xlabel="read exactly, %", xlim=(0, 100))
    return finished(figure)


def plot_rounds(rounds: pd.DataFrame) -> Figure:
    """What a reader that teaches itself believes, round by round: see `adapting.Adapted`. Where it is known, too: how
    much of that is right, a column of that name.
    """
    lines = [
        ("characters believed", rounds["believed"] / rounds["read"], "grey"),
        ("views that agree", rounds["agreed"], "orange"),
        *([("of the believed ones right", rounds["right"], RIGHT)] if "right" in rounds else []),
    ]
    figure, axis = plt.subplots(figsize=(WIDTH * 0.7, 3), layout="constrained")
    for label, shares, color in lines:
        axis.plot(rounds["round"], 100 * shares, marker=".", color=color, label=label)
    axis.set(xlabel="round", ylabel="%", ylim=(0, 102), xticks=rounds["round"])
    axis.legend(loc="lower right")
    return finished(figure)


def plot_sureness(before: pd.DataFrame, after: pd.DataFrame) -> Figure:
    """Confidences of right and of wrong readings, before and after; tables with the columns confidence and right."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.8), sharey=True, layout="constrained")
    for axis, table, name in zip(axes, (before, after), ("at first sight", "after it taught itself"), strict=True):
        parts = [table.loc[table["right"] == right, "confidence"] for right in (True, False)]
        axis.hist(parts, bins=np.linspace(0, 1, 11), stacked=True, color=[RIGHT, WRONG], label=["right", "wrong"])
        axis.set(xlabel="confidence", title=name)
    axes[0].set(ylabel="pictures")
    axes[0].legend()
    return finished(figure)


def plot_effects(effects: pd.DataFrame) -> Figure:
    """What each change of the recipe does, with its interval, a panel a number of labels: see `ablation.effects`.

    Changes that a paired test does not find (q above 0.05) are grey.
    """
    counts = sorted(effects["labels"].unique())
    names = effects[["part", "setting"]].drop_duplicates().iloc[1:]  # the first is the recipe itself
    figure, axes = plt.subplots(
        1, len(counts), figsize=(WIDTH, 0.24 * len(names) + 1), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, labels in zip(axes[0], counts, strict=True):
        rows = effects[effects["labels"] == labels].merge(names, on=["part", "setting"])
        found = rows["q"] <= 0.05
        colors = np.select([found & (rows["effect"] > 0), found], [RIGHT, WRONG], "silver")
        for place, row in enumerate(rows.itertuples()):
            axis.plot([row.low, row.high], [place, place], color=colors[place], linewidth=2)
            axis.plot(row.effect, place, "o", color=colors[place], markersize=4)
        axis.axvline(0, color="grey", linestyle=":")
        axis.set_xscale("symlog", linthresh=2)
        low, high = axis.get_xlim()
        ticks = [tick for tick in (-80, -40, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10) if low < tick < high]
        axis.set_xticks(ticks, ticks)
        axis.set(xlabel="points of exact match", title=f"{labels} labels", ylim=(len(names) - 0.4, -0.6))
        axis.set_yticks(range(len(names)), [f"{row.part}: {row.setting}" for row in names.itertuples()])
    return finished(figure)
