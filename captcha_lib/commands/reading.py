"""The commands that use weights: predict, export."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from captcha_lib.commands.options import add_command, add_machine, add_reading, fraction, report
from captcha_lib.commands.training import load_reader
from captcha_lib.config import RUN_DIR, printable
from captcha_lib.files import replacing


def add_commands(commands: Any) -> None:
    """Adds these commands to the parser of all commands."""
    command = add_command(commands, "predict", predict, "read images: file, text, confidence")
    command.add_argument("images", nargs="+", metavar="IMAGE|FOLDER", help="image files, or folders of them")
    add_machine(command)
    add_reading(command, "kaggle")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="a JSON list of objects")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="CSV: file,text,confidence")
    command.add_argument("--min-confidence", type=fraction, default=0.0, help="withhold less sure texts (%(default)s)")
    command.add_argument("--out", type=Path, help="write to this file instead of the terminal")
    command.set_defaults(form="table")

    command = add_command(commands, "export", export, "write weights as ONNX")
    command.add_argument("--weights", type=Path, default=RUN_DIR / "weight.pth", help="(%(default)s)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "captcha.onnx", help="(%(default)s)")


def predict(options: argparse.Namespace) -> int:
    from captcha_lib.reading.predict import FORMS, image_files, read_files

    files = image_files(map(Path, options.images))
    reader = load_reader(options)
    counts: Counter[str] = Counter()
    found = read_files(files, reader, options.length, options.alphabet, options.form == "json")
    rows = _reported(found, counts, options.min_confidence)
    wide = max(len(printable(str(file.path))) for file in files) if options.form == "table" else 0
    text = FORMS[options.form](rows, wide)
    if options.out:
        with (
            replacing(options.out) as part,
            part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out,
        ):
            out.writelines(text)
    else:
        sys.stdout.writelines(text)
    height, width = reader.image_size
    for what, said in {
        "cut": "images had margins, which were left out.",
        "resized": f"images had another size and were resized to {width} x {height} px.",
        "withheld": f"texts withheld: their confidence is below {options.min_confidence}.",
        "bad": "files could not be read; each is named above.",
    }.items():
        if counts[what]:
            report(f"{counts[what]} of {len(files)} {said}", sys.stderr)
    return 1 if counts["bad"] else 0


def export(options: argparse.Namespace) -> None:
    from captcha_lib.data.sizes import fit_images
    from captcha_lib.generator.draw import generate_captchas
    from captcha_lib.metrics import count_exact
    from captcha_lib.reading.export import export_onnx
    from captcha_lib.reading.onnx_reader import OnnxReader
    from captcha_lib.reading.torch_reader import TorchReader

    reader = TorchReader.load(options.weights)
    export_onnx(reader, options.out)
    _, drawn = generate_captchas(32, seed=0)
    images = fit_images(list(drawn[:, 0].numpy()), reader.image_size)
    same = count_exact(*(one.spell(one.logits(images)) for one in (reader, OnnxReader.load(options.out))))
    print(
        f"{options.weights} exported to {options.out}; ONNX Runtime and torch agree on {same} of {len(images)} captchas"
    )


def _reported(rows: Iterable[dict], counts: Counter[str], min_confidence: float) -> Iterator[dict]:
    """The rows of files that could be read, without the texts that are less sure; the others are reported at once."""
    for row in rows:
        if row["error"] is not None:
            counts["bad"] += 1
            report(row["error"], sys.stderr)
            continue
        withheld = row["confidence"] < min_confidence
        counts.update(resized=int(row["resized"]), cut=int(bool(row["note"])), withheld=int(withheld))
        yield {**row, "text": None, "characters": []} if withheld else row
