"""The page of `label`: what it shows first, what it takes, what it writes, and the page itself in a real browser."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from captcha_lib import adapting
from captcha_lib.config import InputError
from captcha_lib.data.load import load_data
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.labelling import Labelling, build_page
from captcha_lib.reading.torch_reader import load_start

N = 24


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return generate_captchas(N, 3)[0]


@pytest.fixture
def folder(tmp_path) -> Path:
    for i, image in enumerate(generate_captchas(N, 3)[1]):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{i:02}.png")
    return tmp_path


@pytest.fixture
def labelling(folder) -> Labelling:
    return Labelling(folder, load_start("kaggle"), None, 5)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(adapting, "BELIEVED", (0.9,))
    monkeypatch.setattr(adapting, "STEPS", replace(adapting.STEPS, epochs=1, per_epoch=64))


def test_the_least_sure_picture_comes_first(labelling):
    sure = [reading.confidence for reading in labelling.readings]
    first = labelling.next()
    assert sure[first] == min(sure)
    labelling.give(first, "22222")
    assert sure[labelling.next()] == sorted(sure)[1]
    labelling.skipped.add(labelling.next())
    assert sure[labelling.next()] == sorted(sure)[2]


def test_labels_lie_beside_the_pictures_where_train_finds_them(labelling, folder, texts):
    for i in (3, 1, 2):
        labelling.give(i, f" {texts[i]} ")
    assert (
        folder / "labels.csv"
    ).read_text() == f"file,label\n01.png,{texts[1]}\n02.png,{texts[2]}\n03.png,{texts[3]}\n"
    again = Labelling(folder, load_start("kaggle"), None, 5)
    assert again.texts == {1: texts[1], 2: texts[2], 3: texts[3]}
    captchas = load_data(folder, skip_bad=True)
    assert captchas.labels == [texts[1], texts[2], texts[3]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("  ", "the text is empty; type what the picture shows, or skip it"),
        ("2345", "'2345' has 4 characters, and 5 are expected; correct the text"),
        ("2345Ж", "'Ж' is not in the alphabet '2345678'; correct the text"),
    ],
)
def test_a_text_that_cannot_be_right_is_refused(folder, text, reason):
    labelling = Labelling(folder, load_start("kaggle"), "2345678", 5)
    with pytest.raises(InputError, match=reason):
        labelling.give(0, text)
    assert not labelling.texts
    assert not (folder / "labels.csv").exists()


def test_a_table_of_another_form_is_not_overwritten(folder):
    (folder / "labels.csv").write_text("name;text\n")
    with pytest.raises(InputError, match="its columns are not file,label; move it away, or correct it"):
        Labelling(folder, load_start("kaggle"))


def test_it_learns_what_was_labelled(labelling, texts):
    before = labelling.adapted.reader
    for i in range(4):
        labelling.give(i, texts[i])
    labelling.learn()
    assert labelling.adapted.reader is not before
    assert "believed to read" in labelling.adapted.belief


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_the_page_in_a_browser(labelling, folder, texts, tmp_path):
    """A person types the text of a picture, skips one, corrects a text that is refused, and lets it learn."""
    pytest.importorskip("gradio", reason="the extra 'demo' is not installed")
    api = pytest.importorskip("playwright.sync_api", reason="the extra 'dev' is not installed")
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    out = tmp_path / "out"
    out.mkdir()
    page = build_page(labelling, out)
    _, address, _ = page.launch(
        prevent_thread_lock=True, quiet=True, show_error=True, allowed_paths=[str(folder)], server_name="127.0.0.1"
    )
    try:
        with api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1000, "height": 800})
            tab.goto(address)
            box = tab.get_by_role("textbox")
            tab.get_by_text(f"0 of {N} pictures are labelled").wait_for()
            first = labelling.next()
            box.fill(texts[first])
            box.press("Enter")
            tab.get_by_text(f"1 of {N} pictures are labelled").wait_for()
            box.fill("22")
            box.press("Enter")
            tab.get_by_text("has 2 characters, and 5 are expected").first.wait_for()
            tab.screenshot(path=os.environ.get("LABEL_PAGE", tmp_path / "page.png"), full_page=True)
            tab.get_by_role("button", name="Skip").click()
            tab.get_by_role("button", name="Learn").click()
            tab.get_by_text("believed to read").first.wait_for(timeout=120_000)
            browser.close()
    finally:
        page.close()
    table = pd.read_csv(folder / "labels.csv", dtype=str)
    assert table["label"].tolist() == [texts[first]]
    assert len(labelling.skipped) == 1
    assert (out / "weight.pth").exists()
