"""Makers of captchas: random programs, each with a `Style` of its own, as no two sites draw the same.

A maker has an alphabet, a length, some faces, a size, a layout, and one to three *families* of what is done to the
text: crowding, lines, dots, outlines, shadows, pale ink, textures and so on. `make(rng)` draws one.
"""

from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path

import numpy as np

from captcha_lib.generator import style as kaggle
from captcha_lib.generator.style import Style
from studies.fonts import all_faces, has_two_cases
from studies.makers.look import Look

DIGITS, UPPER, LOWER, SYMBOLS = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "@#$%&+-=?!*"
CHARACTERS = DIGITS + UPPER + LOWER + SYMBOLS
_ALPHABETS = {  # and how often each is drawn
    DIGITS: 22, UPPER + DIGITS: 24, LOWER + DIGITS: 20, UPPER: 8, LOWER: 8, UPPER + LOWER + DIGITS: 12,
    DIGITS + "+-=x*": 3, UPPER + DIGITS + "@#$%&": 3,
}  # fmt: skip
_LENGTHS = {4: 28, 5: 22, 6: 24, 3: 4, 7: 6, 8: 4, 2: 2, 1: 1, 9: 1, 10: 1}
KAPTCHA, _KAPTCHAS = "kaptcha", 0.08  # the family that draws as Kaptcha, and how often a maker is of it
_KAGGLE = 0.5  # how often such a maker has the settings of the Kaggle set
SMALLEST, LARGEST = (11, 32), (72, 320)  # (H, W) in px of the pictures
_SMALL = 24  # px, from which height on a text bears as much as any
_HEIGHTS = (18, LARGEST[0]), (SMALLEST[0], _SMALL)  # px, usual ones and low ones
_LOW, _FRAMED = 0.15, 0.12  # how often a height is low, and a picture framed
_WHOLE = 0.3  # how often an alphabet leaves no character out, such as those that look alike
Knobs = dict[str, object]


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _chosen(rng: np.random.Generator, weights: dict) -> object:
    names, p = list(weights), np.array(list(weights.values()), float)
    return names[int(rng.choice(len(names), p=p / p.sum()))]


# Families. Each takes the random numbers and the size of an em in px, and gives knobs of a `Look`.


def _crowded(rng: np.random.Generator, em: float) -> Knobs:
    gap = _uniform(rng, -0.3, -0.05)
    return {"gap": (gap, gap + 0.06), "unequal": (0.0, 0.15)}


def _turned(rng: np.random.Generator, em: float) -> Knobs:
    most = _uniform(rng, 8, 40)
    return {"rotation": (-most, most), "jitter": (-0.1, 0.1)}


def _spaced(rng: np.random.Generator, em: float) -> Knobs:
    pitch = _uniform(rng, 0.55, 1.3)
    return {"pitch": (pitch, pitch + 0.05), "gap": (0.0, _uniform(rng, 0.0, 0.3))}


def _bent(rng: np.random.Generator, em: float) -> Knobs:
    turn = _uniform(rng, 0, 12) * int(rng.integers(2))
    return {"wave": (0.0, _uniform(rng, 0.03, 0.12)), "turn": (-turn, turn)}


def _slanted(rng: np.random.Generator, em: float) -> Knobs:
    low = _uniform(rng, -0.5, 0.2)
    return {"shear": (low, low + _uniform(rng, 0.05, 0.5))}


def _coloured(rng: np.random.Generator, em: float) -> Knobs:
    return {"shade": (_uniform(rng, 0.35, 0.7), 1.0)}


def _many_faced(rng: np.random.Generator, em: float) -> Knobs:
    return {"faces": (2, 5), "unequal": (0.0, 0.2)}


def _lined(rng: np.random.Generator, em: float) -> Knobs:
    low, thick, ink = int(rng.integers(0, 5)), max(1, round(em / 16)), _uniform(rng, 0.2, 0.9)
    darkest = float(rng.choice([1.0, 1.0, 1.6]))
    knobs: Knobs = {"strokes": (low, low + int(rng.integers(1, 5))), "stroke_ink": (ink, darkest)}
    return knobs | {"stroke_width": (1, int(rng.integers(1, thick + 2)))}


def _dense(rng: np.random.Generator, em: float) -> Knobs:
    low, ink = int(rng.integers(8, 25)), _uniform(rng, 0.1, 0.4)
    return {"strokes": (low, low + 15), "stroke_ink": (ink, ink + 0.25)}


def _cut(rng: np.random.Generator, em: float) -> Knobs:
    return {"strokes": (1, int(rng.integers(1, 7))), "stroke_width": (1, max(1, round(em / 16))), "erase": True}


def _gridded(rng: np.random.Generator, em: float) -> Knobs:
    pitch, ink = int(rng.integers(5, 14)), _uniform(rng, 0.15, 0.6)
    return {"grid": (pitch, pitch + 4), "stroke_ink": (ink, ink + 0.2)}


def _dotted(rng: np.random.Generator, em: float) -> Knobs:
    side = int(rng.integers(1, max(2, round(em / 12))))
    share = _uniform(rng, 0.01, 0.12) / side
    return {"specks": (share / 2, share), "speck_size": (1, side), "erase": bool(rng.random() < 0.25)}


def _hollow(rng: np.random.Generator, em: float) -> Knobs:
    fill = float(rng.choice([0.0, 0.0, 0.3, -0.4]))
    knobs: Knobs = {"outline": (1, 1), "fill": (fill, fill), "gap": (0.0, 0.15), "bold": (0.0, 0.05)}
    return knobs | ({"paper": (0.5, 0.75)} if fill < 0 else {})


def _shadowed(rng: np.random.Generator, em: float) -> Knobs:
    if rng.random() < 0.4:
        return {"shadow": (_uniform(rng, -0.7, -0.4), -0.3), "paper": (0.5, 0.75), "ink": (140, 255)}
    return {"shadow": (0.15, _uniform(rng, 0.3, 0.7))}


def _embossed(rng: np.random.Generator, em: float) -> Knobs:
    return {"emboss": (0.6, 1.0), "bold": (0.0, 0.04), "paper": (0.5, 0.8), "ink": (200, 255)}


def _haloed(rng: np.random.Generator, em: float) -> Knobs:
    return {"halo": (0.03, _uniform(rng, 0.05, 0.15)), "gap": (0.05, 0.25), "ink": (180, 255)}


def _perforated(rng: np.random.Generator, em: float) -> Knobs:
    return {"perforated": (0.3, _uniform(rng, 0.4, 1.0)), "bold": (0.0, 0.05)}


def _split(rng: np.random.Generator, em: float) -> Knobs:
    return {"split": (0.04, _uniform(rng, 0.05, 0.2))}


def _inverted(rng: np.random.Generator, em: float) -> Knobs:
    return {"inverted": (2, int(rng.integers(3, 12))), "ink": (200, 255), "bold": (0.0, 0.04)}


def _pale(rng: np.random.Generator, em: float) -> Knobs:
    ink = int(rng.integers(50, 140))
    return {"ink": (ink, ink + 50)}


def _two_toned(rng: np.random.Generator, em: float) -> Knobs:
    return {"one_bit": True}


def _spotted(rng: np.random.Generator, em: float) -> Knobs:
    return {"texture": (0.1, _uniform(rng, 0.2, 0.5)), "grain_size": (2, 20)}


def _shaded(rng: np.random.Generator, em: float) -> Knobs:
    return {"gradient": (0.1, _uniform(rng, 0.2, 0.6)), "paper": (0.65, 1.0)}


def _patterned(rng: np.random.Generator, em: float) -> Knobs:
    return {"hatching": (0.05, _uniform(rng, 0.15, 0.4))}


def _shaped(rng: np.random.Generator, em: float) -> Knobs:
    return {"polygons": (1, int(rng.integers(2, 8)))}


def _lettered(rng: np.random.Generator, em: float) -> Knobs:
    return {"decoys": (3, int(rng.integers(5, 40))), "ink": (170, 255)}


def _noisy(rng: np.random.Generator, em: float) -> Knobs:
    return {"noise": (0.02, _uniform(rng, 0.05, 0.2))}


def _blurred(rng: np.random.Generator, em: float) -> Knobs:
    return {"blur": (0.1, _uniform(rng, 0.2, em / 28))}


def _enlarged(rng: np.random.Generator, em: float) -> Knobs:
    least = min(0.8, max(0.4, 10 / em))
    return {"scaled": (_uniform(rng, least, 0.8), 0.85)}


def _compressed(rng: np.random.Generator, em: float) -> Knobs:
    low = int(rng.integers(15, 70))
    return {"jpeg": (low, low + 20)}


Family = Callable[[np.random.Generator, float], Knobs]
# What families change, how many of a group a maker has at most, and with which probability it has each of these.
GROUPS: dict[str, tuple[int, float, dict[str, Family]]] = {
    "layout": (3, 0.55, {
        "crowded": _crowded, "turned": _turned, "bent": _bent, "slanted": _slanted, "coloured": _coloured,
        "many-faced": _many_faced, "split": _split, "spaced": _spaced,
    }),
    "clutter": (2, 0.5, {"lined": _lined, "dense": _dense, "cut": _cut, "gridded": _gridded, "dotted": _dotted}),
    "ink": (1, 0.35, {
        "hollow": _hollow, "shadowed": _shadowed, "embossed": _embossed, "pale": _pale, "two-toned": _two_toned,
        "haloed": _haloed, "perforated": _perforated,
    }),
    "paper": (1, 0.4, {"spotted": _spotted, "shaded": _shaded, "patterned": _patterned, "shaped": _shaped,
        "inverted": _inverted, "lettered": _lettered,
    }),
    "camera": (1, 0.5, {
        "noisy": _noisy, "blurred": _blurred, "enlarged": _enlarged, "compressed": _compressed,
    }),
}  # fmt: skip
FAMILIES: dict[str, Family] = {name: family for _, _, group in GROUPS.values() for name, family in group.items()}


def make(rng: np.random.Generator, family: str | None = None, left_out: Collection[str] = ()) -> Style:
    """Draws a maker; with `family` that one is among what it does, or it is the one that does as Kaptcha.

    The families that are `left_out` are never among it.
    """
    if family == KAPTCHA or (family is None and rng.random() < _KAPTCHAS):
        return _kaptcha(rng)
    characters, length = _alphabet(rng), int(_chosen(rng, _LENGTHS))  # type: ignore[call-overload]
    height = int(rng.integers(*_HEIGHTS[int(rng.random() < _LOW)]))
    size = max(9.0, height * _uniform(rng, 0.45, 1.25))
    margin = _uniform(rng, 0.03, 0.35)
    busy = min(1.0, _uniform(rng, 0.3, 1.2)) * (0.6 if height < _SMALL else 1.0)
    knobs: Knobs = {}
    for most, share, group in GROUPS.values():
        for name in rng.choice(list(group), int(rng.binomial(most, busy * share)), replace=False):
            knobs |= group[name](rng, size) if name not in left_out else {}
    if family:
        knobs |= FAMILIES[family](rng, size)
    pitch = knobs.get("pitch")
    room = _uniform(rng, 0.55, 1.1) * (max(1.0, *pitch) if isinstance(pitch, tuple) else 1.0) * size  # px a character
    width = int(np.clip(length * room * _uniform(rng, 1.05, 1.5), max(SMALLEST[1], height), LARGEST[1]))
    paper = _uniform(rng, 0.5, 1.0) if rng.random() < 0.4 else 1.0
    return Look(
        **{  # type: ignore[arg-type]
            "characters": characters,
            "length": (max(1, length - int(rng.random() < 0.2)), length),
            "fonts": _faces(rng, characters),
            "size": (max(9, int(0.85 * size)), int(size)),
            "margin": (0.01, margin),
            "gap": (_uniform(rng, -0.03, 0.05), _uniform(rng, 0.05, 0.3)),
            "bold": (0.0, _uniform(rng, 0.0, 0.03)),
            "glyph_width": (_uniform(rng, 0.8, 1.0), _uniform(rng, 1.0, 1.25)),
            "ink": (int(rng.integers(110, 230)), 255),
            "paper": (0.9 * paper, paper),
            "height": height,
            "width": width,
            "frame": (1, 1 + height // 40) if rng.random() < _FRAMED else (0, 0),
            "negative": bool(rng.random() < 0.25),
        }
        | knobs
    )


def _kaptcha(rng: np.random.Generator) -> Style:
    """A maker that uses Kaptcha with settings and fonts of its own, or with those that drew the Kaggle set."""
    if rng.random() < _KAGGLE:
        return kaggle.KAPTCHA
    characters, length = _alphabet(rng), int(rng.integers(4, 7))
    size, water, ripple = int(rng.integers(30, 43)), _uniform(rng, 0.5, 2.0), _uniform(rng, 0.5, 1.5)
    turned, room = _uniform(rng, 0, 15) * int(rng.integers(2)), 170 / (length * size)  # em a character
    narrow = min(_uniform(rng, 0.75, 1.1), room)  # most glyphs are narrower than an em
    return Style(
        characters=characters,
        length=(length, length),
        fonts=_faces(rng, characters)[:2],
        size=(size, size + 2),
        start=(2, 24 if length < 6 else 8),
        baseline=(37, 45),
        spacing=(-2, 4),
        glyph_width=(narrow, narrow + 0.2),
        weight=(0.0, 0.5),
        rotation=(-turned, turned),
        ink=(int(rng.integers(100, 255)), 255),
        lines=(0, int(rng.integers(1, 4))),
        dots=(0, int(rng.integers(1, 100))),
        water=(0.0, water),
        ripple=(0.0, ripple),
    )


def _alphabet(rng: np.random.Generator) -> str:
    characters = str(_chosen(rng, _ALPHABETS))
    if rng.random() < _WHOLE:
        return characters
    kept = [c for c in characters if rng.random() > 0.25]
    return "".join(kept) if len(kept) > 5 else characters


def _faces(rng: np.random.Generator, characters: str) -> tuple[Path, ...]:
    """Some faces that have two cases where the alphabet has."""
    faces = faces_for(bool(set(characters) & set(LOWER)))
    return tuple(faces[int(i)] for i in rng.choice(len(faces), int(rng.integers(1, 6)), replace=False))


@lru_cache
def faces_for(lower: bool) -> tuple[Path, ...]:
    """The faces that have all characters, as capitals or, with `lower`, as small letters that differ from these."""
    return tuple(face for face in all_faces() if not lower or has_two_cases(face))
