"""`Captchas` is a torch data set by torchvision's conventions, and its selections are views."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import VisionDataset
from torchvision.transforms import v2

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.data.captchas import Captchas, in_memory, stack_images
from captcha_lib.data.load import load_data
from studies.captchas import concatenate, generated_captchas


@pytest.fixture(scope="module")
def captchas() -> Captchas:
    return generated_captchas(22, 1)


def with_subsets(captchas: Captchas) -> Captchas:
    subsets = ["train", "val"] * (len(captchas) // 2)
    return captchas.replace(manifest=captchas.manifest.assign(subset=subsets))


def shares(one: Captchas, two: Captchas) -> bool:
    return np.shares_memory(one._pixels, two._pixels)


# A data set


def test_an_item_is_an_image_and_its_label(captchas):
    assert isinstance(captchas, VisionDataset)
    for i in (0, 21, -1):
        image, label = captchas[i]
        assert torch.equal(image, captchas.images[i])
        assert label == captchas.labels[i]
        assert (image.shape, image.dtype) == ((1, 50, 200), torch.uint8)
    assert len(list(captchas)) == 22, "iteration ends with an IndexError"
    assert "22" in repr(captchas)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_data_loader_gives_every_image_once_with_its_label(captchas, workers):
    chosen = captchas.rows(slice(2, None))
    loader = DataLoader(chosen, batch_size=8, num_workers=workers, shuffle=True)
    pairs = [(label, image) for images, labels in loader for label, image in zip(labels, images, strict=True)]
    assert sorted(label for label, _ in pairs) == sorted(chosen.labels)
    right = dict(zip(chosen.labels, chosen.images, strict=True))
    assert all(torch.equal(image, right[label]) for label, image in pairs)


def test_transforms(captchas):
    ready = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])])
    made = Captchas(
        captchas.source, captchas.manifest, captchas._pixels, transform=ready, target_transform=captchas.alphabet.encode
    )
    image, ids = made.subset("")[3]
    assert torch.allclose(image, captchas.images[3] / 127.5 - 1, atol=1e-6)
    assert captchas.alphabet.decode(ids) == captchas.labels[3]
    assert made.images.dtype == torch.uint8, "training takes the images as they are"
    changed = captchas.replace(transform=ready)
    assert torch.equal(changed[3][0], image)
    assert changed[3][1] == captchas.labels[3]


def test_what_it_says_of_itself(captchas, folder):
    assert (captchas.size, captchas.length, captchas.alphabet) == ((50, 200), 5, Alphabet.of(captchas.labels))
    assert in_memory(["a", "ab"], captchas.images[:2], "mine").length is None
    assert load_data(str(folder)).summary() == "data: images, 24 images of 200 x 50 px."
    assert captchas.named_labels()[1] == (f"1_{captchas.labels[1]}.png", captchas.labels[1])


# Selections


def test_a_subset(folder):
    captchas = with_subsets(load_data(str(folder)))
    val = captchas.subset("val")
    assert val.labels == captchas.labels[1::2]
    assert torch.equal(val.images, captchas.images[1::2])
    assert val.paths == captchas.paths[1::2]
    assert val.manifest.index.tolist() == list(range(12))
    assert val.alphabet == captchas.alphabet, "not only the characters of its own labels"


@pytest.mark.parametrize("rows", [[5, 0, 5], np.array([True, False] * 11), slice(3, 9), np.array([-1])], ids=str)
def test_rows_in_their_order(captchas, rows):
    chosen = captchas.rows(rows)
    assert chosen.labels == np.array(captchas.labels)[rows].tolist()
    assert torch.equal(chosen.images, captchas.images[rows])
    assert torch.equal(chosen.images_at([-1, 0]), chosen.images[[-1, 0]])


def test_selections_share_their_pixels(captchas):
    split = with_subsets(captchas)
    for chosen in (split.subset("val"), split.rows([3, 1]), split.repeated(90), split.subset("val").rows([2]), split):
        assert shares(chosen, captchas)
    assert np.shares_memory(captchas.images.numpy(), captchas._pixels), "the whole is not copied"


def test_a_selection_of_a_selection_repeats_its_images_evenly(captchas):
    chosen = captchas.rows(slice(4, 20)).rows([0, 5, 1]).repeated(5)
    assert chosen.labels == [captchas.labels[i] for i in (4, 9, 5, 4, 9)]
    assert torch.equal(chosen.images, captchas.images[[4, 9, 5, 4, 9]])
    assert torch.equal(chosen[3][0], captchas.images[4])
    assert len(captchas.repeated(3)) == len(captchas)


def test_pickled_and_back(captchas):
    again = pickle.loads(pickle.dumps(with_subsets(captchas).subset("val")))
    assert again.labels == captchas.labels[1::2]
    assert torch.equal(again.images, captchas.images[1::2])
    assert again.alphabet == captchas.alphabet


def test_identity_is_of_images_and_labels(captchas):
    assert captchas.identity() == generated_captchas(22, 1).identity()
    renamed = captchas.replace(manifest=captchas.manifest.assign(file=[f"{i}.png" for i in range(22)]))
    assert renamed.identity() == captchas.identity()
    relabelled = captchas.replace(manifest=captchas.manifest.assign(label="b"))
    assert len({one.identity() for one in (captchas, relabelled, captchas.rows(slice(21)))}) == 3


def test_a_change_leaves_the_original(captchas):
    other = captchas.replace(alphabet=Alphabet("bcde2345678gfynmnpwx".replace("nmn", "mn")), notes=["changed"])
    assert (captchas.notes, other.notes) == ([], ["changed"])
    assert other.alphabet != captchas.alphabet
    assert shares(other, captchas)


# Several, and pictures of several sizes


def test_concatenated(captchas):
    both = concatenate(captchas.rows([3, 1]), in_memory(["zz"], captchas.images[:1], "mine"))
    assert both.labels == [captchas.labels[3], captchas.labels[1], "zz"]
    assert torch.equal(both.images, captchas.images[[3, 1, 0]])
    assert set(both.alphabet.characters) == {*captchas.alphabet.characters, "z"}
    with pytest.raises(InputError, match="generated of 200 x 50 px and mine of 200 x 40 px"):
        concatenate(captchas, in_memory(["zz"], captchas.images[:1, :, :40].contiguous(), "mine"))


def test_images_in_memory_are_a_data_set(captchas):
    made = in_memory(captchas.labels[:3], captchas.images[:3], "mine", captchas.alphabet)
    assert (made.labels, made.alphabet, made.paths) == (captchas.labels[:3], captchas.alphabet, [])
    assert torch.equal(made.images, captchas.images[:3])


def test_another_size_is_said_instead_of_the_one_before(folder):
    captchas = load_data(str(folder), size=(60, 300)).replace(source="mine")
    assert captchas.notes == ["images of 200 x 50 px are read at 300 x 60 px."]
    seen = captchas.replace(notes=[*captchas.notes, "more."]).seen_through("grey", (48, 192))
    assert seen.notes == ["images of 200 x 50 px are read at 192 x 48 px.", "more."]
    assert captchas.seen_through("grey", (50, 200)).notes == []


def test_stacking_to_a_given_size():
    images, notes = stack_images([np.full((50, 200), 10, np.uint8)] * 2, size=(25, 80))
    assert images.shape == (2, 25, 80)
    assert (images == 10).all()
    assert notes == ["images of 200 x 50 px are read at 80 x 25 px."]


def test_a_sample_is_spread_over_all():
    captchas = generated_captchas(9, 1)
    assert captchas.sample(3).labels == [captchas.labels[i] for i in (0, 4, 8)]
    assert captchas.sample(100).labels == captchas.labels
