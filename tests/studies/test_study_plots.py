"""Every plot of the studies is a figure that pyplot no longer holds."""

import inspect

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from studies import plots
from studies.confidence import risk_coverage

matplotlib.use("Agg")

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
