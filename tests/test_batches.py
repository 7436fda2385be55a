from dataclasses import replace

import pytest
import torch
from epochs import ALPHABET, epoch_of, texts_of

from captcha_lib.config import Config
from captcha_lib.data.batches import Rank
from studies.captchas import generated_captchas


def test_memory_gives_every_image_once():
    captchas = generated_captchas(20, 1).replace(alphabet=ALPHABET)
    batches = epoch_of(captchas, batch_size=8)
    assert [len(batch.images) for batch in batches] == [8, 8, 4]
    assert sorted(texts_of(batches)) == sorted(captchas.labels)


def test_memory_repeats_few_images_to_fill_an_epoch():
    captchas = generated_captchas(3, 1).replace(alphabet=ALPHABET)
    batches = list(captchas.batches(replace(Config(), batch_size=8, per_epoch=20)).epoch(0, torch.Generator()))
    assert [len(batch.images) for batch in batches] == [8, 8, 4]
    assert set(texts_of(batches)) == set(captchas.labels)


@pytest.mark.parametrize("n", [20, 17, 33])
def test_processes_share_images_in_memory(n):
    captchas, texts, steps = generated_captchas(n, 1).replace(alphabet=ALPHABET), [], []
    for rank in range(2):
        batches = epoch_of(captchas, batch_size=8, rank=Rank(rank, 2))
        texts += texts_of(batches)
        steps.append(len(batches))
    assert set(texts) == set(captchas.labels)
    assert n <= len(texts) <= n + 1, "a last batch of one image is taken by both"
    assert len(set(steps)) == 1
