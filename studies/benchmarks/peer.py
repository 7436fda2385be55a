"""Another reader, in the environment of the peers: files in, texts out, by JSON.

In: {"reader": "ddddocr", "files": [...], "characters": "...", "lengths": [...]}; where nothing is to be known,
characters and lengths are null. Out: the texts.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from captcha_lib.alphabet import Alphabet
from captcha_lib.decode import spell
from studies.benchmarks.readers import ddddocr_plain_reader, ddddocr_scores, whisperer_plain_reader, whisperer_scores

PLAIN: dict[str, Callable[[], Callable[[bytes], str]]] = {
    "ddddocr": ddddocr_plain_reader,
    "ddddocr beta": lambda: ddddocr_plain_reader(beta=True),
    "captcha-whisperer": whisperer_plain_reader,
}
SCORES: dict[str, Callable[[Alphabet], Callable[[bytes], np.ndarray]]] = {
    "ddddocr": ddddocr_scores,
    "ddddocr beta": lambda alphabet: ddddocr_scores(alphabet, beta=True),
    "captcha-whisperer": whisperer_scores,
}


def texts(asked: dict) -> list[str]:
    """What a reader reads; a text of no length that its time steps could spell is read as nothing."""
    raws = [Path(file).read_bytes() for file in asked["files"]]
    if asked["characters"] is None:
        return [*map(PLAIN[asked["reader"]](), raws)]
    alphabet = Alphabet(asked["characters"])
    scores = SCORES[asked["reader"]](alphabet)
    found = [(scores(raw), length) for raw, length in zip(raws, asked["lengths"], strict=True)]
    return [spell(one[None], alphabet, length)[0] if len(one) >= length else "" for one, length in found]


if __name__ == "__main__":
    json.dump(texts(json.load(sys.stdin)), sys.stdout)
