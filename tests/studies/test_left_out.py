"""What a family of makers adds: networks that never saw it."""

from dataclasses import replace

import numpy as np

from studies import left_out
from studies.left_out import RECIPE, draw_family, leave_out
from studies.makers.families import FAMILIES, make
from studies.makers.look import Look


def test_a_family_that_is_left_out_is_never_drawn():
    looks = [make(np.random.default_rng(seed), left_out=["gridded"]) for seed in range(200)]
    assert not any(isinstance(look, Look) and look.grid[1] for look in looks)
    assert any(isinstance(look, Look) and look.grid[1] for look in [make(np.random.default_rng(i)) for i in range(200)])


def test_pictures_of_a_family_are_the_same_again():
    (texts, images), (again, same) = (draw_family("gridded", 2, 3, (48, 192)) for _ in range(2))
    assert texts == again
    assert images.equal(same)
    assert images.shape == (6, 1, 48, 192)


def test_each_family_is_read_by_each_network(tmp_path, monkeypatch):
    monkeypatch.setattr(left_out, "MAKERS", 1)
    tiny = replace(RECIPE, epochs=1, per_epoch=64, channels=(4, 4, 8), hidden=16)
    table = leave_out(tmp_path, ("", "gridded", "camera"), tiny, jobs=1, report=lambda line: None)
    assert table["left_out"].unique().tolist() == ["", "gridded", "camera"]
    assert len(table) == 3 * len(FAMILIES)
    assert (table["n"] > 0).all()
