import sys
from dataclasses import replace

import numpy as np
import pytest

from captcha_lib.config import InputError
from captcha_lib.generator.draw import draw
from studies.legibility import legibility, read_by_ocr
from studies.protect import PLAIN


def test_shares_by_hand():
    assert legibility(["abcd", "efgh"], ["abcd", "efgh"], fold_case=False) == 1
    assert legibility(["abcd", "efgh"], ["abxd", "efg"], fold_case=False) == pytest.approx(6 / 8)
    assert legibility(["ab"], ["xyzuvw"], fold_case=False) == 0, "not below nothing"
    assert legibility(["abcd"], ["ABCD"], fold_case=True) == 1
    assert legibility(["abcd"], ["ABCD"], fold_case=False) == 0


def test_ocr_reads_clean_text_and_not_what_is_not_there():
    texts = ["2b827", "nfmpy", "8pxg4"]
    assert [text.lower() for text in read_by_ocr(draw(texts, np.random.default_rng(0), PLAIN))] == texts
    unseen = replace(PLAIN, ink=(1, 1))
    assert legibility(texts, read_by_ocr(draw(texts, np.random.default_rng(0), unseen)), fold_case=True) < 0.3


def test_without_the_extra_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(InputError, match=r"rapidocr is not installed; pip install .*\[legibility\]"):
        read_by_ocr(draw(["2b827"], np.random.default_rng(0), PLAIN))
