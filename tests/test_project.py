"""The files around the package agree with each other: dependencies, and the README with the reference run."""

import json
import re
import tomllib

import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement

from captcha_lib.config import REFERENCE_DIR, ROOT, SPLITS_DIR

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LISTED = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
REQUIREMENTS = [Requirement(line) for lines in LISTED for line in lines if not line.startswith(PROJECT["name"])]


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def figures() -> dict:
    return json.loads((REFERENCE_DIR / "metrics.json").read_text(encoding="utf-8"))


def test_every_dependency_has_a_tested_version_that_it_admits():
    tested = pins()
    assert {requirement.name for requirement in REQUIREMENTS} == set(tested)
    for requirement in REQUIREMENTS:
        assert requirement.specifier.contains(tested[requirement.name]), requirement.name


def test_torch_and_torchvision_are_the_tested_pair():
    assert (pins()["torch"], pins()["torchvision"]) == ("2.14.1", "0.29.1")


def test_conda_environment_installs_the_project_with_the_tested_versions():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert entries[-1]["pip"] == ["-c constraints.txt", "-e .[dev]"]
    python = next(entry for entry in entries if str(entry).startswith("python="))
    assert f">={python.split('=')[1]}" == PROJECT["requires-python"]


def test_dockerfile_uses_the_constraints_and_an_admitted_python():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "-c constraints.txt" in dockerfile
    assert f"FROM python:{PROJECT['requires-python'].removeprefix('>=')}-" in dockerfile


@pytest.mark.parametrize("name", ["kaggle", "generated"])
def test_official_split_is_whole_and_disjoint(name):
    table = pd.read_csv(SPLITS_DIR / f"{name}.csv", dtype=str)
    assert table.columns.tolist() == ["file", "label", "sha256", "subset"]
    assert table["subset"].value_counts().to_dict() == {"train": 802, "val": 134, "test": 134}
    assert table["sha256"].is_unique
    assert table["file"].is_unique


def test_reference_run_is_complete_and_its_predictions_give_its_score():
    names = {path.name for path in REFERENCE_DIR.iterdir()}
    assert {"weight.pth", "log.txt", "loss.png", "metrics.json", "predictions.csv", "environment.json"} <= names
    assert (REFERENCE_DIR / "weight.pth").stat().st_size < 2_000_000
    predictions = pd.read_csv(REFERENCE_DIR / "predictions.csv", dtype=str)
    split = pd.read_csv(SPLITS_DIR / "kaggle.csv", dtype=str)
    assert set(predictions["file"]) == set(split.loc[split["subset"] == "test", "file"])
    assert figures()["test"]["exact"] == (predictions["label"] == predictions["text"]).sum()


def test_readme_quotes_the_reference_run():
    text, run = readme(), figures()
    assert f"{run['test']['exact']} of {run['test']['n']}" in text
    assert f"{run['train_seconds']:.0f} s" in text
    assert f"{run['parameters']:,}" in text
    assert f"{(REFERENCE_DIR / 'weight.pth').stat().st_size / 1000:.0f} kB" in text


def test_readme_begins_with_the_mean_of_five_seeds():
    seeds = pd.read_csv(REFERENCE_DIR / "seeds.csv")
    headline = next(line for line in readme().splitlines() if "this repository" in line)
    assert f"**{100 * (seeds['exact'] / seeds['n']).head(5).mean():.2f} %**" in headline
    assert f"({seeds['train_seconds'].min():.0f} to {seeds['train_seconds'].max():.0f} s over ten seeds)" in readme()


def test_readme_quotes_both_decoders():
    tables = [pd.read_csv(path).head(5) for path in sorted(REFERENCE_DIR.glob("seeds*.csv"))]
    same = sum(int((table["exact"] == table["exact_best_path"]).sum()) for table in tables)
    assert f"in {same} of {sum(map(len, tables))} of these runs" in readme().replace("\n  ", " ")


def test_readme_quotes_what_the_reference_weights_read_of_the_generated_captchas():
    read = pd.read_csv(REFERENCE_DIR / "generated_predictions.csv", dtype=str)
    exact = int((read["label"] == read["text"]).sum())
    assert f"{exact:,} of the {len(read):,} generated captchas" in readme().replace("\n  ", " ")


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("seeds", "Kaggle, official split"),
        ("seeds_own_splits", "Kaggle, a split of its own for each seed"),
        ("seeds_generated", "generated"),
    ],
)
def test_readme_quotes_the_seeds(name, row):
    seeds = pd.read_csv(REFERENCE_DIR / f"{name}.csv").head(5)
    rates = 100 * seeds["exact"] / seeds["n"]
    quoted = next(line for line in readme().splitlines() if line.startswith(f"| {row} |"))
    first = sorted({str(seeds["first_exact_epoch"].min()), str(seeds["first_exact_epoch"].max())})
    cells = [f"{rates.mean():.2f}", f"{rates.min():.2f}", f"{rates.max():.2f}", " to ".join(first)]
    assert quoted == f"| {row} | 0 to 4 | " + " | ".join(cells) + " |"


def test_links_of_the_readme_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", readme()) if not link.startswith("http")]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
