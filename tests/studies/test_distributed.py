"""Two processes that train one network, as torchrun starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captcha_lib.data.batches import Rank
from captcha_lib.runs.distributed import leads, own_rank
from studies.stream import leader_first, process_group

TORCHRUN = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2"]
TRAIN = ["-m", "--", "studies", "stream"]


def start(out: Path, *words: str) -> subprocess.Popen:
    own = [*TORCHRUN, *TRAIN, "--data", "generated", "--threads", "1", "--out", str(out), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_alone_a_process_leads_and_has_everything():
    assert own_rank() == Rank(0, 1)
    assert leads()
    with process_group("cpu") as device, leader_first():
        assert device == "cpu"


def test_two_processes_train_one_network(tmp_path):
    process = start(tmp_path, "--n", "4000", "--epochs", "5")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    lines = [line for line in said.splitlines() if line.startswith(("data:", "epoch ", "test:"))]
    assert [line.split()[0] for line in lines] == ["data:", *["epoch"] * 5, "test:"], "one of the two speaks"
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["test"]["exact"] >= 0.7 * figures["test"]["n"]  # 125 of 134 when written
    assert "stream of 4,000" in (tmp_path / "log.txt").read_text()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
def test_a_killed_process_leaves_a_checkpoint_to_go_on_from(tmp_path):
    """torchrun ends the other one, too; the same command with --resume goes on."""
    words = ["--n", "2400", "--epochs", "6", "--resume"]
    process = start(tmp_path, *words)
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoint.pth").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(children(process.pid)[1], signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0, said
    assert not (tmp_path / "weight.pth").exists()
    process = start(tmp_path, *words)
    more, _ = process.communicate(timeout=300)
    assert process.returncode == 0, more
    epochs = [line.split()[1] for line in (said + more).splitlines() if line.startswith("epoch ")]
    assert epochs == [f"{i}/6" for i in range(1, 7)], "none is trained twice, but for the one that was cut off"
    assert "resumed after epoch" in more
    assert (tmp_path / "weight.pth").exists()
