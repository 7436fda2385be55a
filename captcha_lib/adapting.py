"""`adapt`: a reader learns a kind of captchas from pictures that nobody labelled, or of which a few are.

It reads them and other views of them, believes the characters that are surest, learns from these, and reads again
(self-training: Scudder, IEEE Transactions on Information Theory 1965; Lee, "Pseudo-Label", ICML workshop 2013). In the
place of a character that it does not believe any other may stand: so it learns from a text of which it can read half
(partial labels: Pratap et al., "Star Temporal Classification", NeurIPS 2022). What is believed, `reading.votes` says.

Two readers do so, each with half of the pictures, and each tells the other what to believe (co-training: Blum and
Mitchell, COLT 1998): so what is believed of a picture comes from a reader that did not learn from it. The mean of their
weights (Wortsman et al., "Model soups", ICML 2022) goes on with all of the pictures.
"""

import copy
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import eq
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from captcha_lib.alphabet import ANY, Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import in_memory
from captcha_lib.decode import Length, Reading
from captcha_lib.model import time_steps
from captcha_lib.reading.predict import image_files, load_pictures
from captcha_lib.reading.torch_reader import TorchReader, load_start
from captcha_lib.reading.votes import CERTAIN, LEAST, Images, Kind, Vote, believed, read, vote
from captcha_lib.recipe import MAX_REPEATS
from captcha_lib.training import fit, mean_weights, silent

BELIEVED = (0.3, 0.42, 0.54, 0.66, 0.78, 0.9, 0.95)  # the share of the characters that is believed, round by round
AGAIN = 4  # the last of these rounds, for a reader that has learnt in this way before
SURE, RARE = 0.3, 0.05  # the surest share of readings, which tell the kind; classes that are rarer there are mistakes
KEPT = 0.92  # of the characters that the old reader is believed to have read right, the share that has to stay
CLASSES = (string.digits, string.ascii_uppercase, string.ascii_lowercase)
# For a network that can read already. Twice the steps of batches of 32 read more: 182 and 163 of 300 of one kind.
STEPS = Config(
    epochs=2, per_epoch=1280, batch_size=16, learning_rate=1e-3, warmup_epochs=0, augment_ramp=0, ema_decay=0.98
)
FEWEST = 320  # pictures an epoch, however few are known
SHOWN = 2000  # pictures an epoch, until which few are repeated


@dataclass(frozen=True)
class Adapted:
    """What became of a reader.

    Attributes:
        reader: the new one, or the old one where the new one is not believed.
        kind: what was given, or found out.
        expected: the exact match that it is believed to have, estimated without a label; not a number before it learnt.
        rounds: one row a round: round, believed (characters), read (characters), agreed (share of the views).
        pseudo_labels: what was believed, one row a round and picture: round, picture (number), text with `alphabet.ANY`
            in the place of a character that was not.
        learnt: whether the reader is a new one.
    """

    reader: TorchReader
    kind: Kind
    expected: float = float("nan")
    rounds: pd.DataFrame = field(default_factory=pd.DataFrame)
    pseudo_labels: pd.DataFrame = field(default_factory=pd.DataFrame)
    learnt: bool = False

    def read(self, images: Images) -> list[Reading]:
        """What it reads in pictures of the kind, (N, 1, H, W) uint8."""
        return read(self.reader, images, self.kind)

    @property
    def belief(self) -> str:
        """What it believes about itself, in words."""
        if np.isnan(self.expected):
            return "it has learnt nothing yet"
        return f"it is believed to read {self.expected:.0%} of such pictures exactly"


@dataclass(frozen=True)
class Lesson:
    """What a reader is taught with.

    Attributes:
        images: pictures (N, 1, H, W) uint8.
        kind: what is known of them.
        labels: the right texts of some, by their numbers.
        numbers: of the pictures that count; the other ones count only where they are labelled.
        shares: of the characters that are believed, a round each.
    """

    images: torch.Tensor
    kind: Kind
    labels: Mapping[int, str]
    numbers: np.ndarray
    shares: tuple[float, ...]


def adapt(
    pictures: str | Path | Sequence[str | Path] | Images,
    start: "str | Path | TorchReader | Adapted" = "general",
    alphabet: str | None = None,
    length: Length | None = None,
    labels: Mapping[int, str] | None = None,
    seed: int = 0,
    report: Callable[[str], None] = silent,
) -> Adapted:
    """Teaches a reader a kind of captchas without labels, or with few.

    Args:
        pictures: a folder, image files, or pictures (N, 1, H, W) uint8 at the size that the reader takes.
        start: the reader that it begins with, its weights, or what became of one, which goes on, such as with labels.
        alphabet: the characters that occur; None finds out.
        length: of the texts, see `Reader.decode`; None or 0 finds out.
        labels: the texts of some of the pictures, by their numbers.
        seed: of the order, the warps and the halves.
        report: gets what was found out, a line a round, and what is believed in the end.

    Raises InputError for pictures or weights that cannot be read, fewer than LEAST pictures, or characters that the
    reader does not know.
    """
    begun = start if isinstance(start, Adapted | TorchReader) else load_start(start)
    reader = begun.reader if isinstance(begun, Adapted) else begun
    if not isinstance(pictures, np.ndarray | torch.Tensor):
        paths = [pictures] if isinstance(pictures, str | Path) else pictures
        pictures = load_pictures(image_files(map(Path, paths)), reader)
    images, labels = torch.as_tensor(pictures), labels or {}
    check_number(len(images))
    kind = find_kind(reader, images, alphabet, length, labels)
    report(str(kind))
    shares = BELIEVED[-AGAIN:] if isinstance(begun, Adapted) and begun.learnt else BELIEVED
    lesson = Lesson(images, kind, labels, np.arange(len(images)), shares)
    adapted = _teach(lesson, reader, seed, report)
    if not labels and not _agrees(adapted.reader, reader, lesson):
        report("what it learnt contradicts what it was sure of before; the old reader is kept")
        before = vote(reader, images, kind, torch.Generator().manual_seed(seed))
        adapted = replace(adapted, reader=reader, expected=_expected([before]), learnt=False)
    report(adapted.belief)
    return adapted


def check_number(pictures: int) -> None:
    """Raises InputError if there are fewer than LEAST pictures."""
    if pictures < LEAST:
        raise InputError(f"{pictures} pictures are too few to learn from; give {LEAST} or more")


def find_kind(
    reader: TorchReader, images: Images, alphabet: str | None, length: Length | None, labels: Mapping[int, str]
) -> Kind:
    """What is not given, by the surest readings: the usual lengths, and the classes of characters that occur."""
    logits = reader.logits(images, batch_size=32)
    freely = reader.decode(logits, 0, alphabet)
    readings = reader.decode(logits, length, alphabet) if length else freely
    texts = [*_surest(readings), *labels.values()]
    lengths = Counter(map(len, texts))
    if not length and lengths:
        usual = [n for n, count in lengths.items() if count >= 0.1 * lengths.total()]
        length = usual[0] if len(usual) == 1 else (min(usual), max(usual))
    if alphabet is None:
        counts = Counter("".join(texts))
        classes = [*CLASSES, "".join(c for c in reader.alphabet.characters if c not in "".join(CLASSES))]
        occurring = [one for one in classes if sum(counts[c] for c in one) > RARE * counts.total()]
        read = {c for one in readings for c in one.text}
        alphabet = "".join(c for c in reader.alphabet.characters if c in "".join(occurring) and c in read)
    alphabet = Alphabet.of([alphabet or reader.alphabet.characters, *labels.values()]).characters
    least, most = length if isinstance(length, tuple) else (length or 0, length or len(reader.alphabet.characters))
    fits = [least <= len(text) <= most and set(text) <= set(alphabet) for text in _surest(freely)]
    return Kind(alphabet, length or 0, float(np.mean(fits)) if fits else 0.0)


def _surest(readings: list[Reading]) -> list[str]:
    """The texts that a reader is surest of, without those in which it found nothing."""
    surest = sorted(readings, key=lambda one: -one.confidence)[: max(LEAST // 2, round(SURE * len(readings)))]
    return [one.text for one in surest if one.text]


def _teach(lesson: Lesson, start: TorchReader, seed: int, report: Callable[[str], None]) -> Adapted:
    """A reader that was taught in rounds."""
    order = np.random.default_rng(seed).permutation(lesson.numbers)
    halves = [replace(lesson, numbers=np.sort(order[i::2])) for i in range(2)]
    both = replace(lesson, numbers=np.concatenate([half.numbers for half in halves]))
    pupils, warps = [start, start], torch.Generator().manual_seed(seed)
    rounds, taught = [], []
    characters, steps = len(lesson.kind.characters), time_steps(start.image_size[1])
    if lesson.labels:  # these first
        pupils = [_learn([], lesson, start, 100 * seed + 90 + i) for i in range(2)]
    for round_, share in enumerate(lesson.shares, 1):
        votes = [vote(pupils[1 - i], half.images[half.numbers], half.kind, warps) for i, half in enumerate(halves)]
        known = [believed(one, share, characters, steps) for one in votes]
        rounds.append({"round": round_, **_counts(votes, known)})
        taught += [(round_, i, text) for i, text in zip(both.numbers.tolist(), known[0] + known[1], strict=True)]
        said = "round {round}: {believed} of {read} characters believed, views agree on {agreed:.0%}"
        report(said.format(**rounds[-1]))
        if round_ < len(lesson.shares):
            seeds = [100 * seed + 10 * round_ + i for i in range(2)]
            pupils = [_learn(*one) for one in zip(known, halves, pupils, seeds, strict=True)]
    reader = _learn(known[0] + known[1], both, _mean(*pupils), 100 * seed + 99)
    texts = pd.DataFrame([row for row in taught if row[2]], columns=["round", "picture", "text"])
    return Adapted(reader, lesson.kind, _expected(votes), pd.DataFrame(rounds), texts, learnt=True)


def _expected(votes: list[Vote]) -> float:
    """The share of the pictures that is read exactly, if each character is as likely to be right as the views say."""
    return float(np.mean([np.prod(sure) if len(sure) else 0 for one in votes for sure in one.sure]))


def _counts(votes: list[Vote], known: list[list[str]]) -> dict:
    """What is said of a round."""
    texts = "".join(text for some in known for text in some)
    spelt = sum(len(text) for one in votes for text in one.texts)
    agreed = float(np.mean(np.concatenate([one.agreed for one in votes])))
    return {"believed": len(texts) - texts.count(ANY), "read": spelt, "agreed": agreed}


def _learn(known: list[str], lesson: Lesson, start: TorchReader, seed: int) -> TorchReader:
    """Trains a reader further, on what is believed of the pictures, and as often on those that are labelled."""
    pairs = zip(lesson.numbers.tolist(), known, strict=False)
    texts = {i: text for i, text in pairs if text and i not in lesson.labels}
    labelled = [*lesson.labels] * max(1, round(len(texts) / max(1, len(lesson.labels))))
    if not texts and not labelled:
        return start
    labels = [*texts.values(), *(lesson.labels[i] for i in labelled)]
    taught = in_memory(labels, lesson.images[[*texts, *labelled]], "pseudo-labelled", Alphabet(lesson.kind.characters))
    repeats = max(MAX_REPEATS, SHOWN // len(lesson.images))
    shown = min(STEPS.per_epoch, max(FEWEST, repeats * len(labels)))
    reader, _ = fit(taught, None, replace(STEPS, per_epoch=shown, seed=seed, **start.layers), start=start)
    fixed = lesson.kind.length if isinstance(lesson.kind.length, int) and lesson.kind.length else None
    return replace(reader, length=fixed, conversion=start.conversion, sizes=start.sizes)


def _mean(one: TorchReader, other: TorchReader) -> TorchReader:
    """The reader whose weights are the mean of two."""
    model = copy.deepcopy(one.model)
    model.load_state_dict(mean_weights([one.model.state_dict(), other.model.state_dict()]))
    return replace(one, model=model)


def _agrees(reader: TorchReader, start: TorchReader, lesson: Lesson) -> bool:
    """Whether a new reader has the characters of what the old one was surest of at their places, nearly all of them.

    These are all texts that it was certain of, since the surest tenth of them may lack a character that was forgotten.
    """
    before, after = (read(one, lesson.images, lesson.kind) for one in (start, reader))
    sure = np.array([one.confidence for one in before])
    surest = np.argsort(-sure)[: max(LEAST // 2, len(sure) // 10, int((sure >= CERTAIN).sum()))].tolist()
    length = np.array([max(1, len(before[i].text)) for i in surest])
    same = sum(sum(map(eq, before[i].text, after[i].text)) for i in surest) / length.sum()
    return bool(same >= KEPT * np.mean(sure[surest] ** (1 / length)))
