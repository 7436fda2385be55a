"""Tables of labels: whatever they and their columns are called, wherever they lie, whatever wrote them."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from captcha_lib.config import InputError
from captcha_lib.data.labels import LabelRule
from captcha_lib.data.load import examine, load_data

LABELS = ["24ney", "ab12", "x", "7"]
FILES = [f"img_{i:03}.png" for i in range(len(LABELS))]


def images(folder: Path, names: list[str]) -> Path:
    """Different pictures under these names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(abs(hash(name))).integers(0, 256, (24, 90), dtype=np.uint8)
        Image.fromarray(noise).save(folder / name)
    return folder


def labelled(folder: Path, **options) -> dict[str, str]:
    return dict(load_data(str(folder), **options).named_labels())


def table(separator: str, header: str | None, names: list[str] = FILES) -> str:
    rows = [separator.join(pair) for pair in zip(names, LABELS, strict=True)]
    return "\n".join(([header] if header else []) + rows)


AS_JSON = "\n".join(json.dumps({"file_name": f, "text": t}) for f, t in zip(FILES, LABELS, strict=True))
STEMS = [Path(name).stem for name in FILES]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", table(",", "file,label")),
        ("Labels.CSV", table(",", "File,Label")),
        ("metadata.csv", table(",", "file_name,text")),
        ("metadata.jsonl", AS_JSON),
        ("annotations.csv", table(";", "Image Name;Ground-Truth")),
        ("train_labels.tsv", table("\t", "path\tcaption")),
        ("labels.txt", table("\t", None)),
        ("labels.txt", table(" ", None)),
        ("labels.txt", table(",", None)),
        ("data.csv", table(",", "id,captcha", STEMS)),
        ("captchas.csv", table(",", "what,ever")),
        ("test.csv", table(",", "filename,solution", [f"images/{name}" for name in FILES])),
        ("labels.csv", table(",", "file,label", [f"C:\\data\\{name}" for name in FILES])),
        ("labels.csv", table(", ", "file, label ")),
        ("labels.csv", "\ufeff" + table(",", "file,label").replace("\n", " \r\n") + "\r\n\r\n"),
        (
            "labels.csv",
            "\n".join(["id,file,label", *(f"{i},{f},{t}" for i, (f, t) in enumerate(zip(FILES, LABELS, strict=True)))]),
        ),
    ],
)
@pytest.mark.parametrize("where", [".", "..", "above the data"])
def test_a_table_of_any_kind(name, text, where, tmp_path):
    root = images(tmp_path / "set" / "pictures", FILES)
    (root.parent if where != "." else root).joinpath(name).write_text(text, encoding="utf-8", newline="")
    assert labelled(root.parent if where == ".." else root) == dict(zip(FILES, LABELS, strict=True))


def test_the_nearest_table_holds_and_paths_lead_into_folders(tmp_path):
    images(tmp_path, ["a/1.png", "b/1.png", "b/c/2.png"])
    (tmp_path / "labels.csv").write_text("file,label\na/1.png,one\nb/1.png,two\n2.png,three\n")
    assert load_data(str(tmp_path)).labels == ["one", "two", "three"]
    (tmp_path / "b" / "labels.csv").write_text("file,label\n1.png,four\nc/2.png,five\n")
    (tmp_path / "labels.csv").write_text("file,label\na/1.png,one\n")
    assert load_data(str(tmp_path)).labels == ["one", "four", "five"]


SPREADSHEET = {
    "guards": (['"=""0012"""', "'0034", "5678"], ["0012", "0034", "5678"], "as a spreadsheet writes them"),
    "decimals": (["1000.0", "2345.0", "17.0"], ["1000", "2345", "17"], "as a spreadsheet writes them"),
    "spaces": ([" ab1", "cd2 ", " e"], ["ab1", "cd2", "e"], None),
}


@pytest.mark.parametrize("kind", SPREADSHEET)
def test_what_a_spreadsheet_does_is_undone_and_said(kind, tmp_path):
    cells, expected, said = SPREADSHEET[kind]
    images(tmp_path, FILES[:3])
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *map(",".join, zip(FILES[:3], cells, strict=True))]))
    captchas = load_data(str(tmp_path))
    assert captchas.labels == expected
    assert any(str(said) in note for note in captchas.notes) == bool(said)


def test_lost_zeros_are_said(tmp_path):
    numbers = [f"{i:04}" for i in range(123, 9999, 411)]
    names = [f"{i}.png" for i in range(len(numbers))]
    images(tmp_path, names)
    for cut in (True, False):
        rows = [f"{name},{number.lstrip('0') if cut else number}" for name, number in zip(names, numbers, strict=True)]
        (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
        assert any("short numbers" in note for note in load_data(str(tmp_path)).notes) == cut


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("img_000.png,1.00E+10", "row 2: '1.00E+10' is a number that a spreadsheet has rounded"),
        ("img_000.png,a,b", "row 2: it cannot be read as 2 cells"),
        ('img_000.png,"ab', "row 2: it cannot be read as 2 cells"),
        ('img_000.png,"ab"c', "row 2: it cannot be read as 2 cells"),
        ("img_000.png", "row 2: it cannot be read as 2 cells"),
        ("img_000.png,a\u200bb", "img_000.png: the label 'a\\u200bb' holds non-printable characters"),
        ("img_000.png,", "img_000.png: the label is empty"),
        ("img_000.png,a\ufffdb", "(REPLACEMENT CHARACTER), the mark of a wrong encoding; write it in UTF-8"),
    ],
)
def test_a_faulty_row_is_named_and_can_be_left_out(row, says, tmp_path):
    images(tmp_path, FILES)
    lines = ["file,label", row, *map(",".join, zip(FILES[1:], LABELS[1:], strict=True))]
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_data(str(tmp_path))
    assert says.encode("unicode_escape").decode().replace("\\\\", "\\") in str(caught.value)
    left = load_data(str(tmp_path), skip_bad=True)
    assert dict(left.named_labels()) == dict(zip(FILES[1:], LABELS[1:], strict=True))
    assert left.skipped["file"].tolist() == FILES[:1]


def test_quotes_hold_separators_and_quotes(tmp_path):
    images(tmp_path, FILES[:2])
    (tmp_path / "labels.csv").write_text('file,label\nimg_000.png,"a,b"\nimg_001.png,"""c"\n')
    assert load_data(str(tmp_path)).labels == ["a,b", '"c']


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("labels.csv", "file,label\nother.png,a\n", "none of its rows is an image here"),
        ("labels.csv", "file,colour,size\nimg_000.png,a,b\n", "the column 'label' is missing"),
        ("labels.csv", "a,b,c\nd,e,f\n", "the column 'file' is missing"),
        ("train.txt", "img_000.png\nimg_001.png\n", "the column 'label' is missing"),
        ("labels.jsonl", "[1, 2]\n", "cannot be read as a table"),
        ("metadata.csv", "", "cannot be read as a table"),
        ("labels.csv", "file,label\nimg_000.png,a\nimg_000.png,b\nimg_001.png,c\n", "duplicate entry"),
        ("labels.csv", "file,label\nimg_000.png,a\n", "img_001.png: labels.csv has no row for it"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error(name, text, says, tmp_path):
    images(tmp_path, FILES[:2])
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says):
        load_data(str(tmp_path))
    assert labelled(tmp_path, rule=LabelRule("name")) == {"img_000.png": "img_000", "img_001.png": "img_001"}


@pytest.mark.parametrize("pattern", ["{}.png", "img_{:03}.png", "captcha-{}.jpg", "{:05}.png", "Bild ({}).png"])
@pytest.mark.parametrize("first", [0, 1])
def test_running_numbers_are_no_labels(pattern, first, tmp_path):
    images(tmp_path, [pattern.format(i) for i in range(first, first + 30)])
    with pytest.raises(InputError, match="labels-from name") as caught:
        load_data(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert len(load_data(str(tmp_path), rule=LabelRule("name"))) == 30


def test_numbers_that_are_labels(tmp_path):
    numbers = np.random.default_rng(0).choice(10_000, 300, replace=False)
    images(tmp_path, [f"{number:04}.png" for number in numbers])
    assert len(load_data(str(tmp_path))) == 300


def test_all_is_told_at_once(tmp_path):
    images(tmp_path, [f"ab{i:02}.png" for i in range(0, 60, 2)])
    for i in range(12):
        (tmp_path / f"bad{i:02}.png").write_bytes(b"no image")
    (tmp_path / "wrong.png").write_bytes((tmp_path / "ab00.png").read_bytes())
    with pytest.raises(InputError) as caught:
        load_data(str(tmp_path))
    said = str(caught.value).splitlines()
    assert said[0].endswith("14 files have faults; mend them, or leave them out with --skip-bad")
    assert "  bad files: 12" in said
    assert "    and 2 more" in said
    assert "  pictures with different labels: 2" in said
    captchas = load_data(str(tmp_path), skip_bad=True)
    assert (len(captchas), len(captchas.skipped)) == (29, 14)


@given(
    st.lists(
        st.text("abAB019,;\"'- éжй", min_size=1, max_size=6).filter(lambda t: t == t.strip()), min_size=2, max_size=6
    )
)
def test_what_is_written_is_read(tmp_path_factory, labels):
    import csv

    folder = tmp_path_factory.mktemp("set")
    names = [f"{i}.png" for i in range(len(labels))]
    images(folder, names)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "label"), *zip(names, labels, strict=True)])
    captchas, report = examine(str(folder))
    known = {} if captchas is None else dict(captchas.named_labels())
    refused = set(report.skipped()["file"])
    for name, label in zip(names, labels, strict=True):
        assert known.get(name) == LabelRule().plain(label) or name in refused or report.doubts
