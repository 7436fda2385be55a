"""What nbval 0.11 lacks; everything here is about `pytest --nbval`."""

import os
import time
from queue import Empty

import nbval.plugin
import pytest
from nbval.kernel import RunningKernel

from captcha_lib.config import CHECKOUT

OUTPUT_TIMEOUT = 60  # s; nbval's own 5 s is short for a figure on a busy machine

# The stored outputs are those of the generated captchas, whatever the shell says.
os.environ["CAPTCHA_DATA"] = "generated"
# Kernels start in the notebook's folder, and the studies are not installed.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))


class KernelDied(Exception):
    """The kernel's process has ended while a cell ran."""


class WatchedKernel(RunningKernel):
    """Notices within a second that the kernel is dead, where nbval would wait as long as a cell may take."""

    def get_message(self, stream: str, timeout: float | None = None) -> dict:
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            try:
                return super().get_message(stream, timeout=max(0, min(1, deadline - time.monotonic())))
            except Empty:
                if not self.is_alive():
                    raise KernelDied from None
                if time.monotonic() >= deadline:
                    raise


nbval.plugin.RunningKernel = WatchedKernel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if type(item).__name__ == "IPyNbCell":
            item.parent.skip_compare += () if "stderr" in item.parent.skip_compare else ("stderr",)
            item.output_timeout = OUTPUT_TIMEOUT


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Says in a line what nbval does not see or says at length, and has the cells after a failed one skipped."""
    report = yield
    if type(item).__name__ != "IPyNbCell":
        return report
    problem = _problem(item, call)
    if problem:
        report.outcome, report.longrepr = "failed", f"Cell {item.cell_num}: {problem}"
    if report.failed:
        item.parent.failed_cell = item.cell_num
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    failed = getattr(item.parent, "failed_cell", None)
    if failed is not None:
        pytest.skip(f"cell {failed} of this notebook failed")  # it would only repeat the error


def _problem(item: pytest.Item, call: pytest.CallInfo) -> str:
    """What is wrong with a cell that nbval takes for a good one, or why there is no kernel any more; else nothing."""
    if call.excinfo is not None:
        died = call.excinfo.errisinstance(KernelDied)
        return "the kernel died, perhaps out of memory; free some and run it again" if died else ""
    texts = [output.get("text", "") for output in item.test_outputs or []] if call.when == "call" else []
    return next((text.strip() for text in texts if text.startswith("UsageError:")), "")
