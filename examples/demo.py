"""A page to try a reader in a browser: a picture in; its text, confidence, alternatives and alignment out (gradio).

python examples/demo.py --weights output/run/weight.pth
"""

import argparse
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from captcha_lib.config import InputError, missing_extra
from captcha_lib.data.folders import find_images
from captcha_lib.data.pixels import pixels
from captcha_lib.decode import Reading, align
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.plots import plot_alignment
from captcha_lib.reading.read import cached_reader, read, views

EXAMPLES, OTHERS = 6, 3
LAUNCH = {"server_name": "127.0.0.1", "show_error": True}  # on this machine alone; says what is wrong with a file
Row = tuple[str, str]


def read_page(picture: str | None, weights: str | Path) -> tuple[str, str, list[Row], Figure | None]:
    """What the page shows of an uploaded file.

    Args:
        picture: the path of an image file; None where there is none.
        weights: "kaggle", or a weights file.

    Returns:
        the text, the confidence in words, the alternatives as rows (text, probability), and the alignment.
    """
    if picture is None:
        return "", "", [], None
    reading = read(picture, weights, others=OTHERS)
    others = [(other.text, f"{other.confidence:.4f}") for other in reading.alternatives]
    return reading.text, f"{reading.confidence:.2%}", others, _draw_alignment(picture, reading, weights)


def build_page(weights: str | Path, examples: list[str]):
    """The page, not yet served.

    Args:
        weights: "kaggle", or a weights file, torch or ONNX.
        examples: paths of pictures to click at.

    Raises:
        InputError: the extra `demo` is not installed, or weights that cannot be used.
    """
    try:
        import gradio
    except ImportError:
        raise missing_extra("gradio") from None
    reader = cached_reader(weights)
    matplotlib.use("agg")  # gradio draws in threads, where no window can open

    def answer(picture: str | None):
        try:
            return read_page(picture, weights)
        except InputError as error:
            raise gradio.Error(str(error)) from None

    length = f"{reader.length} characters" if reader.length else "texts of several lengths"
    with gradio.Blocks(title="captcha_lib", analytics_enabled=False) as page:
        gradio.Markdown(f"# captcha_lib\n\nReads {length} of `{reader.alphabet.characters}` with `{weights}`.")
        with gradio.Row():
            with gradio.Column():
                picture = gradio.Image(type="filepath", label="captcha", sources=["upload", "clipboard"])
                gradio.Examples(examples, picture, label="examples")
            with gradio.Column():
                text = gradio.Textbox(label="text")
                confidence = gradio.Textbox(label="confidence")
                others = gradio.Dataframe(headers=["text", "probability"], label="alternatives", interactive=False)
                alignment = gradio.Plot(label="alignment", show_label=False)  # it would cover the picture
        picture.change(answer, picture, [text, confidence, others, alignment])
    return page


def serve(weights: str | Path, port: int, examples: Path | None = None) -> None:
    """Serves the page on this machine alone, until it is interrupted.

    Args:
        weights: "kaggle", or a weights file.
        port: where.
        examples: a folder of pictures to click at; None draws some.
    """
    with tempfile.TemporaryDirectory() as folder:
        shown = list(find_images(examples))[:EXAMPLES] if examples else _draw_examples(Path(folder))
        page = build_page(weights, [str(path) for path in shown])
        page.launch(server_port=port, allowed_paths=[str(path.parent) for path in shown], **LAUNCH)


def _draw_examples(folder: Path) -> list[Path]:
    texts, images = generate_captchas(EXAMPLES, seed=2026)
    paths = [folder / f"{text}.png" for text in texts]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[0].numpy()).save(path)
    return paths


def _draw_alignment(picture: str, reading: Reading, weights: str | Path) -> Figure | None:
    """The picture, with where on it each character was seen; None for a reading without characters."""
    if not reading.text:
        return None
    reader = cached_reader(weights)
    shown = views(pixels(picture, conversion=reader.conversion), reader)
    image = next(view.image for view in shown if view.note == reading.note)  # (H, W)
    logits = np.asarray(reader.logits(image[None, None]))[0]  # (T, K)
    spans = align(logits, reading.text, reader.alphabet)
    return plot_alignment(torch.from_numpy(image)[None], spans, steps=len(logits))


def main() -> int:
    description = "Serve a page on this machine that reads uploaded images."
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--weights", default="kaggle", help="kaggle, or a weights file, torch or .onnx (%(default)s)")
    parser.add_argument("--examples", type=Path, help="a folder of images to click at (some are drawn)")
    parser.add_argument("--port", type=int, default=7860, help="(%(default)s)")
    options = parser.parse_args()
    try:
        serve(options.weights, options.port, options.examples)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
