from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.batches import Batch, Rank, Stream, StreamBatches, StreamBlocks, draw_block, open_batches
from captcha_lib.generator.draw import draw
from captcha_lib.generator.style import KAPTCHA, Style
from captcha_lib.training import Session, fit
from studies.captchas import generated_captchas

ALPHABET = Alphabet.of([KAPTCHA.characters])
TINY = Config(epochs=4, batch_size=8, warmup_epochs=1, augment_ramp=1, channels=(4, 4, 8), hidden=16)
HERE = Stream(60, workers=0)


def texts_of(batches) -> list[str]:
    return [
        ALPHABET.decode(ids[:n]) for batch in batches for ids, n in zip(batch.ids, batch.lengths.tolist(), strict=True)
    ]


def epoch_of(source, epoch: int = 0, batch_size: int = 16, rank: Rank = Rank()) -> list[Batch]:
    config = replace(Config(), batch_size=batch_size)
    return list(open_batches(source, config, rank).epoch(epoch, torch.Generator().manual_seed(0)))


def same(one: list[Batch], two: list[Batch]) -> bool:
    return len(one) == len(two) and all(map(torch.equal, [b.images for b in one], [b.images for b in two]))


def test_memory_gives_every_image_once():
    captchas = generated_captchas(20, 1).replace(alphabet=ALPHABET)
    batches = epoch_of(captchas, batch_size=8)
    assert [len(batch.images) for batch in batches] == [8, 8, 4]
    assert sorted(texts_of(batches)) == sorted(captchas.labels)


def test_memory_repeats_few_images_to_fill_an_epoch():
    captchas = generated_captchas(3, 1).replace(alphabet=ALPHABET)
    batches = list(open_batches(captchas, replace(TINY, per_epoch=20)).epoch(0, torch.Generator()))
    assert [len(batch.images) for batch in batches] == [8, 8, 4]
    assert set(texts_of(batches)) == set(captchas.labels)


def test_a_streams_pictures_show_their_texts():
    """Without lines a text has one picture; each batch of the stream holds the pictures of its own texts."""
    style = replace(KAPTCHA, lines=(0, 0))
    for batch in epoch_of(replace(HERE, style=style)):
        own = draw(texts_of([batch]), None, style)
        assert torch.equal(batch.images, own)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_of_a_stream_has_its_size_and_follows_the_one_before(workers):
    stream = open_batches(replace(HERE, workers=workers), Config())
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
    steps = [open_batches(source, Config()).steps for source in (memory, stream)]
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
    batches = open_batches(replace(HERE, per_epoch=1000, workers=1), Config()).epoch(0, None)
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
