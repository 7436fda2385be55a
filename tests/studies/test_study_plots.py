"""Every plot of the studies is a figure that pyplot no longer holds."""

import inspect

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from captcha_lib.plots import WRONG
from studies import plots
from studies.confidence import risk_coverage

matplotlib.use("Agg")

PREDICTIONS = pd.DataFrame(
    {"label": ["abcde", "22b", "ab"], "text": ["abcde", "2b", "abx"], "confidence": [0.99, 0.4, 0.2]}
)
RANKING = pd.DataFrame({"rank": range(1, 81), "margin": [i - 5.5 for i in range(80)]})
EPOCHS = pd.DataFrame(
    {
        "device": "cpu",
        "threads": [1, 1, 1, 1, 2, 2],
        "seed": [0, 0, 1, 1, 0, 0],
        "seconds": [1.0, 2.0, 1.1, 2.1, 0.6, 1.2],
        "exact": [0, 9, 1, 10, 0, 9],
        "n": 10,
    }
)
READERS = pd.DataFrame(
    {"reader": ["captcha_lib, torch", "another"], "images_per_second": [2000.0, 100.0], "exact": [0.996, 0.84]}
)
CURVE = pd.DataFrame(
    {
        "start": ["generated", "generated", "scratch", "scratch"],
        "labels": [0, 100, 0, 100],
        "mean": [0.98, 0.99, 0.0, 0.9],
        "lowest": [0.97, 0.99, 0.0, 0.8],
        "highest": [0.99, 1.0, 0.0, 0.95],
    }
)
SETTINGS = pd.DataFrame(
    {
        "setting": ["plain", "lines", "lines + water"] * 2,
        "labels": [100] * 3 + [1000] * 3,
        "machine_loss": [0, 5, 30, 0, 1, 4],
        "legibility_loss": [0, 8, 40] * 2,
    }
)
GROWTH = pd.DataFrame(
    {"images": [75, 150, 300], "exact": [40, 80, None], "n": [100, 100, None], "rate": [0.4, 0.8, 0.9]}
)
ARGUMENTS = {
    "plot_growth": (GROWTH,),
    "plot_label_curve": (CURVE,),
    "plot_protection": (SETTINGS,),
    "plot_risk_coverage": ({"as given": risk_coverage(PREDICTIONS)},),
    "plot_margins": (RANKING, RANKING["margin"] < 0, "planted"),
    "plot_time_to_accuracy": (EPOCHS, 0.98),
    "plot_reading_speed": (READERS,),
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


def test_risk_coverage_is_in_percent():
    (line, _) = plots.plot_risk_coverage({"a": risk_coverage(PREDICTIONS)}).axes[0].lines
    assert line.get_xdata().tolist() == pytest.approx([100 / 3, 200 / 3, 100])
    assert line.get_ydata().tolist() == pytest.approx([0, 50, 200 / 3])


def test_margins_show_the_first_ranks_and_mark_the_suspects():
    figure = plots.plot_margins(RANKING, RANKING["margin"] < 0, "planted", ranks=20)
    others, suspects, _ = figure.axes[0].lines
    assert suspects.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert others.get_xdata().tolist() == list(range(7, 21))
    assert suspects.get_color() == WRONG


def test_time_to_accuracy_has_a_line_a_seed():
    axis = plots.plot_time_to_accuracy(EPOCHS, 0.98).axes[0]
    assert len(axis.lines) == 4  # three trainings and the target
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["1 thread, 2 seeds", "2 threads, 1 seeds", "98%"]
    assert axis.lines[0].get_ydata().tolist() == [0, 90]


def test_reading_speed_has_the_fastest_on_top():
    axis = plots.plot_reading_speed(READERS).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["another", "captcha_lib, torch"]
    assert [text.get_text() for text in axis.texts] == [
        " 100 a second, 84.0 % exact",
        " 2,000 a second, 99.6 % exact",
    ]


def test_label_curve_is_in_percent_and_shows_its_upper_end_again():
    left, right = plots.plot_label_curve(CURVE).axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[98, 99], [0, 90]]
    assert left.get_ylim()[0] < 0 < 90 < right.get_ylim()[0] < 95
    assert [text.get_text() for text in left.get_xticklabels()] == ["0", "100"]


def test_growth_measures_and_expects():
    axis = plots.plot_growth(GROWTH).axes[0]
    assert axis.lines[0].get_xdata().tolist() == [150, 300]
    assert axis.lines[0].get_ydata().tolist() == pytest.approx([80, 90])
    assert axis.lines[1].get_ydata().tolist() == pytest.approx([40, 80])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["expected", "measured"]


def test_protection_names_what_costs_the_reader_more_than_ocr():
    figure = plots.plot_protection(SETTINGS.assign(legibility_loss=[0, 8, 20] * 2), named=1)
    assert [axis.get_title() for axis in figure.axes] == ["100 labelled images", "1,000 labelled images"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["lines + water"]
    assert not figure.axes[1].texts, "what costs it next to nothing has no name"
    pairs, singles = figure.axes[0].lines[:2]
    assert (pairs.get_xdata().tolist(), pairs.get_ydata().tolist()) == ([20], [30])
    assert sorted(singles.get_ydata().tolist()) == [0, 5]
