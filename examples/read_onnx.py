"""Reads captchas without torch: python read_onnx.py captcha.onnx image.png ...

Of captcha_lib it takes the way from a picture to grey pixels alone, so that it sees what `predict` sees.
`captcha-lib export` writes the .onnx file; captcha_lib/weights/ holds one.
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image

from captcha_lib import pixels


def spell(scores: np.ndarray, alphabet: str, length: int) -> str:
    """The text of the likeliest path through scores (T, K) that spells `length` characters; 0 stands for any number."""
    if not length:
        path = scores.argmax(1).tolist()
        return "".join(alphabet[k - 1] for k, before in zip(path, [0, *path], strict=False) if k not in (0, before))
    paths = {(0, 0): (0.0, "")}  # (characters so far, class of the last step) -> (score, text); class 0 is the blank
    for frame in scores.tolist():
        longer: dict[tuple[int, int], tuple[float, str]] = {}
        for (count, last), (score, text) in paths.items():
            for k, more in enumerate(frame):
                new = k not in (0, last)
                if count + new <= length:
                    path = (score + more, text + alphabet[k - 1] if new else text)
                    longer[count + new, k] = max(longer.get((count + new, k), path), path)
        paths = longer
    return max(path for (count, _), path in paths.items() if count == length)[1]


if __name__ == "__main__":
    weights, *files = sys.argv[1:]
    session = onnxruntime.InferenceSession(weights)
    facts = session.get_modelmeta().custom_metadata_map
    size = int(facts["width"]), int(facts["height"])
    for file in files:
        seen = pixels(file, conversion=facts.get("conversion", "grey"))
        grey = np.asarray(Image.fromarray(seen).resize(size, Image.Resampling.BILINEAR))
        (scores,) = session.run(["logits"], {"images": grey[None, None]})  # (1, T, K)
        print(file, spell(scores[0], facts["alphabet"], int(facts["length"])))
