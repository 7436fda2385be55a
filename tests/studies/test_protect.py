"""The settings of the generator, and what each costs a reader and general OCR."""

from dataclasses import fields, replace

import pandas as pd
import pytest

from captcha_lib.config import Config, InputError
from captcha_lib.generator.style import KAPTCHA
from studies import protect
from studies.protect import PLAIN, knobs, settings, what_protects, with_losses

TINY = Config(epochs=1, batch_size=16, warmup_epochs=0, augment_ramp=0, channels=(4, 4, 8), hidden=16)
KNOBS = ["lines", "ripple", "water", "crowding", "fonts", "rotation", "length", "alphabet", "contrast"]


def turned(style) -> set[str]:
    return {field.name for field in fields(style) if getattr(style, field.name) != getattr(PLAIN, field.name)}


def test_all_knobs_alone_and_in_pairs():
    found = settings()
    assert list(knobs()) == KNOBS
    assert len(found) == 2 + 2 * 9 + 9 * 8 / 2
    assert all(turned(found[name]) for name in found if name != "plain")
    assert all(turned(found[f"{name} -"]) <= turned(found[name]) for name in KNOBS)
    assert turned(found["lines + contrast"]) == {"lines", "ink"}
    assert all(getattr(found[f"{name} -"], name) == getattr(KAPTCHA, name) for name in ("lines", "ripple", "water"))


def test_losses_by_hand():
    rows = [
        ("plain", 100, 9, 10, 0.9),
        ("lines", 100, 5, 10, 0.8),
        ("plain", 1000, 10, 10, 0.9),
        ("lines", 1000, 9, 10, 0.8),
    ]
    table = with_losses(pd.DataFrame(rows, columns=["setting", "labels", "exact", "n", "legible"]))
    assert table["machine_loss"].tolist() == [0, 40, 0, 10]
    assert table["legibility_loss"].tolist() == [0, 10, 0, 10]


def test_a_study_trains_and_reads_for_each_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(protect, "TESTED", 20)
    monkeypatch.setattr(protect, "TESTED_BY_OCR", 6)
    monkeypatch.setattr(protect, "read_by_ocr", lambda images: ["2b827"] * len(images))
    styles = {name: settings()[name] for name in ("plain", "length", "alphabet")}
    table = what_protects(styles, tmp_path, (8, 16), seeds=2, config=TINY, jobs=1, report=str)
    assert table[["setting", "labels"]].to_numpy().tolist() == [[name, n] for name in styles for n in (8, 16)]
    assert table["n"].eq(40).all()
    assert table["legible_n"].eq(12).all()
    assert table["exact"].between(0, 40).all()
    said = []
    again = what_protects(styles, tmp_path, (8, 16), seeds=2, config=TINY, jobs=1, report=said.append)
    pd.testing.assert_frame_equal(table, again)
    assert said == ["18 jobs: 0 to do, 18 are done already"]
    styles["plain"] = replace(PLAIN, ink=(90, 90))
    with pytest.raises(InputError, match=r"another run \(style"):
        what_protects(styles, tmp_path, (8, 16), seeds=2, config=TINY, jobs=1, report=str)


def test_what_is_read_was_not_trained_on():
    style = settings()["lines"]
    texts, _ = protect._test(style, 200, seed=1)
    assert len(set(texts) & set(protect.generated_captchas(100, 1, style).labels)) <= 1  # 19^5 texts: at random
