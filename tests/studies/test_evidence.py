"""Which code the files of output/reference were made by."""

import json

import pytest

from captcha_lib.config import InputError
from studies import evidence
from studies.digest import made_by
from studies.evidence import check, listed, modules_of_command, read_entries, record

ZERO = "python -m studies zero --seeds 5"


@pytest.fixture
def reference(tmp_path, monkeypatch):
    monkeypatch.setattr(evidence, "REFERENCE_DIR", tmp_path / "reference")
    (tmp_path / "reference").mkdir()
    (tmp_path / "zero.json").write_text("{}")
    return tmp_path / "reference"


def test_every_file_has_an_entry_that_names_what_made_it():
    assert sorted(read_entries()) == listed()
    for file, entry in read_entries().items():
        assert entry["command"], file
        assert entry["code"] or entry["commit"], file
        assert all(map(evidence._exists, entry["modules"])), file


def test_results_are_copied_and_recorded(reference, tmp_path):
    record([tmp_path / "zero.json"], ZERO)
    assert listed() == ["zero.json"]
    entry = read_entries()["zero.json"]
    assert (entry["command"], entry["modules"]) == (ZERO, ["studies.zero"])
    assert {name: entry[name] for name in ("code", "torch")} == made_by("studies.zero")
    assert check() == {}
    (reference / "own.csv").write_text("a")
    record([reference / "own.csv"], "python -m studies.benchmarks.own")  # where it lies
    assert read_entries()["own.csv"]["modules"] == ["studies.benchmarks.own"]


@pytest.mark.parametrize("change", [{"code": "otherwise"}, {"torch": "0.4.1"}])
def test_other_code_or_torch_is_named(reference, tmp_path, change):
    record([tmp_path / "zero.json"], ZERO)
    entries = read_entries()
    entries["zero.json"] |= change
    (reference / "evidence.json").write_text(json.dumps(entries))
    (name, value) = next(iter(change.items()))
    assert check()["zero.json"].startswith(f"made by other code: {name} {value}, here ")


def test_what_is_not_recorded_or_has_no_digest_is_named(reference, tmp_path):
    (reference / "new.csv").write_text("a")
    old = {"command": ZERO, "modules": ["studies.zero"], "code": None, "torch": None, "commit": "0af77a6"}
    hand = old | {"command": "by hand", "modules": []}
    (reference / "old.csv").write_text("a")
    (reference / "hand.csv").write_text("a")
    (reference / "evidence.json").write_text(json.dumps({"old.csv": old, "hand.csv": hand}))
    found = check()
    assert found["new.csv"] == "not recorded"
    assert found["old.csv"].startswith("made by commit 0af77a6, which recorded no digest")
    assert set(found) == {"new.csv", "old.csv"}


@pytest.mark.parametrize(
    ("command", "modules"),
    [
        (ZERO, ["studies.zero"]),
        (".venv/bin/python -m studies.benchmarks.read --out x", ["studies.benchmarks.read"]),
        ("captcha-lib train --split official", ["captcha_lib.run"]),
        ("python -m studies bench", ["captcha_lib.run"]),
    ],
)
def test_modules_follow_from_the_command(command, modules):
    assert modules_of_command(command) == modules
    assert all(map(evidence._exists, [*modules, *evidence._LIBRARY.values(), *evidence._STUDIES.values()]))


def test_what_cannot_be_recorded(reference, tmp_path):
    with pytest.raises(InputError, match="the modules of this command are not known; name them by --modules"):
        record([tmp_path / "zero.json"], "make coffee")
    with pytest.raises(InputError, match=r"studies\.none: no such module"):
        record([tmp_path / "zero.json"], "make coffee", "studies.none")
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        record([tmp_path / "none.json"], ZERO)
    assert read_entries() == {}
