"""The faces that the studies draw with, and the style that varies everything."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from captcha_lib.config import InputError
from captcha_lib.generator.style import DEJAVU, Style

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


def matplotlib_fonts() -> tuple[Path, ...]:
    """Ten faces that are always there."""
    return tuple(DEJAVU.with_name(name) for name in _MATPLOTLIB_FACES)


def free_fonts() -> tuple[Path, ...]:
    """The bold sans faces of the extra "fonts".

    Raises:
        InputError: the extra is not installed.
    """
    return tuple(_locate(package, name) for package, names in FREE_FACES.items() for name in names)


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
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise InputError(
            f"font {name}: the package {package} is not installed; pip install 'captcha_lib[fonts]'"
        ) from None
    for file in files:
        if file.name == name:
            return Path(file.locate())
    raise InputError(f"font {name}: the package {package} does not hold it; pip install -U 'captcha_lib[fonts]'")
