"""The page of `make demo`: what it shows, and the page itself in a real browser."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from captcha_lib.config import CHECKOUT, InputError
from captcha_lib.generator.draw import generate_captchas

WEIGHTS = "kaggle"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

spec = importlib.util.spec_from_file_location("demo", CHECKOUT / "examples" / "demo.py")
demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    """Two captchas that the reference weights read; named by their texts."""
    folder = tmp_path_factory.mktemp("pictures")
    for text, image in zip(*generate_captchas(2, seed=2026), strict=True):
        Image.fromarray(image[0].numpy()).save(folder / f"{text}.png")
    return sorted(folder.iterdir())


def test_a_picture_is_read(pictures):
    text, confidence, others, figure = demo.read_page(str(pictures[0]), WEIGHTS)
    assert text == pictures[0].stem
    assert confidence.endswith("%")
    assert 1 <= len(others) <= 3
    assert text not in dict(others)
    assert [label.get_text() for label in figure.axes[0].texts] == list(text)


def test_no_picture_shows_nothing():
    assert demo.read_page(None, WEIGHTS) == ("", "", [], None)


@pytest.mark.parametrize("name", ["weight.pth", "captcha.onnx"])
def test_weights_that_are_not_there(name, tmp_path, monkeypatch, capsys):
    with pytest.raises(InputError, match="no such file"):
        demo.build_page(tmp_path / name, [])
    monkeypatch.setattr(sys, "argv", ["demo.py", "--weights", str(tmp_path / name)])
    assert demo.main() == 2
    assert capsys.readouterr().err.startswith(f"error: weights {tmp_path / name}: no such file")


def test_examples_are_drawn(tmp_path):
    paths = demo._draw_examples(tmp_path)
    assert len(paths) == demo.EXAMPLES
    assert demo.read_page(str(paths[0]), WEIGHTS)[0] == paths[0].stem


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    api = pytest.importorskip("playwright.sync_api", reason="the extra 'dev' is not installed")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(pictures, browser):
    page = demo.build_page(WEIGHTS, [str(pictures[0])])
    _, address, _ = page.launch(
        prevent_thread_lock=True, quiet=True, show_error=True, allowed_paths=[str(pictures[0].parent)]
    )
    yield address
    page.close()


def test_the_page_in_a_browser(address, browser, pictures, tmp_path):
    from playwright.sync_api import expect

    example, upload = pictures
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    problems = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(address)
    text, confidence = tab.get_by_label("text", exact=True), tab.get_by_label("confidence", exact=True)
    tab.locator("input[type=file]").first.set_input_files(upload)
    expect(text).to_have_value(upload.stem)
    assert float(confidence.input_value().rstrip("%")) > 50
    expect(tab.locator("[data-testid=matplotlib] img")).to_be_visible()
    tab.screenshot(path=tmp_path / "page.png", full_page=True)
    tab.get_by_label("Remove Image").or_(tab.get_by_label("Clear")).first.click()
    expect(text).to_have_value("")
    tab.get_by_alt_text("example").or_(tab.locator(".gallery-item img, .gallery img")).first.click()
    expect(text).to_have_value(example.stem)
    assert not problems


def test_a_cut_off_picture_shows_the_reason(address, browser, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(pictures[0].read_bytes()[:900])
    tab = browser.new_page()
    tab.goto(address)
    tab.locator("input[type=file]").first.set_input_files(tmp_path / "broken.png")
    tab.get_by_text("truncated").wait_for(timeout=10_000)
