"""The network's shapes and size, and its loss against a sum over every path."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captcha_lib.config import Config, InputError
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.model import CRNN, ctc_loss, time_steps

SMALL = {"channels": (4, 4, 8), "hidden": 16}


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def spelt(path: tuple[int, ...]) -> list[int]:
    """Merges equal neighbours, then drops class 0."""
    return [k for k, _ in itertools.groupby(path) if k != 0]


def default_model() -> CRNN:
    config = Config()
    return CRNN(len(set(KAPTCHA.characters)) + 1, 50, config.channels, config.hidden, config.dropout)


def test_kaggle_captchas_give_25_time_steps():
    logits = default_model().eval()(pictures(3, 1, 50, 200))
    assert logits.shape == (3, 25, 20)
    assert logits.dtype == torch.float32


def test_default_model_is_small():
    assert sum(p.numel() for p in default_model().parameters()) <= 450_000


@pytest.mark.parametrize(("width", "steps"), [(64, 8), (120, 15), (127, 16), (160, 20), (400, 50)])
def test_time_steps_follow_the_width(width, steps):
    model = CRNN(5, 50, **SMALL).eval()
    assert model(pictures(2, 1, 50, width)).shape == (2, steps, 5)


@pytest.mark.parametrize("height", [16, 32, 47, 80])
def test_other_heights(height):
    model = CRNN(7, height, **SMALL).eval()
    assert model(pictures(2, 1, height, 200)).shape == (2, 25, 7)


def test_a_height_that_leaves_no_column_is_refused():
    with pytest.raises(InputError, match="15"):
        CRNN(7, 15, **SMALL)


def test_a_picture_is_read_alike_alone_and_in_a_batch():
    torch.manual_seed(0)
    model, images = CRNN(5, 50, **SMALL).eval(), pictures(4, 1, 50, 200)
    together = model(images)
    alone = torch.cat([model(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-5)


def test_every_time_step_sees_the_whole_line():
    """The LSTM runs both ways: a change at one end reaches the scores at the other."""
    torch.manual_seed(0)
    model, images = CRNN(5, 50, **SMALL).eval(), pictures(1, 1, 50, 64)
    left, right = images.clone(), images.clone()
    left[..., :4], right[..., -4:] = 0, 0
    logits = model(images)[0]
    assert (model(left)[0, -1] != logits[-1]).any()
    assert (model(right)[0, 0] != logits[0]).any()


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 4), st.data())
@settings(deadline=None, max_examples=40)
def test_ctc_loss_is_a_sum_over_paths(seed, steps, classes, data):
    label = data.draw(st.lists(st.integers(1, classes - 1), max_size=steps))
    logits = torch.randn(steps, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.double) * 3
    probs = logits.softmax(-1).tolist()
    paths = itertools.product(range(classes), repeat=steps)
    total = sum(
        math.prod(frame[k] for frame, k in zip(probs, path, strict=True)) for path in paths if spelt(path) == label
    )
    ids = torch.tensor([[*label, 0]])
    loss = float(ctc_loss(logits[None], ids, torch.tensor([len(label)])))
    assert loss == (pytest.approx(-math.log(total), abs=1e-9) if total else math.inf)


def test_ctc_loss_of_a_batch_ignores_the_padding():
    logits = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([3, 1])
    clean = ctc_loss(logits, torch.tensor([[1, 2, 3], [2, 0, 0]]), lengths)
    dirty = ctc_loss(logits, torch.tensor([[1, 2, 3], [2, 3, 1]]), lengths)
    assert clean.shape == (2,)
    assert torch.equal(clean, dirty)


def test_a_character_that_is_not_known_may_be_any():
    logits = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    star, lengths = torch.tensor([[2, 4, 3]]), torch.tensor([3])
    alone = [float(ctc_loss(logits, torch.tensor([[2, k, 3]]), lengths)) for k in (1, 2, 3)]
    assert float(ctc_loss(logits, star, lengths)) < min(alone)
    certain = torch.full((1, 6, 4), -20.0, dtype=torch.double)
    certain[0, range(6), [2, 0, 1, 0, 3, 0]] = 20.0
    assert float(ctc_loss(certain, star, lengths)) == pytest.approx(0, abs=1e-9)


def test_the_gradient_of_ctc_loss_is_right_for_any_character_too():
    """torch's own takes probabilities whose sum is 1 for granted."""
    logits = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double, requires_grad=True)
    ids, lengths = torch.tensor([[1, 4, 2], [4, 4, 0]]), torch.tensor([3, 2])
    assert torch.autograd.gradcheck(lambda scores: ctc_loss(scores, ids, lengths), (logits,))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.integers(1, 16))
@settings(deadline=None, max_examples=60)
def test_doubles_need_a_time_step_more(label, steps):
    needed = len(label) + sum(a == b for a, b in itertools.pairwise(label))
    loss = ctc_loss(torch.zeros(1, steps, 4), torch.tensor([label]), torch.tensor([len(label)]))
    assert bool(loss.isfinite()) == (steps >= needed)


def test_gradients_reach_every_weight():
    torch.manual_seed(0)
    model = CRNN(4, 50, **SMALL)
    _, images = generate_captchas(2, 0)
    ctc_loss(model(images), torch.tensor([[1, 2], [3, 3]]), torch.tensor([2, 2])).sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert still == []


@pytest.mark.parametrize("width", [16, 17, 50, 130, 199, 200, 300])
def test_time_steps_are_the_networks(width):
    assert CRNN(3, **SMALL)(pictures(1, 1, 50, width)).shape[1] == time_steps(width)
