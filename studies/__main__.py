"""The commands of the studies: crossval, audit, plant, sweep, zero, labels, protect, general."""

import argparse
from dataclasses import replace
from pathlib import Path

from captcha_lib.commands.options import (
    GOES_ON,
    add_command,
    add_data,
    add_machine,
    add_source,
    count,
    load,
    load_split,
    prepare_machine,
    report,
)
from captcha_lib.config import RUN_DIR, Config, InputError
from captcha_lib.files import check_writable, replacing, write_csv


def add_studies(commands) -> None:
    """Adds the commands of the studies to the parser of all commands."""
    command = add_command(
        commands, "crossval", crossval, "read every image with networks that have not seen it; resumes", GOES_ON
    )
    add_source(command)
    command.add_argument("--folds", type=count, default=10, help="parts; one is read, the others train (%(default)s)")
    command.add_argument("--seeds", type=count, default=3, help="how many: 0, 1, 2, ... (%(default)s)")
    command.add_argument("--jobs", type=count, default=2, help="processes, of one thread each (%(default)s)")
    command.add_argument("--epochs", type=count, default=Config.epochs, help="passes over the images (%(default)s)")
    command.add_argument("--generated", type=count, help="train once more, with so many generated captchas added")
    command.add_argument("--out", type=Path, default=RUN_DIR / "crossval", help="folder (output/run/crossval)")

    command = add_command(
        commands, "audit", audit, "rank the labels of a cross-validation, and change the wrong ones by a rule"
    )
    add_source(command)
    command.add_argument("--crossval", type=Path, default=RUN_DIR / "crossval", help="its folder (output/run/crossval)")
    command.add_argument("--readers", type=Path, required=True, help="CSV of their texts, see benchmarks/")
    command.add_argument("--judge", type=Path, required=True, help="CSV: file,chosen, what a blind judge chose")
    command.add_argument("--out", type=Path, default=RUN_DIR / "label_audit.csv", help="(output/run/label_audit.csv)")
    add_machine(command)

    command = add_command(commands, "plant", plant, "try the audit: plant wrong labels, and look for them", GOES_ON)
    add_source(command)
    command.add_argument("--count", type=count, default=20, help="how many (%(default)s)")
    command.add_argument("--folds", type=count, default=10, help="of the cross-validation (%(default)s)")
    command.add_argument("--epochs", type=count, default=Config.epochs, help="passes over the images (%(default)s)")
    command.add_argument("--jobs", type=count, default=2, help="processes, of one thread each (%(default)s)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "planted", help="folder (output/run/planted)")

    command = add_command(
        commands, "sweep", sweep, "search hyperparameters on validation folds; needs the extra 'sweep'", GOES_ON
    )
    add_data(command)
    command.add_argument("--trials", type=count, default=20, help="how many this call adds (%(default)s)")
    command.add_argument("--folds", type=count, default=4, help="of the images that are not for the test (%(default)s)")
    command.add_argument("--epochs", type=count, default=Config.epochs, help="passes over the images (%(default)s)")
    command.add_argument("--study", default="captchas", help="name of the study (%(default)s)")
    command.add_argument(
        "--out",
        dest="storage",
        metavar="OUT",
        default=f"{RUN_DIR / 'sweep.log'}",
        help="an Optuna storage URL or a .log file (output/run/sweep.log)",
    )

    command = add_command(
        commands,
        "zero",
        zero,
        "read all images with networks that never saw a label; needs the extra 'fonts'; resumes",
        GOES_ON,
    )
    add_source(command)
    command.add_argument("--characters", help="those that occur (2345678bcdefgmnpwxy, n twice as often)")
    command.add_argument("--seeds", type=count, default=5, help="how many: 0, 1, 2, ... (%(default)s)")
    command.add_argument("--per-epoch", type=count, default=8000, help="generated captchas an epoch (%(default)s)")
    command.add_argument("--jobs", type=count, default=2, help="processes, of one thread each (%(default)s)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "zero", help="folder (output/run/zero)")

    command = add_command(
        commands,
        "labels",
        labels,
        "train with more and more labelled images, alone and after generated ones; resumes",
        GOES_ON,
    )
    add_data(command)
    command.add_argument("--draws", type=count, default=5, help="of the labelled images: 0, 1, 2, ... (%(default)s)")
    command.add_argument("--zero", type=Path, default=RUN_DIR / "zero", help="folder of `zero` (output/run/zero)")
    command.add_argument("--jobs", type=count, default=2, help="processes, of one thread each (%(default)s)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "labels", help="folder (output/run/labels)")

    command = add_command(
        commands,
        "protect",
        protect,
        "turn the generator's knobs, and train a reader for each setting; resumes",
        GOES_ON,
    )
    command.add_argument("--seeds", type=count, default=1, help="how many: 0, 1, 2, ... (%(default)s)")
    command.add_argument("--jobs", type=count, default=2, help="processes, of one thread each (%(default)s)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "protect", help="folder (output/run/protect)")

    command = add_command(
        commands,
        "general",
        general,
        "learn the weights that small sets start from; needs the extra 'fonts'",
        GOES_ON + " with --resume",
    )
    command.add_argument("--epochs", type=count, help="of 10,000 generated captchas (40)")
    command.add_argument("--seed", type=int, default=0, help="of the captchas and the training (%(default)s)")
    command.add_argument("--resume", action="store_true", help="go on from the checkpoint beside --out")
    command.add_argument("--out", type=Path, default=RUN_DIR / "general.pth", help="(output/run/general.pth)")
    add_machine(command)


def crossval(options: argparse.Namespace) -> None:
    from studies.audit import official_audit
    from studies.crossval import crossvalidate, write_crossval

    captchas = load(options)
    report(captchas.summary())
    check_writable(options.out / "crossval.json")
    config = replace(Config(), epochs=options.epochs)
    shape = {"folds": options.folds, "seeds": options.seeds, "jobs": options.jobs, "report": report}
    alone = crossvalidate(captchas, config, options.out / "jobs", **shape)
    helped = None
    if options.generated:
        report(f"again, with {options.generated:,} generated captchas in each training set")
        helped = crossvalidate(captchas, config, options.out / "jobs-generated", helpers=options.generated, **shape)
    figures = write_crossval(options.out, alone, helped, official_audit(captchas), config)
    said = {name: value for name, value in figures.items() if name.startswith("exact_") and isinstance(value, float)}
    report("\n".join(f"{name:22} {value:.2%}" for name, value in said.items()))
    report(f"results in {options.out}")


def audit(options: argparse.Namespace) -> None:
    from studies.audit import RULE, audit_labels

    prepare_machine(options)
    captchas = load(options)
    report(captchas.summary())
    table = audit_labels(captchas, options.crossval / "jobs", options.readers, options.judge)
    write_csv(options.out, table)
    changed = table[table["label"] != table["audited"]]
    report(f"{RULE}\n{len(changed)} of {len(table)} labels changed:")
    report(changed.to_string(index=False))
    report(f"written to {options.out}")


def plant(options: argparse.Namespace) -> None:
    from studies.audit import SUSPECTS, find_planted, plant_errors, rank_labels
    from studies.crossval import crossvalidate

    captchas = load(options)
    report(captchas.summary())
    check_writable(options.out / "planted.csv")
    spoilt, _ = plant_errors(captchas, options.count, seed=0)
    config = replace(Config(), epochs=options.epochs)
    result = crossvalidate(spoilt, config, options.out / "jobs", options.folds, 1, jobs=options.jobs, report=report)
    table = find_planted(rank_labels(result), captchas)
    write_csv(options.out / "planted.csv", table.round({"margin": 4}))
    found = int((table["rank"] <= SUSPECTS).sum())
    report(
        f"{found} of {len(table)} planted labels in the first {SUSPECTS} ranks, the last at rank {table['rank'].max()}"
    )


def sweep(options: argparse.Namespace) -> None:
    from studies.sweep import sweep

    captchas = load_split(options)
    study = sweep(captchas, options.storage, options.trials, options.folds, options.epochs, options.study, report)
    finished = [trial for trial in study.trials if trial.value is not None]
    if finished:
        report(f"best of {len(finished)}: loss {study.best_value:.4f} with {study.best_params}")


def zero(options: argparse.Namespace) -> None:
    from captcha_lib.generator.style import KAPTCHA
    from captcha_lib.runs.results import write_json
    from studies.zero import RECIPE, read_without_labels, style_for, summarise, zero_figures

    captchas = load(options)
    report(captchas.summary())
    check_writable(options.out / "zero_labels.json")
    style = style_for(captchas.source, tuple(captchas.images.shape[2:]), options.characters or KAPTCHA.characters)
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
    from captcha_lib.reading.torch_reader import Reader
    from captcha_lib.runs.results import machine, write_json
    from studies.learning_curve import ON_TOP, SCRATCH, SIZES, label_curve, summarise
    from studies.plots import plot_label_curve
    from studies.zero import style_for, weights_file

    captchas = load_split(options)
    check_writable(options.out / "label_curve.csv")
    weights = [options.zero / weights_file(seed, "pure") for seed in range(options.draws)]
    missing = [path for path in weights if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]}: no such weights; run the zero command with --seeds {options.draws} first")
    starts = [Reader.load(path) for path in weights]
    style = style_for(captchas.source, starts[0].image_size, starts[0].alphabet.characters)
    recipe = SIZES, SCRATCH, ON_TOP
    table = label_curve(captchas, starts, style, options.out / "jobs", *recipe, options.jobs, report)
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


def general(options: argparse.Namespace) -> None:
    from studies.pretraining import RECIPE, learn_general

    prepare_machine(options)
    check_writable(options.out)
    config = replace(RECIPE, seed=options.seed, epochs=options.epochs or RECIPE.epochs)
    reader = learn_general(options.out.with_suffix(".checkpoint"), config, options.resume, report)
    reader.save(options.out)
    report(f"weights in {options.out}")
