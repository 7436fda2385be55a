import json
from dataclasses import replace
from itertools import islice

import pytest
import torch
from epochs import epoch_of, texts_of
from torch.utils.data import DataLoader

from captcha_lib.config import Config, InputError
from captcha_lib.data.batches import Batch, Rank
from captcha_lib.generator.draw import draw
from captcha_lib.generator.style import KAPTCHA, Style
from captcha_lib.training import Session, fit
from studies.captchas import generated_captchas
from studies.stream import Stream, StreamBatches, StreamBlocks, draw_block, learn_stream

TINY = Config(epochs=4, batch_size=8, warmup_epochs=1, augment_ramp=1, channels=(4, 4, 8), hidden=16)
HERE = Stream(60, workers=0)


def same(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(map(torch.equal, [b.images for b in one], [b.images for b in two]))


def test_a_streams_pictures_show_their_texts():
    """Without lines a text has one picture; each batch of the stream holds the pictures of its own texts."""
    style = replace(KAPTCHA, lines=(0, 0))
    for batch in epoch_of(replace(HERE, style=style)):
        own = draw(texts_of([batch]), None, style)
        assert torch.equal(batch.images, own)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_of_a_stream_has_its_size_and_follows_the_one_before(workers):
    stream = replace(HERE, workers=workers).batches(Config())
    epochs = [list(stream.epoch(epoch, None)) for epoch in range(3)]
    assert [[len(batch.images) for batch in batches] for batches in epochs] == [[16, 16, 16, 16]] * 3
    assert same(epochs[2], epoch_of(HERE, 2)), "an epoch is that of its number, wherever one begins"
    assert not same(epochs[0], epochs[1])
    stream._batches = None  # ends the process that draws


def test_no_captcha_comes_twice():
    stream = StreamBatches(Stream(600, workers=0), Config())
    batches = [batch for epoch in range(3) for batch in stream.epoch(epoch, None)]
    pictures = {image.numpy().tobytes() for batch in batches for image in batch.images}
    assert len(pictures) == sum(len(batch.images) for batch in batches) == 3 * 608


@pytest.mark.parametrize("world", [2, 3])
def test_processes_draw_different_captchas_in_equally_many_steps(world):
    pictures, steps = [], []
    for rank in range(world):
        batches = epoch_of(Stream(1500, workers=0), rank=Rank(rank, world))
        pictures += [image.numpy().tobytes() for batch in batches for image in batch.images]
        steps.append(len(batches))
    assert len(set(pictures)) == len(pictures) >= 1500
    assert len(set(steps)) == 1
    assert len(pictures) / world / steps[0] == -(-16 // world), "all batches together are as large as one's"


def test_texts_that_are_kept_out_are_never_drawn():
    style = Style(characters="23", length=(2, 2))
    out = frozenset({"22", "32", "33"})
    assert set(texts_of(epoch_of(replace(HERE, style=style, without=out)))) == {"23"}


def test_a_stream_needs_a_text():
    with pytest.raises(InputError, match="all 2 texts are excluded"):
        Stream(10, Style(characters="23", length=(1, 1)), without=frozenset("23"))


def test_blocks_are_mixed():
    """Pictures are drawn 64 at a time with one warp; in the block they no longer stand together."""
    stream = replace(HERE, style=replace(KAPTCHA, lines=(0, 0), ripple=(0.0, 4.0)))
    texts, images = draw_block(stream, 256, 0, 0)
    plain = replace(stream.style, ripple=(0.0, 0.0))
    is_straight = [torch.equal(draw([t], None, plain)[0], i) for t, i in zip(texts, images, strict=True)]
    assert sum(is_straight) in (0, 64, 128)
    assert len({tuple(image[0, 25, :40].tolist()) for image in images}) > 4


def test_identity_tells_streams_apart():
    others = [replace(HERE, seed=1), replace(HERE, per_epoch=61), replace(HERE, without=frozenset({"22222"}))]
    others.append(replace(HERE, style=replace(KAPTCHA, size=(37, 42))))
    assert len({stream.identity() for stream in [HERE, *others]}) == 5
    assert replace(HERE, workers=1).identity() == HERE.identity(), "who draws makes no difference"


def test_a_stream_describes_its_images_as_captchas_do():
    memory, stream = generated_captchas(20, 1), replace(HERE, per_epoch=20)
    for name in ("size", "length", "alphabet"):
        assert getattr(memory, name) == getattr(stream, name)
    assert len(memory) == len(stream)
    assert replace(HERE, style=replace(KAPTCHA, length=(4, 6))).length is None
    steps = [source.batches(Config()).steps for source in (memory, stream)]
    assert steps == [2, 2]


def test_a_run_on_a_stream_that_was_cut_off_goes_on_to_the_same_weights(tmp_path):
    class Enough(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("epoch  2/"):
            raise Enough

    checkpoint = tmp_path / "checkpoint.pth"
    straight, history = fit(HERE, None, TINY)
    with pytest.raises(Enough):
        fit(HERE, None, TINY, session=Session(checkpoint, report=stop))
    resumed, _ = fit(replace(HERE, workers=1), None, TINY, session=Session(checkpoint, resume=True))
    ours, theirs = straight.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert history["waited"].between(0, 1).all()
    assert (straight.length, straight.image_size) == (5, (50, 200))


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(99)
    state = torch.get_rng_state()
    fit(Stream(16, workers=0), None, replace(TINY, epochs=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_stream_too_long_for_the_picture_is_refused():
    with pytest.raises(InputError, match="stream: its label needs 27 time steps and the picture gives 25"):
        fit(replace(HERE, style=replace(KAPTCHA, length=(14, 14))), None, TINY)


def test_training_goes_on_from_a_reader():
    first, _ = fit(HERE, None, TINY)
    still = replace(TINY, epochs=1, warmup_epochs=0, learning_rate=1e-12, ema_decay=0.0)
    again, _ = fit(HERE, None, still, first)
    ours, theirs = first.model.state_dict(), again.model.state_dict()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name, _ in first.model.named_parameters())


def test_what_a_process_draws_next_is_ready_while_it_trains():
    batches = replace(HERE, per_epoch=1000, workers=1).batches(Config()).epoch(0, None)
    assert len(list(islice(batches, 3))) == 3


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_change_neither_the_blocks_nor_their_order(workers):
    """Fault 7: each of two workers gave the whole stream, and every image came twice."""
    blocks = StreamBlocks(Stream(600), batch_size=16)  # three blocks an epoch, the last one smaller
    alone, together = (
        list(islice(DataLoader(blocks, batch_size=None, num_workers=count), 7)) for count in (0, workers)
    )
    assert [len(block.images) for block in alone] == [256, 256, 96, 256, 256, 96, 256]
    for one, two in zip(alone, together, strict=True):
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.ids, two.ids)
    assert len({image.numpy().tobytes() for block in together for image in block.images}) == 1472


def split_in_memory():
    captchas = generated_captchas(20, 1)
    subsets = ["train"] * 10 + ["val"] * 5 + ["test"] * 5
    return captchas.replace(manifest=captchas.manifest.assign(subset=subsets))


def test_a_training_on_a_stream_leaves_what_others_do(tmp_path):
    result = learn_stream(split_in_memory(), 400, tmp_path, epochs=2)
    assert result.score["n"] == 5
    assert 0 <= json.loads((tmp_path / "metrics.json").read_text())["waited"] < 1
    assert "trained on a stream of 400 captchas." in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(("n", "epochs"), [(1000, 24), (300_000, 60), (1_000_000, 200), (9_000_000, 200)])
def test_a_longer_stream_has_more_epochs(n, epochs, tmp_path, monkeypatch):
    class Asked(Exception):
        pass

    def look(stream, val, config, session):
        raise Asked(stream, config)

    monkeypatch.setattr("studies.stream.fit", look)
    captchas = split_in_memory()
    with pytest.raises(Asked) as asked:
        learn_stream(captchas, n, tmp_path)
    stream, config = asked.value.args
    assert config.epochs == epochs
    assert 0 <= stream.per_epoch * epochs - n < epochs
    assert stream.without == frozenset(captchas.labels[10:]), "what is validated or tested with is not drawn"
