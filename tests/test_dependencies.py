"""Dependencies: pyproject.toml, the lock, what is installed, its licences, and the other ways to install agree."""

import platform
import subprocess
import sys
from importlib.metadata import distribution

import pytest
import yaml
from packaging.version import Version

from captcha_lib.config import CHECKOUT as ROOT
from studies.benchmarks import licences
from studies.benchmarks.licences import PROJECT, TESTED, UNLOCKED, direct, pins, reached

# Each version as the index names it: a build for processors calls itself 2.14.1+cpu.
INSTALLED = {name: Version(distribution(name).version).public for name in sorted(reached())}


def blocks() -> list[list[str]]:
    """The names of the lock, block by block: what the project names, and what that brings."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [[line for line in block.splitlines() if line[0] != "#"] for block in text.split("\n\n")]
    return [[line.split("==")[0] for line in block] for block in lines]


# The lock


def test_every_dependency_has_a_tested_version_that_it_admits():
    named, brought = blocks()
    assert brought == sorted(brought)
    assert len(pins()) == len(named + brought), "no package is locked twice"
    assert {requirement.name for requirement in direct()} == set(named)
    for requirement in direct():
        assert requirement.specifier.contains(pins()[requirement.name]), requirement.name


def test_the_tests_run_with_the_locked_versions():
    other = {name: version for name, version in INSTALLED.items() if pins().get(name) != version}
    assert not other, "install the locked versions: pip install -c constraints.txt -e '.[dev]'"


def test_nothing_is_locked_that_nothing_brings():
    assert set(pins()) <= reached(environments=TESTED)
    assert {"audioop-lts", "overrides"} <= set(pins()), "other Pythons than this one count"


def test_what_stands_outside_the_lock():
    assert not list(filter(UNLOCKED.fullmatch, pins()))


def test_reading_brings_little():
    """Fault 5: JupyterLab, kagglehub and matplotlib came with it."""
    assert reached("train") < reached("export") < reached("dev")
    assert {"numpy", "pillow", "onnxruntime"} <= reached("")
    assert not reached("") & {"torch", "pandas", "scipy", "matplotlib", "jupyterlab", "kagglehub", "onnx"}


def test_no_installed_package_lacks_or_breaks_another():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "No broken requirements found.\n")


# Other ways to install


def test_peers_share_the_locked_versions():
    lines = (ROOT / "studies" / "benchmarks" / "peers.txt").read_text(encoding="utf-8").splitlines()
    peers = dict(line.split("#")[0].split("==") for line in lines if not line.startswith("#"))
    shared = pins().keys() & peers.keys()
    assert shared == {"numpy", "pillow", "onnxruntime"}
    assert all(peers[name] == pins()[name] for name in shared)


def test_conda_environment_installs_the_project_with_the_tested_versions():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert entries[-1]["pip"] == ["-c constraints.txt", "-e .[dev]"]
    python = next(entry for entry in entries if str(entry).startswith("python="))
    assert f">={python.split('=')[1]}" == PROJECT["requires-python"]


def test_dockerfile_uses_the_constraints_and_an_admitted_python():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "-c constraints.txt" in dockerfile
    assert f"FROM python:{PROJECT['requires-python'].removeprefix('>=')}-" in dockerfile


def test_ci_runs_on_every_tested_python():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    pythons = {str(step.get("with", {}).get("python-version")) for step in steps}
    matrix = jobs["unit"]["strategy"]["matrix"]["python"]
    assert (pythons - {"None"}, matrix) == ({"3.11", "${{ matrix.python }}"}, ["3.12", "3.13"])
    assert {"3.11", *matrix} == {environment["python_version"] for environment in TESTED}


# Licences


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the page lists Linux's packages")
def test_the_page_of_licences_is_that_of_the_installed_packages():
    assert (ROOT / "LICENCES.md").read_text(encoding="utf-8") == licences.page(), "write it anew: make licences"
