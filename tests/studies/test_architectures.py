"""Other networks: what they give, and that they can learn."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import in_memory
from captcha_lib.model import ctc_loss
from studies import architectures
from studies.ablation import count_read, train_network
from studies.architectures import ARCHITECTURES, COLUMNS, Architecture, Positions, compare, measured
from studies.captchas import generated_captchas

STEPS = {
    "this repository": 25, "convolutions only": 25, "transformer encoder": 25, "a head per position": 11,
    "Keras example": 50, "Shi et al.": 33, "ResNet18, 10 steps": 10, "ResNet18, 50 steps": 50,
}  # fmt: skip


@pytest.fixture(scope="module")
def captchas():
    return generated_captchas(24, 1)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_gives_its_time_steps_and_a_step_of_learning_changes_all_its_weights(captchas, name):
    torch.manual_seed(0)
    network = ARCHITECTURES[name].build(captchas, Config())
    config = Config(epochs=1, warmup_epochs=0, batch_size=8, augment_strength=0.0, bfloat16=False, ema_decay=0.0)
    learnt, _ = train_network(network, captchas, config)
    with torch.no_grad():
        logits = learnt(captchas.images[:2])
    assert logits.shape == (2, STEPS[name], captchas.alphabet.num_classes) and torch.isfinite(logits).all()
    before = dict(network.named_parameters())
    still = [key for key, weights in learnt.named_parameters() if torch.equal(weights, before[key])]
    assert not still


def test_the_smallest_ones_learn_a_few_pictures_by_heart(captchas):
    few = captchas.rows(range(6))
    config = Config(epochs=60, warmup_epochs=10, batch_size=6, augment_strength=0.0, bfloat16=False, ema_decay=0.5)
    for name in ("convolutions only", "transformer encoder", "a head per position"):
        torch.manual_seed(0)
        network, _ = train_network(ARCHITECTURES[name].build(few, config), few, config)
        assert count_read(network, few) >= 5, name


def test_a_head_per_position_has_the_cross_entropy_of_its_places_as_its_ctc_loss(captchas):
    few = captchas.rows(range(4))
    network = Positions(captchas.alphabet.num_classes, captchas.size, 5, Config()).eval()
    ids, lengths = few.alphabet.encode_batch(few.labels)
    with torch.no_grad():
        logits = network(few.images)
    places = logits[:, 1::2]  # (B, L, K)
    entropies = F.cross_entropy(places.transpose(1, 2), ids, reduction="none").sum(1)
    torch.testing.assert_close(ctc_loss(logits, ids, lengths), entropies, atol=1e-4, rtol=1e-4)


def test_a_head_per_position_needs_one_length(captchas):
    texts = ["12345", "123"]
    several = in_memory(texts, captchas.images[:2], "several", captchas.alphabet)
    with pytest.raises(InputError, match="several: a head per position needs texts of one length"):
        ARCHITECTURES["a head per position"].build(several, Config())


def test_sizes_are_those_of_the_networks(captchas):
    ours, shi = (measured(name, captchas) for name in ("this repository", "Shi et al."))
    assert ours["parameters"] == 151_572 and 8e6 < shi["parameters"] < 9e6
    assert 8e6 < ours["multiplications"] < 1e7 and shi["multiplications"] > 50 * ours["multiplications"]
    encoder = measured("transformer encoder", captchas)
    without = ours["multiplications"] - 25 * 2 * 4 * 48 * (96 + 48)
    layer = 25 * (12 * 96**2 + 2 * 25 * 96)  # the products of Vaswani et al., section 3, for 25 places of 96 features
    assert encoder["multiplications"] == pytest.approx(without + 2 * layer, rel=0.01)


def test_the_table_sums_the_folds_of_a_seed(tmp_path, captchas, monkeypatch):
    def run_here(out, work, *_) -> dict:
        return {name: job.function(*job.arguments) for name, job in work.items()}

    rates = []

    def train(network, train, config):
        rates.append(config.learning_rate)
        return network.eval(), 1.0

    monkeypatch.setattr(architectures, "run_jobs", run_here)
    monkeypatch.setattr(architectures, "train_network", train)
    slow = replace(ARCHITECTURES["convolutions only"], learning_rate=1e-4)
    monkeypatch.setitem(ARCHITECTURES, "convolutions only", slow)
    table = compare(captchas, tmp_path, ["this repository", "convolutions only"], (None, 0.5), folds=3, seeds=2)
    assert table.columns.tolist() == COLUMNS
    assert table["architecture"].unique().tolist() == [
        "this repository", "this repository at 0.5", "convolutions only", "convolutions only at 0.5",
    ]  # fmt: skip
    assert len(table) == 8 and table["n"].eq(24).all() and table["set"].eq("generated").all()
    assert set(rates) == {Architecture(slow.build).learning_rate, 1e-4, 0.5}
