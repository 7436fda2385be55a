"""Any number of files: rows in order, bad ones with a reason."""

import json

import pytest

from captcha_lib.config import InputError
from captcha_lib.reading import predict
from captcha_lib.reading.predict import FORMS, ImageFile, image_files, read_files


@pytest.fixture
def files(own_folder, monkeypatch) -> list[ImageFile]:
    """24 files, five batches; the fourth file is no image."""
    monkeypatch.setattr(predict, "BATCH", 5)
    found = image_files([own_folder])
    found[3].path.write_text("this is text\n")
    return found


def test_a_row_a_file_in_their_order(files, reader):
    rows = list(read_files(files, reader, length=0))
    assert [row["file"] for row in rows] == [str(file.path) for file in files]
    assert [i for i, row in enumerate(rows) if row["error"]] == [3]
    assert "not an image" in rows[3]["error"]
    assert rows[3]["text"] is None
    good = [row for row in rows if not row["error"]]
    assert [row["text"] for row in good] == [one["text"] for one in read_files(files[:3] + files[4:], reader, length=0)]


def test_a_folder_of_bad_files_alone(files, reader):
    assert [row["text"] for row in read_files(files[3:4], reader)] == [None]


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
