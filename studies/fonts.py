"""The faces that the studies draw with, and the style that varies everything."""

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from PIL import Image

from captcha_lib.config import InputError
from captcha_lib.generator.style import DEJAVU, Style
from studies.makers.layout import glyph_cell

# Faces that come with matplotlib: sans and serif, upright and slanted, two of equal widths.
_MATPLOTLIB_FACES = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf", "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf", "DejaVuSans-Oblique.ttf", "STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf",
)  # fmt: skip

# Bold sans faces of the extra "fonts", all under the Apache licence or the SIL Open Font License: package -> its files.
FREE_FACES = {
    "ttf-opensans": ("OpenSans-SemiBold.ttf", "OpenSans-Bold.ttf", "OpenSans-ExtraBold.ttf"),
    "font-source-sans-pro": ("SourceSansPro-Semibold.ttf", "SourceSansPro-Bold.ttf", "SourceSansPro-Black.ttf"),
    "font-roboto": ("Roboto-Medium.ttf", "Roboto-Bold.ttf", "Roboto-Black.ttf"),
    "font-lato": ("Lato-Bold.ttf", "Lato-Black.ttf"),
    "fontpkg-fira-sans": ("FiraSans-SemiBold.ttf", "FiraSans-Bold.ttf", "FiraSans-ExtraBold.ttf"),
    "fontpkg-pt-sans": ("PT_Sans-Web-Bold.ttf",),
}


# Packages of the extra "faces", all whose files are taken: sans, serif and slab, mono, condensed, display, handwritten.
# Under the SIL Open Font License or the Apache licence; LICENCES.md lists them.
FACES = (
    "fontpkg-abril-fatface", "fontpkg-acme", "fontpkg-alegreya-sans", "fontpkg-alfa-slab-one", "fontpkg-anton",
    "fontpkg-archivo-black", "fontpkg-arimo", "fontpkg-arvo", "fontpkg-bebas-neue", "fontpkg-black-ops-one",
    "fontpkg-bungee", "fontpkg-caveat", "fontpkg-chakra-petch", "fontpkg-comfortaa", "fontpkg-crimson-text",
    "fontpkg-delius", "fontpkg-dm-mono", "fontpkg-fira-code", "fontpkg-fira-sans", "fontpkg-fredoka",
    "fontpkg-ibm-plex-mono", "fontpkg-ibm-plex-serif", "fontpkg-inconsolata", "fontpkg-indie-flower", "fontpkg-kalam",
    "fontpkg-kanit", "fontpkg-libre-baskerville", "fontpkg-lobster", "fontpkg-lobster-two", "fontpkg-noto-sans",
    "fontpkg-noto-serif", "fontpkg-orbitron", "fontpkg-oxygen", "fontpkg-pacifico", "fontpkg-permanent-marker",
    "fontpkg-play", "fontpkg-playfair-display", "fontpkg-poppins", "fontpkg-press-start-2p", "fontpkg-pt-sans",
    "fontpkg-pt-serif", "fontpkg-righteous", "fontpkg-roboto-mono", "fontpkg-roboto-slab", "fontpkg-rowdies",
    "fontpkg-rubik", "fontpkg-satisfy", "fontpkg-shadows-into-light", "fontpkg-share-tech", "fontpkg-space-mono",
    "fontpkg-spectral", "fontpkg-titillium-web", "fontpkg-viga", "fontpkg-zilla-slab", "font-caladea",
)  # fmt: skip
_THIN = 0.035  # em; strokes of less are hardly seen at the sizes of captchas
_SAME_SHAPE = 0.9  # correlation from which a small letter is the capital one made smaller


def matplotlib_fonts() -> tuple[Path, ...]:
    """Ten faces that are always there."""
    return tuple(DEJAVU.with_name(name) for name in _MATPLOTLIB_FACES)


def free_fonts() -> tuple[Path, ...]:
    """The bold sans faces of the extra "fonts".

    Raises:
        InputError: the extra is not installed.
    """
    return tuple(_locate(package, name) for package, names in FREE_FACES.items() for name in names)


@cache
def all_faces() -> tuple[Path, ...]:
    """The faces of the extras "faces" and "fonts" and of matplotlib that have Latin letters, digits and usual signs.

    Raises:
        InputError: the extra is not installed.
    """
    found = [path for package in FACES for path in _files(package)]
    found += [*matplotlib_fonts(), *free_fonts()]
    by_name = {path.name: path for path in found if _suits(path)}
    return tuple(by_name[name] for name in sorted(by_name))


@cache
def has_two_cases(font: Path) -> bool:
    """Whether small letters are more than capitals made smaller."""
    pairs = [(_shape(upper, font), _shape(lower, font)) for upper, lower in ("Aa", "Ee", "Gg", "Rr", "Tt")]
    return sum(float((one * other).mean()) < _SAME_SHAPE for one, other in pairs) >= 4


def _suits(font: Path) -> bool:
    """Whether a face has all the characters, and strokes that are seen."""
    try:
        shapes = [glyph_cell(char, font) for char in "Il1HoO0@#$%&+-=?!*"]
    except InputError:
        return False
    (ink, *_), *_ = shapes  # of a stem
    return float((ink > 127).sum(1).mean()) / 48 >= _THIN and "Thin" not in font.name


def _shape(char: str, font: Path) -> np.ndarray:
    """A glyph stretched to a square, of mean 0 and variance 1."""
    square = np.asarray(Image.fromarray(glyph_cell(char, font)[0]).resize((24, 24)), float)
    return (square - square.mean()) / max(float(square.std()), 1.0)


def varied_style(fonts: tuple[Path, ...]) -> Style:
    """Kaptcha with everything varied that its users could not know of another's captchas: for learning without labels.

    The ranges were set by looking at unlabelled pictures, not by what a network then read.
    """
    return Style(
        fonts=fonts,
        size=(37, 42),
        start=(24, 32),
        baseline=(40, 44),
        spacing=(0, 2),
        glyph_width=(0.8, 1.2),
        evenness=(0.0, 1.0),
        weight=(0.0, 0.5),
        water=(1.0, 2.0),
        ripple=(0.8, 1.2),
    )


def _locate(package: str, name: str) -> Path:
    for path in _files(package):
        if path.name == name:
            return path
    raise InputError(f"font {name}: the package {package} does not hold it; pip install -U 'captcha_lib[fonts]'")


def _files(package: str) -> list[Path]:
    """The fonts that a package holds."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        extra = "fonts" if package in FREE_FACES else "faces"
        raise InputError(f"the package {package} is not installed; pip install 'captcha_lib[{extra}]'") from None
    return [Path(str(file.locate())) for file in files if file.suffix in (".ttf", ".otf")]
