"""Every plot is a figure that pyplot no longer holds."""

import inspect

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

import plots
from captcha_lib.decode import Span
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.metrics import calibration
from captcha_lib.plots import plot_alignment, plot_history
from plots import by_position, character_pairs
from studies import plots as studies_plots
from studies.confidence import risk_coverage

matplotlib.use("Agg")


TEXTS, IMAGES = generate_captchas(5, 0)
HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "phase": ["frames", "ctc", "ctc"],
        "train_ctc": [20.0, 5.0, 0.5],
        "val_ctc": [18.0, 4.0, 0.0],
        "val_exact": [0, 3, 9],
        "val_n": [10, 10, 10],
        "blank": [1.0, 0.7, 0.6],
    }
)
PREDICTIONS = pd.DataFrame(
    {"label": ["abcde", "22b", "ab"], "text": ["abcde", "2b", "abx"], "confidence": [0.99, 0.4, 0.2]}
)
RANKING = pd.DataFrame({"rank": range(1, 81), "margin": [i - 5.5 for i in range(80)]})
EPOCHS = pd.DataFrame({"device": "cpu", "threads": [1, 2], "seed": 0, "seconds": [1.0, 2.0], "exact": [0, 9], "n": 10})
READERS = pd.DataFrame({"reader": ["captcha_lib, torch", "x"], "images_per_second": [2000.0, 100.0], "exact": [1, 0.8]})
CURVE = pd.DataFrame(
    {"start": ["generated", "scratch"], "labels": [0, 100], "mean": 0.5, "lowest": 0.4, "highest": 0.6}
)
SETTINGS = pd.DataFrame(
    {"setting": ["plain", "lines + water"] * 2, "labels": [100, 100, 1000, 1000], "machine_loss": [0, 30, 0, 4],
     "legibility_loss": [0, 40] * 2}
)  # fmt: skip
GROWTH = pd.DataFrame(
    {"images": [75, 150, 300], "exact": [40, 80, None], "n": [100, 100, None], "rate": [0.4, 0.8, 0.9]}
)
ROUNDS = pd.DataFrame({"round": [1, 2], "believed": [3, 9], "read": 10, "agreed": [0.5, 0.9], "right": [0.4, 0.8]})
SURENESS = pd.DataFrame({"confidence": [0.1, 0.9, 0.95], "right": [False, True, False]})
SETS = pd.DataFrame(
    {
        "set": [*"aaabc"],
        "labels": [30, 30, 80, 80, 30],
        "exact": [4, 5, 8, 9, 7],
        "n": 10,
        "ddddocr_given": [5] * 4 + [None],
    }
)
EFFECTS = pd.DataFrame(
    {
        "labels": [100] * 3 + [800] * 3,
        "part": ["recipe", "warps", "batch"] * 2,
        "setting": ["as it is", "none", "32"] * 2,
        "effect": [0, -20, 1, 0, -0.5, 0.1],
        "low": [0, -25, 0.5, 0, -1, -0.1],
        "high": [0, -15, 1.5, 0, 0, 0.3],
        "q": [None, 0.01, 0.01, None, 0.01, 0.4],
    }
)
ARGUMENTS = {
    "plot_gallery": (IMAGES, TEXTS, 2, [True, False, False, False, True]),
    "plot_counts": (pd.Series([3, 1], index=["a", "b"]), "character"),
    "plot_ink": (IMAGES,),
    "plot_history": (HISTORY,),
    "plot_plateau": ({"with warm-up": HISTORY, "without": HISTORY},),
    "plot_positions": (by_position(PREDICTIONS),),
    "plot_confusions": (character_pairs(PREDICTIONS),),
    "plot_calibration": (calibration(PREDICTIONS),),
    "plot_scores_over_image": (IMAGES[0], torch.rand(50, 4).softmax(-1), ["blank", "a", "b", "c"]),
    "plot_alignment": (IMAGES[0], [Span("a", 4, 6, 0.9), Span("b", 10, 10, 1.0)], 50),
    "plot_variables": ({"alpha": np.eye(4, 3), "beta": np.eye(4, 3)}, ["-", "a", "-"]),
    "plot_lattice": (np.full((3, 3, 3), 0.1), np.full((4, 3), 0.3), ["-", "a", "-"]),
    "plot_blanks": ({name: (torch.rand(25), torch.rand(25)) for name in ("epoch 0", "trained")},),
    "plot_growth": (GROWTH,),
    "plot_sets": (SETS, 2),
    "plot_effects": (EFFECTS,),
    "plot_families": (pd.Series({"bent": 0.9, "cut": 0.4}), 10),
    "plot_rounds": (ROUNDS,),
    "plot_sureness": (SURENESS, SURENESS),
    "plot_label_curve": (CURVE,),
    "plot_protection": (SETTINGS,),
    "plot_risk_coverage": ({"as given": risk_coverage(PREDICTIONS)},),
    "plot_margins": (RANKING, RANKING["margin"] < 0, "planted"),
    "plot_time_to_accuracy": (EPOCHS, 0.98),
    "plot_reading_speed": (READERS,),
}
THINGS = vars(plots) | vars(studies_plots)
SHOWN = {name: thing for name, thing in THINGS.items() if name.startswith("plot_") and inspect.isfunction(thing)}
SHOWN |= {"plot_history": plot_history, "plot_alignment": plot_alignment}


@pytest.mark.parametrize("name", SHOWN)
def test_plot(name):
    before = plt.get_fignums()
    figure = SHOWN[name](*ARGUMENTS[name])
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == before
    figure.draw_without_rendering()
    assert any(axis.has_data() for axis in figure.axes)


def test_gallery_titles_and_wrong_ones_in_red():
    figure = plots.plot_gallery(IMAGES, TEXTS, columns=3, wrong=[False, True, False, False, False])
    assert [axis.get_title() for axis in figure.axes] == [*TEXTS, ""]
    assert [axis.title.get_color() for axis in figure.axes[:3]] == ["black", plots.WRONG, "black"]


def test_ink_is_darkness():
    images = torch.full((2, 1, 4, 6), 255, dtype=torch.uint8)
    images[..., 2] = 0
    (line,) = plots.plot_ink(images).axes[1].lines
    assert line.get_ydata().tolist() == [0, 0, 1, 0, 0, 0]


def test_history_shows_shares_in_percent():
    (line,) = plot_history(HISTORY).axes[1].lines
    assert line.get_ydata().tolist() == [0, 30, 90]


def test_alignment_covers_the_pixels_of_the_steps():
    figure = plot_alignment(IMAGES[0], [Span("a", 4, 6, 0.9)], 50)
    (patch,) = figure.axes[0].patches
    assert (patch.get_x(), patch.get_x() + patch.get_width()) == (16, 28)


def test_confusions_show_what_was_counted():
    figure = plots.plot_confusions(character_pairs(PREDICTIONS))
    axis = figure.axes[0]
    names = [label.get_text() for label in axis.get_yticklabels()]
    shown = {
        (names[round(text.get_position()[1])], names[round(text.get_position()[0])]): int(text.get_text())
        for text in axis.texts
        if text.get_visible()
    }
    one_each = {(c, c): 1 for c in "cde2"}
    assert shown == one_each | {("a", "a"): 2, ("b", "b"): 3, ("2", plots.NOTHING): 1, (plots.NOTHING, "x"): 1}


def test_risk_coverage_is_in_percent():
    (line, _) = studies_plots.plot_risk_coverage({"a": risk_coverage(PREDICTIONS)}).axes[0].lines
    assert line.get_xdata().tolist() == pytest.approx([100 / 3, 200 / 3, 100])
    assert line.get_ydata().tolist() == pytest.approx([0, 50, 200 / 3])
