"""Every plot is a figure that pyplot no longer holds."""

import inspect

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from captcha_lib import plots
from captcha_lib.decode import Span
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.metrics import by_position, calibration, character_pairs

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
}
PUBLIC = [name for name, thing in vars(plots).items() if name.startswith("plot_") and inspect.isfunction(thing)]


@pytest.mark.parametrize("name", PUBLIC)
def test_plot(name):
    before = plt.get_fignums()
    figure = getattr(plots, name)(*ARGUMENTS[name])
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
    (line,) = plots.plot_history(HISTORY).axes[1].lines
    assert line.get_ydata().tolist() == [0, 30, 90]


def test_alignment_covers_the_pixels_of_the_steps():
    figure = plots.plot_alignment(IMAGES[0], [Span("a", 4, 6, 0.9)], 50)
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
