"""The commands that need no labels, or few: sample, stream, zero, labels, protect, pretrain, self-taught, left-out."""

import argparse
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

from captcha_lib.commands.options import (
    CONTINUE,
    add_command,
    add_data,
    add_machine,
    add_source,
    count,
    load,
    load_split,
    prepare_machine,
    report,
    size,
)
from captcha_lib.config import RUN_DIR, InputError, data_choice
from captcha_lib.files import check_writable, replacing, write_csv


def add_commands(commands: Any) -> None:
    """Adds these commands to the parser of all commands."""
    command = add_command(commands, "sample", sample, "draw captchas with the package captcha, unlike ours")
    command.add_argument("--count", type=count, default=1000, help="how many (%(default)s)")
    command.add_argument("--characters", default=string.digits, help="(%(default)s)")
    command.add_argument("--length", type=lengths, default=(4, 4), help="such as 4, or 4-6 (4)")
    command.add_argument("--size", type=size, default=(60, 160), help="WIDTHxHEIGHT in px (160x60)")
    command.add_argument("--seed", type=int, default=0, help="same seed, same captchas (%(default)s)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "samples", help="a new folder (%(default)s)")

    command = add_command(
        commands,
        "stream",
        stream,
        "train on generated captchas that are drawn as they are needed, then read the test images",
        CONTINUE + " with --resume",
    )
    add_data(command)
    add_machine(command)
    command.add_argument("--n", type=count, default=1_000_000, help="captchas in all (%(default)s)")
    command.add_argument("--epochs", type=count, help="that they are divided into (by their number)")
    command.add_argument("--resume", action="store_true", help="continue an interrupted run in --out")
    command.add_argument("--out", type=Path, default=RUN_DIR / "stream", help="folder of the results (%(default)s)")

    command = add_command(
        commands,
        "zero",
        zero,
        "read all images with networks that never saw a label; needs the extra 'fonts'; resumes",
        CONTINUE,
    )
    add_source(command)
    command.add_argument("--characters", help="those that occur, frequent ones repeated (those of the labels)")
    command.add_argument("--length", type=lengths, help="characters of a text, such as 5 or 4-6 (those of the labels)")
    command.add_argument("--seeds", type=count, default=5, help="how many: 0, 1, 2, ... (%(default)s)")
    command.add_argument("--per-epoch", type=count, default=8000, help="generated captchas an epoch (%(default)s)")
    _add_jobs(command, "zero")

    command = add_command(
        commands,
        "labels",
        labels,
        "train with more and more labelled images, alone and after generated ones; resumes",
        CONTINUE,
    )
    add_data(command)
    command.add_argument("--draws", type=count, default=5, help="of the labelled images: 0, 1, 2, ... (%(default)s)")
    command.add_argument("--zero", type=Path, default=RUN_DIR / "zero", help="folder of `zero` (%(default)s)")
    _add_jobs(command, "labels")

    command = add_command(
        commands,
        "protect",
        protect,
        "vary the generator's knobs, and train a reader for each setting; resumes",
        CONTINUE,
    )
    command.add_argument("--seeds", type=count, default=1, help="how many: 0, 1, 2, ... (%(default)s)")
    _add_jobs(command, "protect")

    command = add_command(
        commands,
        "pretrain",
        pretrain,
        "learn the weights that small sets start from; needs the extra 'faces'",
        CONTINUE + " with --resume",
    )
    command.add_argument("--epochs", type=count, help="of 25,600 generated captchas (170)")
    command.add_argument("--workers", type=count, default=1, help="processes that draw the captchas (%(default)s)")
    command.add_argument("--start", type=Path, help="weights of the same network to go on from (random ones)")
    command.add_argument("--seed", type=int, default=0, help="of the captchas and the training (%(default)s)")
    command.add_argument("--resume", action="store_true", help="continue from the checkpoint beside --out")
    command.add_argument("--out", type=Path, default=RUN_DIR / "general.pth", help="(%(default)s)")
    add_machine(command)

    command = add_command(
        commands,
        "self-taught",
        self_taught,
        "let readers teach themselves sets of labelled images, and score them; resumes",
        CONTINUE,
    )
    command.add_argument(
        "sets", nargs="+", metavar="FOLDER", help="labelled images; those of a folder `fresh` beside it are scored"
    )
    command.add_argument("--weights", default="general", help="to begin with (%(default)s)")
    command.add_argument("--seeds", type=count, default=3, help="how many: 0, 1, 2, ... (%(default)s)")
    command.add_argument(
        "--labels", type=int, default=0, help="that a person gives where they count, with seed 0 (%(default)s)"
    )
    _add_jobs(command, "self-taught")

    command = add_command(
        commands, "left-out", left_out, "learn from makers without some families each, and read all; resumes", CONTINUE
    )
    _add_jobs(command, "left-out")


def lengths(text: str) -> tuple[int, int]:
    """An option's value that is a number of characters, or a range such as 4-6."""
    shortest, _, longest = text.partition("-")
    longest = longest or shortest
    if not (shortest.isdecimal() and longest.isdecimal() and 1 <= int(shortest) <= int(longest)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a length such as 4 or 4-6")
    return int(shortest), int(longest)


def sample(options: argparse.Namespace) -> None:
    from studies.samples import write_samples

    write_samples(options.out, options.count, options.characters, options.length, options.seed, options.size)
    report(f"{options.count:,} captchas of seed {options.seed} in {options.out}")


def stream(options: argparse.Namespace) -> None:
    device = prepare_machine(options)
    from captcha_lib.metrics import describe
    from captcha_lib.training import Session
    from studies.stream import leader_first, learn_stream, process_group

    if data_choice(options.data) != "generated":
        raise InputError("stream: what is drawn is like the generated data only; give --data generated")
    with process_group(device) as device:
        with leader_first():
            captchas = load_split(options)
        session = Session(resume=options.resume, device=device, report=report)
        result = learn_stream(captchas, options.n, options.out, options.epochs, options.seed or 0, session)
        report("test: " + describe(result.score))
        report(f"results in {options.out}")


def zero(options: argparse.Namespace) -> None:
    from captcha_lib.runs.results import write_json
    from studies.zero import RECIPE, read_without_labels, style_for, summarise, zero_figures

    captchas = load(options)
    report(captchas.summary())
    check_writable(options.out / "zero_labels.json")
    style = style_for(captchas, options.characters, options.length)
    report("learnt from generated captchas set in " + ", ".join(font.stem for font in style.fonts))
    recipe = replace(RECIPE, per_epoch=options.per_epoch)
    readings = read_without_labels(captchas, style, options.out, options.seeds, recipe, options.jobs, report)
    figures = summarise(readings)
    write_csv(options.out / "zero_labels_readings.csv", readings)
    write_json(options.out / "zero_labels.json", zero_figures(captchas, style, recipe, figures))
    for kind, scores in figures.items():
        report(f"{kind}: mean {scores['exact_mean']:.2%}, of {scores['n']}: {scores['exact_by_seed']}")
    report(f"results in {options.out}")


def labels(options: argparse.Namespace) -> None:
    from captcha_lib.data.split import is_official
    from captcha_lib.reading.torch_reader import TorchReader
    from captcha_lib.runs.results import machine, write_json
    from studies.learning_curve import ON_TOP, SCRATCH, label_curve, sizes_for, summarise
    from studies.plots import plot_label_curve
    from studies.zero import style_for, weights_file

    weights = [options.zero / weights_file(seed, "pure") for seed in range(options.draws)]
    missing = [path for path in weights if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]}: no such weights; run the zero command with --seeds {options.draws} first")
    starts = [TorchReader.load(path) for path in weights]
    captchas = load_split(options, starts[0].alphabet, starts[0].image_size)
    check_writable(options.out / "label_curve.csv")
    style = style_for(captchas, starts[0].alphabet.characters)
    sizes, scratch = sizes_for(len(captchas.subset("train"))), SCRATCH if is_official(captchas) else None
    table = label_curve(captchas, starts, style, options.out / "jobs", sizes, scratch, ON_TOP, options.jobs, report)
    write_csv(options.out / "label_curve.csv", table)
    with replacing(options.out / "label_curve.png") as part:
        plot_label_curve(summarise(table)).savefig(part, dpi=120)
    write_json(options.out / "label_curve.json", {"data": captchas.source, "threads_per_job": 1} | machine())
    report(summarise(table).round(4).to_string(index=False))
    report(f"results in {options.out}")


def protect(options: argparse.Namespace) -> None:
    from captcha_lib.runs.results import machine, write_json
    from studies.plots import plot_protection
    from studies.protect import settings, what_protects

    check_writable(options.out / "what_protects.csv")
    table = what_protects(settings(), options.out / "jobs", seeds=options.seeds, jobs=options.jobs, report=report)
    write_csv(options.out / "what_protects.csv", table)
    with replacing(options.out / "what_protects.png") as part:
        plot_protection(table).savefig(part, dpi=120)
    write_json(options.out / "what_protects.json", {"data": "generated", "threads_per_job": 1} | machine())
    report(table.sort_values("machine_loss", ascending=False).head(20).to_string(index=False))
    report(f"results in {options.out}")


def pretrain(options: argparse.Namespace) -> None:
    device = prepare_machine(options)
    from captcha_lib.reading.torch_reader import TorchReader
    from captcha_lib.runs.distributed import leads
    from captcha_lib.training import Session
    from studies.pretraining import RECIPE, learn_general
    from studies.stream import process_group

    start = TorchReader.load(options.start) if options.start else None
    config = replace(RECIPE, seed=options.seed, epochs=options.epochs or RECIPE.epochs)
    with process_group(device) as device:
        checkpoint = options.out.with_suffix(".checkpoint")
        session = Session(checkpoint=checkpoint, resume=options.resume, device=device, report=report)
        reader = learn_general(config, start, session, options.workers)
        if leads():
            reader.save(options.out)
            report(f"weights in {options.out}")


def self_taught(options: argparse.Namespace) -> None:
    from captcha_lib.runs.results import machine, write_json
    from studies.benchmarks.first_sight import named_sets
    from studies.self_taught import teach_sets

    sets = named_sets(options.sets)
    table = teach_sets(sets, options.out / "jobs", options.seeds, options.labels, options.weights, options.jobs, report)
    unlabelled = table["labels"] == 0
    write_csv(options.out / "adapt.csv", table[unlabelled].drop(columns="labels"))
    if options.labels:
        write_csv(options.out / "adapt_labelled.csv", table[~unlabelled])
    write_json(options.out / "adapt.json", {"labels": options.labels, "threads_per_job": 1} | machine())
    counts = table[["exact_before", "exact", "exact_expected"]]
    rates = table.assign(**(100 * counts).div(table["n"], axis=0))
    means = rates.groupby(["labels", "set"], sort=False)[[*counts, "seconds"]].mean()
    report(means.round(1).to_string())
    for labels, of_all in means.groupby("labels"):
        report(f"{labels} labels: {of_all['exact_before'].mean():.1f} before, {of_all['exact'].mean():.1f} after")


def left_out(options: argparse.Namespace) -> None:
    from captcha_lib.runs.results import machine, write_json
    from studies.left_out import leave_out

    table = leave_out(options.out / "jobs", jobs=options.jobs, report=report)
    write_csv(options.out / "families.csv", table)
    write_json(options.out / "families.json", {"threads_per_job": 1} | machine())
    report(f"results in {options.out}")


def _add_jobs(command: argparse.ArgumentParser, name: str) -> None:
    """The options of a command that trains in processes side by side."""
    command.add_argument("--jobs", type=count, default=2, help="processes, of one thread each (%(default)s)")
    command.add_argument("--out", type=Path, default=RUN_DIR / name, help="folder (%(default)s)")
