"""The weights that know many kinds of captchas before they see one: learnt from the pictures of random makers alone.

They read at first sight (`captcha_lib.read(picture, weights="general")`), and small sets start from them where they
know most of the alphabet (`captcha_lib.recipe.recipe_for`).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config
from captcha_lib.data.captchas import in_memory
from captcha_lib.data.sizes import fit_images
from captcha_lib.generator.draw import draw_texts
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.training import Session, fit
from studies.makers.draw import draw
from studies.makers.families import CHARACTERS, LARGEST, SMALLEST, make
from studies.stream import Stream

RECIPE = replace(
    Config(), epochs=170, per_epoch=25_600, batch_size=256, learning_rate=3e-3, schedule_peak=0.1, warmup_epochs=6,
    augment_strength=0.0, dropout=0.05, ema_decay=0.999, channels=(48, 96, 160), hidden=192, blocks=2,
)  # fmt: skip
OF_A_MAKER = 32  # pictures drawn together
HELD, HELD_OF_A_MAKER, HELD_SEED = 1000, 4, 424242  # pictures that are not trained on
RATE_ON = 1e-3  # learning rate of weights that can read already


@dataclass(frozen=True)
class Makers(Stream):
    """A stream of captchas of random makers, all resized to one size; a style is not needed."""

    picture: tuple[int, int] = (48, 256)  # (H, W) in px
    left_out: tuple[str, ...] = ()  # families that are never drawn
    together: int = OF_A_MAKER
    block: int = 64 * OF_A_MAKER  # so a batch holds pictures of as many makers as it can

    @property
    def alphabet(self) -> Alphabet:
        return Alphabet.of([CHARACTERS])

    @property
    def size(self) -> tuple[int, int]:
        return self.picture

    @property
    def length(self) -> int | None:
        return None

    @property
    def longest(self) -> str:
        """A text that needs as many time steps as any."""
        return CHARACTERS[:10]

    def identity(self) -> str:
        size = f"{self.picture}, without {', '.join(self.left_out) or 'none'}"
        return f"makers, {self.per_epoch} an epoch, {size}, seed {self.seed}"

    def drawn(self, n: int, rng: np.random.Generator) -> tuple[list[str], torch.Tensor]:
        texts: list[str] = []
        images: list[np.ndarray] = []
        while len(texts) < n:
            style = make(rng, left_out=self.left_out)
            more = draw_texts(min(self.together, n - len(texts)), rng, style)
            images += list(draw(more, rng, style)[:, 0].numpy())
            texts += more
        return texts, torch.from_numpy(fit_images(images, self.picture))


def learn_general(
    config: Config = RECIPE, start: TorchReader | None = None, session: Session = Session(), workers: int = 1
) -> TorchReader:
    """Trains these weights, on from those of `start` where there are some; the session names the checkpoint.

    Pictures of other makers choose the epoch and calibrate the confidence; no real captcha does. As many processes as
    `workers` draw beside each that trains, which changes no picture.
    """
    makers = Makers(config.per_epoch, seed=config.seed, workers=workers)
    held = replace(makers, together=HELD_OF_A_MAKER).drawn(HELD, np.random.default_rng([config.seed, HELD_SEED]))
    config = config if start is None else replace(config, warmup_epochs=0, learning_rate=RATE_ON)
    reader, _ = fit(makers, in_memory(*held, "makers", makers.alphabet), config, start, session)
    return replace(reader, length=None, sizes=(SMALLEST, LARGEST))
