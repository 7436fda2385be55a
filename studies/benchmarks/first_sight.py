"""How much readers read of captchas that they never saw: `make first-sight SETS="folder folder ..."`.

Each folder is a set of labelled images. Readers are given nothing, or the set's alphabet and the length of each text.
Both cases of a letter count as one. Nothing is learnt from the sets.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import pandas as pd

from captcha_lib.config import RUN_DIR
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.load import load_data
from captcha_lib.files import progress, write_csv
from captcha_lib.reading.base import weights_path
from captcha_lib.reading.read import cached_reader, read
from captcha_lib.runs.results import machine, write_json
from studies.benchmarks.own import ask_peer
from studies.benchmarks.readers import PEERS_PYTHON
from studies.jobs import Job, run_jobs

OURS, PEERS = "captcha_lib, general", ("ddddocr", "ddddocr beta", "captcha-whisperer")
GIVEN = ("nothing", "alphabet and length")
COLUMNS = ["set", "given", "reader", "exact", "n"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("sets", nargs="+", help="folders of labelled images")
    parser.add_argument("--weights", default="general", help="of ours (%(default)s)")
    parser.add_argument("--peers", type=Path, default=PEERS_PYTHON, help="the Python with the others")
    parser.add_argument("--out", type=Path, default=RUN_DIR / "first-sight", help="for first_sight.csv and .json")
    options = parser.parse_args()
    table = read_sets(named_sets(options.sets), options.weights, options.peers, options.out)
    write_csv(options.out / "first_sight.csv", table)
    write_json(options.out / "first_sight.json", machine())
    print(summary(table).round(1).to_string())
    return 0


def read_sets(sets: dict[str, Path], weights: str, peers: Path, out: Path) -> pd.DataFrame:
    """One row a set, reader and what it is given: set, given, reader, exact, n; resumes."""
    work = {name: Job(read_set, (name, folder, weights, peers), {"set": name}) for name, folder in sets.items()}
    digest = hashlib.sha256(weights_path(weights).read_bytes()).hexdigest()[:8]
    found = run_jobs(out / "jobs", work, {"weights": digest, "peers": peers.exists()}, jobs=1)
    return pd.DataFrame([row for figures in found.values() for row in figures["rows"]], columns=COLUMNS)


def named_sets(folders: list[str]) -> dict[str, Path]:
    """Folders by their names, or where these are the same, as in kind/labelled, by those of the folders above."""
    paths = [Path(folder).absolute() for folder in folders]
    same = len({path.name for path in paths}) < len(paths)
    return {path.parent.name if same else path.name: path for path in paths}


def read_set(name: str, folder: Path, weights: str, peers: Path) -> dict:
    """The rows of one set."""
    captchas = load_data(str(folder), skip_bad=True)
    rows = []
    for reader in (OURS, *(PEERS if peers.exists() else ())):
        for given in GIVEN:
            texts = ours(captchas, weights, given) if reader == OURS else theirs(captchas, reader, given, peers)
            rows.append((name, given, reader, sum(right_folded(texts, captchas.labels)), len(captchas)))
    return {"rows": rows}


def right_folded(texts: list[str], labels: list[str]) -> list[bool]:
    """Which texts are their labels, both cases of a letter taken as one."""
    return [text.lower() == label.lower() for text, label in zip(texts, labels, strict=True)]


def ours(captchas: Captchas, weights: str, given: str) -> list[str]:
    """What `captcha_lib.read` reads."""
    if given == GIVEN[0]:
        return [reading.text for reading in read([*captchas.paths], weights)]
    known = "".join(c for c in captchas.alphabet.characters if c in cached_reader(weights).alphabet.characters)
    pairs = zip(captchas.paths, captchas.labels, strict=True)
    return [read(path, weights, len(label), known).text for path, label in progress([*pairs])]


def theirs(captchas: Captchas, reader: str, given: str, peers: Path) -> list[str]:
    """What another reader reads."""
    asked: dict = {"reader": reader, "files": [*map(str, captchas.paths)], "characters": None, "lengths": None}
    if given != GIVEN[0]:
        asked |= {"characters": captchas.alphabet.characters, "lengths": [len(label) for label in captchas.labels]}
    return ask_peer(asked, peers)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Exact match in %, a row a set, and the mean of the sets."""
    rates = table.assign(rate=100 * table["exact"] / table["n"])
    wide = rates.pivot_table(values="rate", index="set", columns=["given", "reader"])
    return pd.concat([wide, wide.mean().to_frame("mean").T])


if __name__ == "__main__":
    sys.exit(main())
