import hashlib
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captcha_lib.config import InputError
from captcha_lib.generator import draw as module
from captcha_lib.generator.draw import draw, generate_captchas, random_texts
from captcha_lib.generator.style import KAPTCHA, Style

HEIGHT, WIDTH = SHAPE = KAPTCHA.height, KAPTCHA.width
NO_LINES = replace(KAPTCHA, lines=(0, 0))
points = st.builds(complex, st.floats(0, WIDTH), st.floats(0, HEIGHT))


def digest(images: torch.Tensor) -> str:
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()


def weights_of(matrix, x: int, y: int) -> dict[tuple[int, int], int]:
    """Where a pixel is read from, and with which weight."""
    row = matrix[y * WIDTH + x]
    return {(int(k % WIDTH), int(k // WIDTH)): int(v) for k, v in zip(row.indices, row.data, strict=True) if v}


def test_a_seed_gives_the_same_pixels_everywhere():
    texts, images = generate_captchas(20, seed=0)
    assert texts[:3] == ["pf834", "bcben", "fw8fx"]
    assert digest(images) == "78f92e60b0aade74462ad548d0006fee29139ead97cd134cd5e64c9abad45a05"


def test_each_picture_shows_its_own_text(drawn):
    """Lines only darken, so a picture is nowhere lighter than its own text drawn without lines."""
    texts, images = drawn
    plain = draw(texts, np.random.default_rng(0), NO_LINES)
    lighter = (images[:, None] > plain[None]).flatten(2).sum(2)  # (picture, text), pixels
    assert torch.equal(lighter == 0, torch.eye(24, dtype=torch.bool))


def test_lines_are_all_the_chance_there_is():
    text = ["2b827"]
    first, second = np.random.default_rng(1), np.random.default_rng(2)
    assert torch.equal(draw(text, first, NO_LINES), draw(text, second, NO_LINES))
    assert not torch.equal(draw(text, first), draw(text, second))


def test_pictures_drawn_together_are_those_drawn_one_after_the_other():
    """70 are more than what is drawn at a time."""
    texts = random_texts(70, np.random.default_rng(0))
    rng = np.random.default_rng(5)
    assert torch.equal(draw(texts, np.random.default_rng(5)), torch.cat([draw([text], rng) for text in texts]))


def test_a_long_text_runs_out_of_the_picture():
    rng = np.random.default_rng(0)
    picture = draw(["m" * 30], rng, NO_LINES)
    assert torch.equal(picture, draw(["m" * 9], rng, NO_LINES))
    assert (picture[..., 190:] == 0).any()


def test_background():
    """A gradient along the diagonal from 192 to 255: 31.5 of its 63 steps lie at the centre."""
    picture = draw([""], np.random.default_rng(0), NO_LINES)[0, 0]
    assert picture[0, 0] == 192
    assert 253 <= picture[HEIGHT - 1, WIDTH - 1] <= 255
    assert picture[HEIGHT // 2, WIDTH // 2] == 223
    assert (picture.diff(dim=0).int() >= 0).all()
    assert (picture[:, 1:] >= picture[:, :-1]).all()


def test_ink_is_black_and_where_the_text_begins():
    """The first glyph's origin is at x = 28; the ripple moves it by at most 2 + 2.6 px."""
    empty = draw([""], np.random.default_rng(0), NO_LINES)[0, 0].int()
    picture = draw(["n"], np.random.default_rng(0), NO_LINES)[0, 0].int()
    columns = (empty - picture > 64).any(0).nonzero()[:, 0]
    assert picture.min() == 0
    assert 26 <= columns[0] <= 33
    assert 46 <= columns[-1] <= 58


def test_a_quarter_pixel_is_a_weighted_mean():
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    ink = np.random.default_rng(0).integers(0, 256, HEIGHT * WIDTH)
    assert (module._sampling_matrix(x, y) @ ink == 65536 * ink).all(), "whole pixels are themselves"
    matrix = module._sampling_matrix(x + 0.25, y + 0.5)
    assert weights_of(matrix, 7, 9) == {(7, 9): 24576, (8, 9): 8192, (7, 10): 24576, (8, 10): 8192}
    assert weights_of(matrix, WIDTH - 1, HEIGHT - 1) == {(WIDTH - 1, HEIGHT - 1): 24576}  # beyond is empty


def test_ripple_at_fixed_pixels():
    """sin(0) moves nothing; 2.6 sin(1) = 2.188 px to the right; 1.7 sin(3) = 0.240 px down."""
    ripple = module._ripple_map(SHAPE, 1.0)
    assert weights_of(ripple, 2, 1) == {(0, 0): 65536}
    assert weights_of(ripple, 2, 16) == {(2, 15): 208 * 256, (3, 15): 48 * 256}
    assert weights_of(ripple, 17, 1) == {(15, 0): 195 * 256, (15, 1): 61 * 256}
    assert weights_of(ripple, 0, 0) == {}


def test_water_at_fixed_pixels():
    """Nothing moves at the centre and from 50 px on; at 1 px, 3 sin(pi - 10) 49/50 = -1.599 px."""
    water = module._water_map(SHAPE, 1.5)
    for x, y in ((100, 25), (150, 25), (0, 0), (WIDTH - 1, HEIGHT - 1)):
        assert weights_of(water, x, y) == {(x, y): 65536}
    assert weights_of(water, 101, 25) == {(99, 25): 153 * 256, (100, 25): 103 * 256}


@given(points, points, points, points)
def test_flattening_stays_near_the_curve(p0, p1, p2, p3):
    line = module._flatten(p0, p1, p2, p3)
    assert (line[0], line[-1]) == (p0, p3)
    for t in np.linspace(0, 1, 21):
        s = 1 - t
        on_curve = s**3 * p0 + 3 * s * s * t * p1 + 3 * s * t * t * p2 + t**3 * p3
        assert min(module._distance(on_curve, start, end) for start, end in pairwise(line)) <= 2.0


def test_distance_from_a_piece():
    places = {5 + 3j: 3, -4 + 3j: 5, 13 + 4j: 5, 7 + 0j: 0}  # beside, before, behind, on it
    assert [module._distance(point, 0j, 10 + 0j) for point in places] == pytest.approx(list(places.values()))
    assert module._distance(3 + 4j, 0j, 0j) == pytest.approx(5)


def test_texts_are_distinct_and_n_is_twice_as_frequent_as_any_other():
    texts = random_texts(4000, np.random.default_rng(0))
    assert len(set(texts)) == len(texts) == 4000
    assert {len(text) for text in texts} == {5}
    counts = Counter("".join(texts))  # 1000 of each expected, sigma 31
    assert set(counts) == set("2345678bcdefgmnpwxy")
    assert 1850 < counts.pop("n") < 2150
    assert all(850 < count < 1150 for count in counts.values())


def test_more_texts_than_there_are():
    """Two characters make two texts of one character: a third would be looked for without end."""

    class Impatient:
        draws = 0

        def choice(self, characters, size):
            self.draws += 1
            assert self.draws < 50, "drawing without end"
            return np.random.default_rng(self.draws).choice(characters, size=size)

    with pytest.raises(InputError, match="only 2 different texts"):
        random_texts(3, Impatient(), Style(characters="ab", length=(1, 1)))


def test_draws_a_thousand_captchas_a_second():
    """Measured: about 4,000 on one core; the best of three, since the machine may be busy."""
    generate_captchas(64, seed=0)  # fills the caches
    seconds = []
    for seed in range(3):
        began = time.process_time()
        generate_captchas(500, seed)
        seconds.append(time.process_time() - began)
    assert 500 / min(seconds) > 1000
