"""Where labels stand. What tables of labels may be is tested in test_tables.py."""

import unicodedata
import zipfile
from pathlib import Path

import pytest

from captcha_lib.config import InputError
from captcha_lib.data.folders import find_images, relative_name
from captcha_lib.data.labels import LabelRule
from captcha_lib.data.report import Report


def labels_of(rule: LabelRule, root: Path | zipfile.Path) -> list[str | None]:
    """The labels of all images there; raises InputError where a file has none."""
    others: list = []
    report = Report("")
    labels = rule.read(root, [relative_name(path, root) for path in find_images(root, others)], others, report)
    if report.troubles:
        raise report.error()
    return labels


def touched(root: Path, *names: str) -> list[Path]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return [root / name for name in names]


@pytest.mark.parametrize(
    ("source", "name", "label"),
    [
        ("name", "2b827.png", "2b827"),
        ("name", "a/b/2b827.old.png", "2b827"),
        ("folder", "abcd/17.png", "abcd"),
        ("folder", "set/ab.cd/17.png", "ab.cd"),
        ("(.+)_[0-9]+", "abcd_17.png", "abcd"),
        ("[0-9]+_(.+)", "17_abcd.png", "abcd"),
        ("(.+)_[0-9]+", "a/a_b_17.png", "a_b"),
        (r"captcha-(\w+)", "captcha-Ab3.jpeg", "Ab3"),
        ("(.+)", "a.b.png", "a.b"),
    ],
)
def test_a_label_and_where_it_stands(tmp_path, source, name, label):
    touched(tmp_path, name)
    assert labels_of(LabelRule(source), tmp_path) == [label]


def test_the_same_in_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("abcd/17.png", b"")
    root = zipfile.Path(tmp_path / "images.zip")
    assert labels_of(LabelRule("folder"), root) == ["abcd"]


def test_a_table_comes_before_names_and_after_a_rule(tmp_path):
    touched(tmp_path, "abcd/17.png", "efgh/mnop.png")
    (tmp_path / "abcd" / "labels.csv").write_text("file,label\n17.png,wxyz\n")
    assert labels_of(LabelRule(), tmp_path) == ["wxyz", "mnop"]
    assert labels_of(LabelRule("folder"), tmp_path) == ["abcd", "efgh"]


def test_case_is_kept_or_ignored(tmp_path):
    touched(tmp_path, "AbC.png", "ЖЁ.png")
    assert labels_of(LabelRule(), tmp_path) == ["AbC", "ЖЁ"]
    assert labels_of(LabelRule(ignore_case=True), tmp_path) == ["abc", "жё"]


def test_a_letter_in_two_parts_is_one_character(tmp_path):
    touched(tmp_path, unicodedata.normalize("NFD", "й1") + ".png")
    (label,) = labels_of(LabelRule(), tmp_path)
    assert (label, len(label)) == ("й1", 2)


@pytest.mark.parametrize(
    ("source", "says"),
    [("(", "not a regular expression"), ("abc", "has 0 groups"), ("(.)(.)", "has 2 groups")],
)
def test_a_rule_that_cannot_be(source, says):
    with pytest.raises(InputError, match=says) as caught:
        LabelRule(source)
    assert "give 'name', 'folder' or a pattern" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [("folder", "17.png: it lies in no folder"), ("(.+)_[0-9]+", "17.png: it does not match")],
)
def test_a_file_without_a_label(tmp_path, source, says):
    touched(tmp_path, "17.png")
    with pytest.raises(InputError, match=says) as caught:
        labels_of(LabelRule(source), tmp_path)
    assert "give another --labels-from" in str(caught.value)


def test_what_is_not_said_is_taken_from_the_environment(monkeypatch):
    assert LabelRule.chosen() == LabelRule("", False)
    monkeypatch.setenv("CAPTCHA_LABELS_FROM", "folder")
    monkeypatch.setenv("CAPTCHA_IGNORE_CASE", "1")
    assert LabelRule.chosen() == LabelRule("folder", True)
    assert LabelRule.chosen("name", False) == LabelRule("name", False)
    monkeypatch.setenv("CAPTCHA_IGNORE_CASE", "0")
    assert LabelRule.chosen() == LabelRule("folder", False)
