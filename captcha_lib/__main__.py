"""The same steps from a shell: `python -m captcha_lib train`, `predict` and the others."""

import argparse
import os
import string
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from captcha_lib.cli import (
    GOES_ON,
    add_command,
    add_data,
    add_machine,
    add_source,
    count,
    lengths,
    load,
    load_split,
    prepare_machine,
    report,
    share,
    size,
)
from captcha_lib.config import REFERENCE_DIR, RUN_DIR, Config, InputError, printable
from captcha_lib.files import check_writable, replacing, write_csv
from captcha_lib.studies import add_studies

WEIGHTS = "weight.pth"
DRAWN_SPLIT = "drawn_split.csv"  # not split.csv, which is the one that the weights beside it were trained with
MAX_SEED = 2**32
STREAM_EPOCH, MOST_EPOCHS = 5000, 200  # captchas an epoch of a stream, where there are enough of them
LEAST_FOR_CURVE = 40  # training images; a quarter of fewer teaches nothing


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 1 where some of the images could not be read, 2 after bad input."""
    options = build_parser().parse_args(arguments)
    try:
        _check_seed(options)
        return options.command(options) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads the output has seen enough, as in "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # such as a full disk behind "> file"
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {options.again}", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options. Nothing heavy is imported for it: `--help` answers at once."""
    parser = argparse.ArgumentParser(prog="python -m captcha_lib", description="Learn and read text captchas.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = add_command(commands, "generate", generate, "draw labelled captchas into a folder")
    command.add_argument("--count", type=count, default=1070, help="how many (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="same seed, same captchas (%(default)s)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "captchas", help="a new folder (output/run/captchas)")

    command = add_command(commands, "sample", sample, "draw captchas with lepture's generator, unlike ours")
    command.add_argument("--count", type=count, default=1000, help="how many (%(default)s)")
    command.add_argument("--characters", default=string.digits, help="(%(default)s)")
    command.add_argument("--length", type=lengths, default=(4, 4), help="such as 4, or 4-6 (4)")
    command.add_argument("--size", type=size, default=(60, 160), help="WIDTHxHEIGHT in px (160x60)")
    command.add_argument("--seed", type=int, default=0, help="same seed, same captchas (%(default)s)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "samples", help="a new folder (output/run/samples)")

    command = add_command(commands, "split", split, "write which image is for training, validation and test")
    add_data(command)
    command.add_argument("--out", type=Path, default=RUN_DIR / DRAWN_SPLIT, help="a CSV (output/run/drawn_split.csv)")
    command.add_argument("--layout", type=Path, help="also copy the images into train/ val/ test/ in this new folder")

    command = add_command(
        commands, "train", train, "train on labelled images, then read the test images", GOES_ON + " with --resume"
    )
    add_data(command)
    add_machine(command)
    command.add_argument("--out", type=Path, default=RUN_DIR, help="folder of the results (output/run)")
    command.add_argument("--alphabet", help="the characters to learn (those of the labels)")
    command.add_argument("--size", type=size, help="WIDTHxHEIGHT in px to read at (what suits images and labels)")
    command.add_argument("--epochs", type=count, help="passes over the images (by their number)")
    command.add_argument("--warps", type=share, help="strength of the random warps, 0 to 1 (by the images' number)")
    command.add_argument("--start", metavar="WHERE", help="general, none, or weights to go on from (by the number)")
    command.add_argument(
        "--curve",
        action=argparse.BooleanOptionalAction,
        help="train on a quarter and a half, too, and say what more images would bring (where there are few)",
    )
    command.add_argument("--n", type=count, help="train on so many generated captchas, drawn as they are needed")
    command.add_argument("--resume", action="store_true", help="go on with an interrupted run in --out")

    command = add_command(
        commands, "bench", bench, "train with several seeds and tabulate them; resumes in --out", GOES_ON
    )
    add_source(command)
    command.add_argument("--seeds", type=count, default=5, help="how many: 0, 1, 2, ... (%(default)s)")
    command.add_argument("--own-splits", action="store_true", help="each seed draws its split (the official one)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "bench", help="folder of the runs (output/run/bench)")
    add_machine(command)

    add_studies(commands)

    command = add_command(commands, "evaluate", evaluate, "score weights on labelled images")
    add_data(command)
    add_machine(command)
    _add_reading(command, RUN_DIR / WEIGHTS, "output/run/weight.pth")
    command.add_argument("--subset", choices=("train", "val", "test", "all"), default="test", help="(%(default)s)")
    command.add_argument("--out", type=Path, help="also write the predictions to this CSV")

    command = add_command(commands, "predict", predict, "read images: file, text, confidence")
    command.add_argument("images", nargs="+", metavar="IMAGE|FOLDER", help="image files, or folders of them")
    add_machine(command)
    _add_reading(command, REFERENCE_DIR / WEIGHTS, "output/reference/weight.pth")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="a JSON list of objects")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="CSV: file,text,confidence")
    command.add_argument("--min-confidence", type=share, default=0.0, help="withhold less sure texts (%(default)s)")
    command.add_argument("--out", type=Path, help="write to this file instead of the terminal")
    command.set_defaults(form="table")

    command = add_command(commands, "demo", demo, "serve a page on this machine that reads uploaded images")
    command.add_argument("--weights", type=Path, default=REFERENCE_DIR / WEIGHTS, help="(output/reference/weight.pth)")
    command.add_argument("--examples", type=Path, help="a folder of images to click at (some are drawn)")
    command.add_argument("--port", type=count, default=7860, help="(%(default)s)")

    command = add_command(commands, "export", export, "write weights as ONNX")
    command.add_argument("--weights", type=Path, default=REFERENCE_DIR / WEIGHTS, help="(output/reference/weight.pth)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "captcha.onnx", help="(output/run/captcha.onnx)")
    return parser


def generate(options: argparse.Namespace) -> None:
    from captcha_lib.data import write_captchas
    from captcha_lib.generate import generate_captchas

    texts, images = generate_captchas(options.count, options.seed)
    write_captchas(texts, images, options.out)
    print(f"{len(texts):,} captchas of seed {options.seed} in {options.out}")


def sample(options: argparse.Namespace) -> None:
    from captcha_lib.sample import write_samples

    write_samples(options.out, options.count, options.characters, options.length, options.seed, options.size)
    print(f"{options.count:,} captchas of seed {options.seed} in {options.out}")


def split(options: argparse.Namespace) -> None:
    from captcha_lib.split import write_layout, write_split

    captchas = load_split(options)
    if options.layout:
        check_writable(options.out)
        write_layout(captchas, options.layout)
        print(f"images copied to {options.layout}")
    write_split(captchas.manifest, options.out)
    print(f"written to {options.out}")


def train(options: argparse.Namespace) -> None:
    from captcha_lib.share import joined

    device = prepare_machine(options)
    with joined(device) as device:
        _train(options, device)


def _train(options: argparse.Namespace, device: str) -> None:
    from captcha_lib.alphabet import Alphabet
    from captcha_lib.general import prepare
    from captcha_lib.metrics import describe, score
    from captcha_lib.plan import ENOUGH, plan_table, show
    from captcha_lib.share import leader_first, sole_run
    from captcha_lib.train import run

    alphabet = Alphabet(options.alphabet) if options.alphabet is not None else None
    with leader_first():
        captchas = load_split(options, alphabet, options.size)
    alphabet = alphabet or Alphabet.of(captchas.labels)
    images = len(captchas.subset("train"))
    config, start, said = prepare(captchas, alphabet, options.seed or 0, options.start)
    config, stream = replace(config, **_chosen(options)), None
    if options.n:
        config, stream = _stream(options, captchas, config)
        captchas = replace(captchas, notes=[*captchas.notes, f"trained on a stream of {options.n:,} captchas."])
    table = plan_table(captchas, alphabet, config, said, stream.per_epoch if stream else 0)
    report(show(table))
    with sole_run(options.out):
        reader, _, predictions = run(
            captchas, alphabet, config, options.out, options.resume, device, report, stream, start
        )
        if predictions is None:
            return
        write_csv(options.out / "plan.csv", table)
        report("test: " + describe(score(predictions)))
        report(f"results in {options.out}")
        few = LEAST_FOR_CURVE <= images < ENOUGH and not options.n
        if few if options.curve is None else options.curve:
            _report_curve(options, captchas, reader, start)


def _chosen(options: argparse.Namespace) -> dict:
    """The hyperparameters that the options name."""
    chosen = {"epochs": options.epochs, "augment_strength": options.warps}
    return {name: value for name, value in chosen.items() if value is not None}


def _report_curve(options: argparse.Namespace, captchas, reader, start) -> None:
    from captcha_lib.expect import describe, learning_curve
    from captcha_lib.plan import plan
    from captcha_lib.plots import plot_growth

    report("what would more images bring? training on a quarter and a half of them")
    chosen = _chosen(options) | {"seed": options.seed or 0}
    table = learning_curve(
        captchas, reader.alphabet, lambda n: replace(plan(n, start is not None), **chosen), reader, start
    )
    write_csv(options.out / "learning_curve.csv", table)
    with replacing(options.out / "learning_curve.png") as part:
        plot_growth(table).savefig(part, dpi=150)
    report(describe(table))


def _stream(options: argparse.Namespace, captchas, config: Config):
    """The stream that --n asks for, and the hyperparameters to train on it with."""
    from captcha_lib.config import data_choice
    from captcha_lib.feed import Stream

    if data_choice(options.data) != "generated":
        raise InputError("--n: captchas are drawn for the generated data only; give --data generated, or leave out --n")
    epochs = options.epochs or max(config.epochs, min(options.n // STREAM_EPOCH, MOST_EPOCHS))
    read = [label for name in ("val", "test") for label in captchas.subset(name).labels]
    stream = Stream(-(-options.n // epochs), seed=config.seed, without=frozenset(read))
    return replace(config, epochs=epochs), stream


def bench(options: argparse.Namespace) -> None:
    from captcha_lib.alphabet import Alphabet
    from captcha_lib.general import prepare
    from captcha_lib.results import seeds_table
    from captcha_lib.split import split_captchas
    from captcha_lib.train import run

    device = prepare_machine(options)
    captchas = load(options)
    alphabet = Alphabet.of(captchas.labels)
    folders = [options.out / f"seed-{seed}" for seed in range(options.seeds)]
    for seed, folder in enumerate(folders):
        of_seed = split_captchas(captchas, None if options.own_splits else "official", seed)
        report(f"seed {seed}. {of_seed.summary()}")
        config, start, _ = prepare(of_seed, alphabet, seed)
        run(of_seed, alphabet, config, folder, resume=True, device=device, report=report, start=start)
    table = seeds_table(folders)
    write_csv(options.out / "seeds.csv", table)
    print(table.to_string(index=False))
    rate = table["exact"] / table["n"]
    print(
        f"exact match: mean {rate.mean():.2%}, lowest {rate.min():.2%}, highest {rate.max():.2%} over {len(rate)} seeds"
    )


def evaluate(options: argparse.Namespace) -> None:
    from captcha_lib.metrics import describe, predictions_table, score

    reader = _load_reader(options)
    if options.subset == "all":
        captchas = load(options, reader.alphabet, reader.image_size)
        print(captchas.summary())
    else:
        beside = options.weights.parent / "split.csv"  # the split that these weights were trained with
        if options.split is None and options.seed is None and beside.exists():
            options.split = beside
        captchas = load_split(options, reader.alphabet, reader.image_size).subset(options.subset)
    predictions = predictions_table(captchas, reader.read(captchas.images, options.length, options.alphabet))
    if options.out:
        write_csv(options.out, predictions)
    print(f"{options.subset}: {describe(score(predictions))}")


def predict(options: argparse.Namespace) -> int:
    from captcha_lib.predict import FORMS, image_files, journal_of, read_files

    files = image_files(map(Path, options.images))
    reader = _load_reader(options)
    asked = options.length, options.alphabet
    journal = None
    if options.out:
        journal, options.again = journal_of(options.out, options.weights, *asked), GOES_ON
    counts = Counter()
    rows = _reported(read_files(files, reader, *asked, journal), counts, options.min_confidence)
    text = FORMS[options.form](rows, max(len(printable(str(file.path))) for file in files))
    if options.out:
        with (
            replacing(options.out) as part,
            part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out,
        ):
            out.writelines(text)
        journal.unlink(missing_ok=True)
    else:
        sys.stdout.writelines(text)
    height, width = reader.image_size
    for what, said in {
        "resized": f"images had another size and were resized to {width} x {height} px.",
        "withheld": f"texts withheld: their confidence is below {options.min_confidence}.",
        "bad": "files could not be read; each is named above.",
    }.items():
        if counts[what]:
            report(f"{counts[what]} of {len(files)} {said}", sys.stderr)
    return 1 if counts["bad"] else 0


def _reported(rows: Iterable[dict], counts: Counter, min_confidence: float) -> Iterator[dict]:
    """The rows of files that could be read, without the texts that are less sure; the others are named at once."""
    for row in rows:
        if row["error"] is not None:
            counts["bad"] += 1
            report(row["error"], sys.stderr)
            continue
        withheld = row["confidence"] < min_confidence
        counts["resized"] += row["resized"]
        counts["withheld"] += withheld
        yield row | {"text": None} if withheld else row


def demo(options: argparse.Namespace) -> None:
    from captcha_lib.demo import serve

    serve(options.weights, options.port, options.examples)


def export(options: argparse.Namespace) -> None:
    from captcha_lib.generate import generate_captchas
    from captcha_lib.images import fit_images
    from captcha_lib.onnx_reader import OnnxReader
    from captcha_lib.reader import Reader, export_onnx

    reader = Reader.load(options.weights)
    export_onnx(reader, options.out)
    _, drawn = generate_captchas(32, seed=0)
    images = fit_images(list(drawn[:, 0].numpy()), reader.image_size)
    torch_reads, onnx_reads = (one.spell(one.logits(images)) for one in (reader, OnnxReader.load(options.out)))
    same = sum(a == b for a, b in zip(torch_reads, onnx_reads, strict=True))
    print(
        f"{options.weights} exported to {options.out}; ONNX Runtime and torch agree on {same} of {len(images)} captchas"
    )


def _add_reading(command: argparse.ArgumentParser, weights: Path, shown: str) -> None:
    command.add_argument("--weights", type=Path, default=weights, help=f"({shown})")
    command.add_argument("--length", type=int, help="characters of each text, 0 for any (that of the training labels)")
    command.add_argument("--alphabet", help="the characters that may occur (all that the weights know)")


def _check_seed(options: argparse.Namespace) -> None:
    seed = getattr(options, "seed", None)
    if seed is not None and not 0 <= seed < MAX_SEED:
        raise InputError(f"seed {seed}: give 0 or more, and less than {MAX_SEED:,}")


def _load_reader(options: argparse.Namespace):
    from captcha_lib.reading import load_reader

    if options.weights.suffix == ".onnx":  # without torch
        return load_reader(options.weights, threads=options.threads or 1)
    return load_reader(options.weights, prepare_machine(options))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold bytes that are no text
    sys.exit(main())
