"""Random warps: one for each picture, the same for the same seed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captcha_lib.augment import augment
from captcha_lib.generator.draw import generate_captchas


@pytest.fixture(scope="module")
def captcha() -> torch.Tensor:
    return generate_captchas(1, 0)[1]


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 4), st.integers(8, 60), st.integers(8, 90), st.floats(0, 1))
@settings(deadline=None, max_examples=15)
def test_shape_and_type_are_kept(batch, height, width, strength):
    images = torch.randint(0, 256, (batch, 1, height, width), dtype=torch.uint8)
    warped = augment(images, strength, chance())
    assert warped.shape == images.shape
    assert warped.dtype == torch.uint8


def test_strength_0_leaves_the_pictures_as_they_are(captcha):
    before = captcha.clone()
    assert torch.equal(augment(captcha, 0.0, chance()), before)


def test_the_input_is_not_changed(captcha):
    before = captcha.clone()
    warped = augment(captcha, 1.0, chance())
    assert not torch.equal(warped, before)
    assert torch.equal(captcha, before)


def test_every_picture_of_a_batch_gets_its_own_warp(captcha):
    warped = augment(captcha.expand(8, -1, -1, -1), 1.0, chance())
    different = {image.numpy().tobytes() for image in warped}
    assert len(different) == 8


def test_same_seed_same_warps(captcha):
    images = captcha.expand(3, -1, -1, -1)
    first, again, other = (augment(images, 1.0, chance(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@given(st.integers(0, 1000), st.floats(0.1, 1))
@settings(deadline=None, max_examples=10)
def test_white_stays_white(seed, strength):
    white = torch.full((3, 1, 50, 200), 255, dtype=torch.uint8)
    assert torch.equal(augment(white, strength, chance(seed)), white)


def test_the_contrast_of_black_changes_by_at_most_15_percent():
    black = torch.zeros((20, 1, 50, 200), dtype=torch.uint8)
    warped = augment(black, 1.0, chance())
    assert warped.max() <= 0.15 * 255
    assert warped.amax((1, 2, 3)).unique().numel() > 1


def test_a_dot_moves_by_no_more_than_the_maxima():
    """At the centre only the shift (8 and 3 px) and the bend (2 and 1.5 px) act; bicubic bends overshoot a little."""
    dots = torch.full((60, 1, 50, 200), 255, dtype=torch.uint8)
    dots[:, :, 24:26, 99:101] = 0
    ink = 255 - augment(dots, 1.0, chance()).double()[:, 0]  # (B, H, W)
    weights = ink.sum((1, 2))
    assert (weights > 0).all()
    across = (ink.sum(1) * torch.arange(200)).sum(1) / weights - 99.5
    down = (ink.sum(2) * torch.arange(50)).sum(1) / weights - 24.5
    assert across.abs().max() <= 8 + 2 * 1.3 + 0.5
    assert down.abs().max() <= 3 + 1.5 * 1.3 + 0.5
    assert across.min() < -3 < 3 < across.max()
    assert down.min() < -1 < 1 < down.max()


def test_a_weak_warp_moves_less(captcha):
    def change(strength: float) -> float:
        images = captcha.expand(8, -1, -1, -1)
        return float((augment(images, strength, chance()).double() - images.double()).abs().mean())

    assert 0 < change(0.1) < change(0.5) < change(1.0)
    assert change(0.01) < change(1.0) / 10
