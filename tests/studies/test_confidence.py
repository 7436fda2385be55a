"""How far confidences can be believed, on counts that are small enough to check by hand."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captcha_lib.metrics import calibration
from studies.confidence import calibration_error, coverage_at, risk_coverage


def table(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label", "text", "confidence"])


def test_calibration_error_by_hand():
    assert calibration_error(calibration(table(("a", "b", 1.0), ("a", "a", 0.0)))) == 1
    bins = calibration(table(("a", "a", 0.96), ("a", "b", 0.92), ("a", "a", 1.0), ("a", "b", 0.3), ("a", "b", 0.0)))
    assert calibration_error(bins) == pytest.approx((0.0 + 0.3 + 3 * (0.96 - 2 / 3)) / 5)


def guesses(confidence: list[float], right: list[bool]) -> pd.DataFrame:
    return pd.DataFrame({"label": "a", "text": ["a" if r else "b" for r in right], "confidence": confidence})


def test_risk_coverage_by_hand():
    curve = risk_coverage(guesses([0.2, 0.9, 0.8, 0.9], [False, True, False, True]))
    assert curve["confidence"].tolist() == [0.9, 0.8, 0.2]
    assert curve["coverage"].tolist() == [0.5, 0.75, 1.0]
    assert curve["wrong"].tolist() == [0, 1, 2]
    assert curve["exact_rate"].tolist() == pytest.approx([1, 2 / 3, 1 / 2])
    predictions = guesses([0.9, 0.8, 0.7, 0.6], [True, True, False, True])
    assert (coverage_at(predictions, 1.0), coverage_at(predictions, 0.75)) == (0.5, 1)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.booleans()), min_size=1, max_size=20))
def test_risk_coverage_withholds_more_and_more(rows):
    curve = risk_coverage(guesses(*map(list, zip(*rows, strict=True))))
    assert curve["confidence"].tolist() == sorted({confidence for confidence, _ in rows}, reverse=True)
    assert curve["coverage"].is_monotonic_increasing
    assert curve["wrong"].is_monotonic_increasing
    assert curve.iloc[-1].tolist()[1:] == [1, sum(not right for _, right in rows), sum(r for _, r in rows) / len(rows)]
    assert coverage_at(guesses(*map(list, zip(*rows, strict=True))), 0.0) == 1


def test_equally_sure_readings_are_kept_together():
    """Else the order of the files would decide whether the wrong one of a pair counts."""
    wrong_last, wrong_first = guesses([0.9, 0.9], [True, False]), guesses([0.9, 0.9], [False, True])
    assert risk_coverage(wrong_last).equals(risk_coverage(wrong_first))
    assert coverage_at(wrong_last, 0.9) == 0
