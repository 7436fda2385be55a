"""Any number of files: rows in order, bad ones with a reason, finished batches kept and not read again."""

import json
import os
from pathlib import Path

import pytest

from captcha_lib.config import InputError
from captcha_lib.reading import predict
from captcha_lib.reading.predict import FORMS, ImageFile, image_files, journal_of, read_files


@pytest.fixture
def files(own_folder, monkeypatch) -> list[ImageFile]:
    """24 files, five batches; the fourth file is no image."""
    monkeypatch.setattr(predict, "BATCH", 5)
    found = image_files([own_folder])
    found[3].path.write_text("this is text\n")
    return found


class Counted:
    """A reader that counts the pictures that it reads."""

    def __init__(self, reader) -> None:
        self.reader, self.image_size, self.pictures = reader, reader.image_size, 0

    def read(self, images, length, allowed):
        self.pictures += len(images)
        return self.reader.read(images, length, allowed)


def test_a_row_a_file_in_their_order(files, reader):
    rows = list(read_files(files, reader, length=0))
    assert [row["file"] for row in rows] == [str(file.path) for file in files]
    assert [i for i, row in enumerate(rows) if row["error"]] == [3]
    assert "this is no image" in rows[3]["error"]
    assert rows[3]["text"] is None
    good = [row for row in rows if not row["error"]]
    assert [row["text"] for row in good] == [one["text"] for one in read_files(files[:3] + files[4:], reader, length=0)]


def test_a_folder_of_bad_files_alone(files, reader):
    assert [row["text"] for row in read_files(files[3:4], reader)] == [None]


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b'{"rows": []}\n', b"\xff\n"])
def test_a_damaged_journal_counts_for_nothing(files, reader, tmp_path, line):
    (tmp_path / "journal").write_bytes(line)
    assert list(read_files(files, reader, 0, None, tmp_path / "journal")) == list(read_files(files, reader, 0))


@pytest.mark.parametrize("kept", range(6))
def test_finished_batches_are_not_read_again(files, reader, tmp_path, kept):
    journal = tmp_path / "journal"
    rows = list(read_files(files, reader, 0, None, journal))
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    torn = lines[kept][:40] if kept < 5 else b""
    journal.write_bytes(b"".join(lines[:kept]) + torn)
    counted = Counted(reader)
    assert list(read_files(files, counted, 0, None, journal)) == rows
    assert counted.pictures == sum(not row["error"] for row in rows[5 * kept :])
    assert journal.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("change", ["its time", "gone", "another file before it"])
def test_a_batch_whose_files_have_changed_is_read_again(files, reader, tmp_path, change):
    journal = tmp_path / "journal"
    list(read_files(files, reader, 0, None, journal))
    if change == "its time":
        os.utime(files[12].path, (1, 1))
    elif change == "gone":
        files[12].path.unlink()
    else:
        files.insert(12, files[0])
    counted = Counted(reader)
    rows = list(read_files(files, counted, 0, None, journal))
    assert counted.pictures == len([row for row in rows[10:] if not row["error"]])
    assert rows == list(read_files(files, reader, 0))


def test_other_weights_and_other_questions_have_journals_of_their_own(weights, onnx_weights):
    out = Path("somewhere/read.csv")
    asked = [(weights, None, None), (onnx_weights, None, None), (weights, 4, None), (weights, None, "2b")]
    places = {journal_of(out, *one) for one in asked}
    assert len(places) == 4
    assert {place.parent for place in places} == {out.parent}
    assert journal_of(out, weights, None, None) in places


@pytest.mark.parametrize("path", ["nowhere", "nowhere.png"])
def test_a_path_that_leads_nowhere(tmp_path, path):
    with pytest.raises(InputError, match=f"{path}: no such file or folder"):
        image_files([tmp_path / path])


ROWS = [
    {"file": "a\nb.png", "text": "2b8", "confidence": 0.25, "resized": False, "error": None},
    {"file": "c,d.png", "text": None, "confidence": 0.5, "resized": True, "error": None},
]


def test_forms():
    assert "".join(FORMS["table"](ROWS, 9)) == "a\\nb.png   2b8  0.2500\nc,d.png    (withheld)  0.5000\n"
    assert "".join(FORMS["csv"](ROWS, 9)) == 'file,text,confidence\n"a\nb.png",2b8,0.25\n"c,d.png",,0.5\n'
    shown = json.loads("".join(FORMS["json"](ROWS, 9)))
    assert shown == [{name: row[name] for name in ("file", "text", "confidence")} for row in ROWS]


def test_forms_of_nothing():
    assert "".join(FORMS["table"]([], 0)) == ""
    assert "".join(FORMS["csv"]([], 0)) == "file,text,confidence\n"
    assert json.loads("".join(FORMS["json"]([], 0))) == []
