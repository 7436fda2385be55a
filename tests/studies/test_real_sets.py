"""The download of real sets, from a server on loopback."""

import hashlib
import io
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from captcha_lib.config import InputError
from studies import real_sets
from studies.real_sets import TABLE, fetch_sets

PICTURES = {name: f"picture {name}".encode() for name in "abcde"}


def zipped(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, raw in files.items():
            opened.writestr(name, raw)
    return archive.getvalue()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *said) -> None:
        pass


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Where archives are served: one repository with a zip in it, and one with a picture too few."""
    inner = zipped({"deep/c.png": PICTURES["c"], "other.png": b"other"})
    served = {
        "one/cats/0123456.zip": zipped({"x/a.png": PICTURES["a"], "x/b.bin": PICTURES["b"], "x/more.zip": inner}),
        "two/dogs/abcdef0.zip": zipped({"d.png": PICTURES["d"], "broken.zip": b"no zip"}),
    }
    for name, raw in served.items():
        path = tmp_path / "served" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(raw)
    rows = [
        ("cats", "labelled", "00000.png", "one/cats", "0123456", "a", "AB"),
        ("cats", "labelled", "00001.png", "one/cats", "0123456", "b", "=1"),
        ("cats", "fresh", "00000.png", "one/cats", "0123456", "c", "NA"),
        ("dogs", "labelled", "00000.png", "two/dogs", "abcdef0", "d", "D"),
        ("mice", "labelled", "00000.png", "two/dogs", "abcdef0", "e", "E"),
        ("owls", "labelled", "00000.png", "no/owls", "abcdef0", "a", "A"),
    ]
    table = pd.DataFrame(rows, columns=["set", "part", "file", "repository", "commit", "sha256", "label"])
    table["sha256"] = [hashlib.sha256(PICTURES[name]).hexdigest() for name in table["sha256"]]
    table.to_csv(tmp_path / "table.csv", index=False)
    monkeypatch.setattr(real_sets, "TABLE", tmp_path / "table.csv")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{{}}/{{}}.zip"
    server.shutdown()
    server.server_close()


def test_pictures_are_found_by_their_checksums(archive, tmp_path):
    said: list[str] = []
    fetch_sets(tmp_path / "out", ["cats"], archive, said.append)
    cats = tmp_path / "out" / "cats"
    assert said == [f"cats: 3 pictures in {cats}"]
    assert (cats / "labelled" / "00001.png").read_bytes() == PICTURES["b"]
    assert (cats / "fresh" / "00000.png").read_bytes() == PICTURES["c"], "it lies in an archive within"
    assert (cats / "labelled" / "labels.csv").read_text() == "file,label\n00000.png,AB\n00001.png,=1\n"
    assert (cats / "fresh" / "labels.csv").read_text() == "file,label\n00000.png,NA\n"


def test_all_that_failed_is_said_and_the_rest_is_there(archive, tmp_path):
    with pytest.raises(InputError) as caught:
        fetch_sets(tmp_path / "out", (), archive, str)
    said = str(caught.value)
    assert "2 downloads failed; start it again" in said
    assert "mice: 1 of its 1 pictures are not in" in said
    assert "no/owls/abcdef0.zip: it cannot be downloaded" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cats", "dogs"]


def test_what_is_there_is_not_downloaded_again(archive, tmp_path):
    fetch_sets(tmp_path, ["dogs"], archive, str)
    said: list[str] = []
    fetch_sets(tmp_path, ["dogs"], "http://127.0.0.1:9/{}/{}", said.append)
    assert not said


def test_a_damaged_archive_is_said(archive, tmp_path):
    path = tmp_path / "served" / "one" / "cats" / "0123456.zip"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="it cannot be downloaded"):
        fetch_sets(tmp_path / "out", ["cats"], archive, str)
    assert not (tmp_path / "out" / "cats").exists()


def test_a_set_that_nobody_knows(tmp_path):
    with pytest.raises(InputError, match="set 'lions': not one of sylph08, "):
        fetch_sets(tmp_path, ["lions"])


def test_the_table_names_fourteen_sets():
    table = pd.read_csv(TABLE, dtype=str, keep_default_na=False)
    assert table["set"].nunique() == 14
    assert table["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert table["commit"].str.fullmatch("[0-9a-f]{7,40}").all()
    assert not table.duplicated(["set", "part", "file"]).any()
    assert (table["label"] != "").all()
    assert all(Path(name).name == name for name in table["file"])
    counts = table.groupby(["set", "part"]).size()
    assert counts.max() <= 1000
    assert (counts.xs("fresh", level="part") == 400).all()
