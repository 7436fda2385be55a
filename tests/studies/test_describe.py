"""How captchas look, in numbers: pictures drawn by hand, whose numbers are known."""

import numpy as np
import pytest

from captcha_lib.data.captchas import in_memory
from captcha_lib.generator.draw import generate_captchas
from studies.describe import COLUMNS, describe_sets, measure


def bars(*places: slice, grey: int = 0) -> np.ndarray:
    """A white picture with bars at these columns."""
    picture = np.full((40, 120), 255, np.uint8)
    for place in places:
        picture[10:30, place] = grey
    return picture


def test_bars_apart_and_bars_that_touch():
    apart = bars(slice(10, 25), slice(50, 65), slice(90, 105))
    assert measure(apart, 3) == pytest.approx({"contrast": 1.0, "touching": 0.0, "grain": 0.0}, abs=0.005)
    assert measure(bars(slice(10, 40), slice(90, 105)), 3)["touching"] == 0.5
    assert measure(bars(slice(10, 100)), 3)["touching"] == 1.0
    assert measure(apart, 2)["touching"] == 0.0, "more runs than characters"
    assert measure(apart, 1)["touching"] == 1.0


def test_pale_ink_and_dots():
    assert measure(bars(slice(10, 25), grey=204), 3)["contrast"] == pytest.approx(0.2)
    dotted = bars(slice(10, 25))
    dotted[2::5, 2::5] = 0
    assert measure(dotted, 3)["grain"] > 0.03
    assert measure(np.full((30, 80), 7, np.uint8), 4)["contrast"] == 0.0, "nothing is seen"


def test_a_set_is_a_row():
    texts, images = generate_captchas(12, 1)
    table = describe_sets({"ours": in_memory(texts, images, "ours"), "half": in_memory(texts[:6], images[:6], "half")})
    assert [*table] == COLUMNS
    row = table.iloc[0]
    assert row[["set", "n", "width", "height", "shortest", "longest", "room"]].tolist() == [
        "ours",
        12,
        200,
        50,
        5,
        5,
        40,
    ]
    assert 0.5 < row["contrast"] <= 1
    assert table["n"].tolist() == [12, 6]
