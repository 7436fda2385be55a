"""Mends what nbval 0.11 leaves open; everything here is about `pytest --nbval`."""

import os

import pytest

OUTPUT_TIMEOUT = 60  # s; nbval's own 5 s is short for a figure on a busy machine

# The stored outputs are those of the generated captchas, whatever the shell says.
os.environ["CAPTCHA_DATA"] = "generated"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if type(item).__name__ == "IPyNbCell":
            item.parent.skip_compare += () if "stderr" in item.parent.skip_compare else ("stderr",)
            item.output_timeout = OUTPUT_TIMEOUT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Fails a cell with a bad %magic, and skips the cells after a failed one: they would only repeat its error."""
    report = yield
    if type(item).__name__ != "IPyNbCell":
        return report
    if call.when == "call" and report.passed and _usage_error(item):
        report.outcome, report.longrepr = "failed", f"Cell {item.cell_num}: {_usage_error(item)}"
    if report.failed:
        item.parent.failed_cell = item.cell_num
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    failed = getattr(item.parent, "failed_cell", None)
    if failed is not None:
        pytest.skip(f"cell {failed} of this notebook failed")


def _usage_error(item: pytest.Item) -> str:
    texts = [output.get("text", "") for output in item.test_outputs or []]
    return next((text.strip() for text in texts if text.startswith("UsageError:")), "")
