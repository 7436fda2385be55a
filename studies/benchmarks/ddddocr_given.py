"""ddddocr with the alphabet and the length of each text given, in the environment of the peers.

JSON in: {"characters": "...", "files": [...], "lengths": [...]}. JSON out: the texts.
"""

import json
import sys
from pathlib import Path

from captcha_lib.alphabet import Alphabet
from captcha_lib.decode import spell
from studies.benchmarks.readers import ddddocr_scores

asked = json.load(sys.stdin)
alphabet = Alphabet(asked["characters"])
scores = ddddocr_scores(alphabet)
pairs = zip(asked["files"], asked["lengths"], strict=True)
json.dump([spell(scores(Path(file).read_bytes())[None], alphabet, n)[0] for file, n in pairs], sys.stdout)
