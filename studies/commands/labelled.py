"""The commands that train on labelled images: bench, crossval, audit, plant, sweep, growth, ablate, architectures, and
real.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
)
from captcha_lib.config import RUN_DIR, InputError
from captcha_lib.files import check_writable, replacing, write_csv

if TYPE_CHECKING:
    import pandas as pd

    from captcha_lib.recipe import Recipe


def add_commands(commands: Any) -> None:
    """Adds these commands to the parser of all commands."""
    command = add_command(commands, "bench", bench, "train with several seeds and tabulate them; resumes", CONTINUE)
    add_source(command)
    command.add_argument("--seeds", type=count, default=5, help="how many: 0, 1, 2, ... (%(default)s)")
    command.add_argument("--own-splits", action="store_true", help="each seed draws its split (the official one)")
    command.add_argument("--out", type=Path, default=RUN_DIR / "bench", help="folder of the runs (%(default)s)")
    add_machine(command)

    command = add_command(
        commands, "crossval", crossval, "read every image with networks that have not seen it; resumes", CONTINUE
    )
    add_source(command)
    command.add_argument("--folds", type=count, default=10, help="parts; one is read, the others train (%(default)s)")
    command.add_argument("--seeds", type=count, default=3, help="how many: 0, 1, 2, ... (%(default)s)")
    _add_training(command)
    command.add_argument("--generated", type=count, help="train again, with this many generated captchas added")
    command.add_argument("--out", type=Path, default=RUN_DIR / "crossval", help="folder (%(default)s)")

    command = add_command(
        commands, "audit", audit, "rank the labels of a cross-validation, and change the wrong ones by a rule"
    )
    add_source(command)
    command.add_argument("--crossval", type=Path, default=RUN_DIR / "crossval", help="its folder (%(default)s)")
    command.add_argument("--readers", type=Path, required=True, help="CSV of their texts, see studies.benchmarks.read")
    command.add_argument("--judge", type=Path, required=True, help="CSV: file,chosen, what a blind judge chose")
    command.add_argument("--out", type=Path, default=RUN_DIR / "label_audit.csv", help="(%(default)s)")
    add_machine(command)

    command = add_command(commands, "plant", plant, "test the audit: plant wrong labels, and look for them", CONTINUE)
    add_source(command)
    command.add_argument("--count", type=count, default=20, help="how many (%(default)s)")
    command.add_argument("--folds", type=count, default=10, help="of the cross-validation (%(default)s)")
    _add_training(command)
    command.add_argument("--out", type=Path, default=RUN_DIR / "planted", help="folder (%(default)s)")

    command = add_command(commands, "sweep", sweep, "search hyperparameters on validation folds", CONTINUE)
    add_data(command)
    command.add_argument("--trials", type=count, default=20, help="how many this call adds (%(default)s)")
    command.add_argument("--folds", type=count, default=4, help="of the images that are not for the test (%(default)s)")
    command.add_argument("--epochs", type=count, help="passes over the images (by their number)")
    command.add_argument("--study", default="captchas", help="name of the study (%(default)s)")
    command.add_argument(
        "--out",
        dest="storage",
        metavar="OUT",
        default=f"{RUN_DIR / 'sweep.log'}",
        help="an Optuna storage URL or a .log file (%(default)s)",
    )

    command = add_command(
        commands, "growth", growth, "train on a quarter and a half of the images, and say what more would bring"
    )
    add_data(command)
    command.add_argument("--weights", type=Path, default=RUN_DIR / "weight.pth", help="of the run (%(default)s)")
    command.add_argument("--start", metavar="WHERE", help="general, none, or a weights file (as for train)")
    _add_jobs(command)
    command.add_argument("--out", type=Path, default=RUN_DIR, help="folder of learning_curve.* (%(default)s)")

    command = add_command(
        commands, "ablate", ablate, "take one part of the recipe away, or change it, at a time; resumes", CONTINUE
    )
    add_data(command)
    command.add_argument("--parts", nargs="+", metavar="PART", help="of the recipe, such as warps (all)")
    command.add_argument("--labels", type=count, nargs="+", help="how many are learnt (100 and 800)")
    command.add_argument("--seeds", type=count, default=10, help="each reads a fold of its own (%(default)s)")
    _add_jobs(command)
    command.add_argument("--out", type=Path, default=RUN_DIR / "ablate", help="folder (%(default)s)")

    command = add_command(
        commands, "architectures", architectures, "cross-validate other networks on the same folds; resumes", CONTINUE
    )
    add_source(command)
    command.add_argument("--names", nargs="+", metavar="NAME", help="such as 'Shi et al.' (all)")
    command.add_argument("--rates", type=float, nargs="+", help="peaks of the learning rate to try (each one's own)")
    command.add_argument("--folds", type=count, default=10, help="parts; one is read, the others train (%(default)s)")
    command.add_argument("--seeds", type=count, default=3, help="how many: 0, 1, 2, ... (%(default)s)")
    _add_jobs(command)
    command.add_argument("--out", type=Path, default=RUN_DIR / "architectures", help="folder (%(default)s)")

    command = add_command(
        commands, "real", real, "learn real sets from few labels and from all, or download them; resumes", CONTINUE
    )
    command.add_argument(
        "sets", nargs="*", metavar="FOLDER", help="labelled images, beside which `fresh` ones are read; or of such sets"
    )
    command.add_argument("--fetch", action="store_true", help="download the sets of data/real_sets.csv, or those named")
    command.add_argument("--labels", type=count, nargs="*", help="how many are learnt (30, 100, 300, and all)")
    command.add_argument("--seeds", type=count, default=3, help="how many: 0, 1, 2, ... (%(default)s)")
    _add_jobs(command)
    command.add_argument("--peers", type=Path, help="the Python with ddddocr (that of `make peers`, if it is there)")
    command.add_argument("--out", type=Path, help="of the figures (output/run/real), or of the sets (data/real)")


def bench(options: argparse.Namespace) -> None:
    device = prepare_machine(options)
    from captcha_lib.data.split import split_captchas
    from captcha_lib.recipe import recipe_for
    from captcha_lib.run import run
    from captcha_lib.training import Session

    captchas = load(options)
    folders = [options.out / f"seed-{seed}" for seed in range(options.seeds)]
    for seed, folder in enumerate(folders):
        of_seed = split_captchas(captchas, "drawn" if options.own_splits else "official", seed)
        report(f"seed {seed}. {of_seed.summary()}")
        run(of_seed, recipe_for(of_seed, seed), folder, Session(resume=True, device=device, report=report))
    table = seeds_table(folders)
    write_csv(options.out / "seeds.csv", table)
    rate = table["exact"] / table["n"]
    report(table.to_string(index=False))
    said = f"mean {rate.mean():.2%}, lowest {rate.min():.2%}, highest {rate.max():.2%} over {len(rate)} seeds"
    report(f"exact match: {said}")


def seeds_table(folders: list[Path]) -> "pd.DataFrame":
    """One row a run: seed, n, exact, exact_best_path, first_exact_epoch, best_epoch, train_seconds."""
    import pandas as pd

    from studies.jobs import read_json

    runs = [read_json(folder / "metrics.json") for folder in folders]
    rows = [
        {
            "seed": figures["seed"],
            "n": figures["test"]["n"],
            "exact": figures["test"]["exact"],
            "exact_best_path": figures["test_best_path"]["exact"],
            "first_exact_epoch": figures["first_exact_epoch"],
            "best_epoch": figures["best_epoch"],
            "train_seconds": figures["train_seconds"],
        }
        for figures in runs
    ]
    return pd.DataFrame(rows)


def crossval(options: argparse.Namespace) -> None:
    from studies.audit import official_audit
    from studies.crossval import crossvalidate, fold_recipe
    from studies.out_of_fold import write_crossval

    captchas = load(options)
    report(captchas.summary())
    check_writable(options.out / "crossval.json")
    recipe = _chosen(fold_recipe(captchas, options.folds, options.start), options)
    captchas = recipe.seen(captchas)  # chosen by the training images of the first fold, for all
    shape: dict[str, Any] = {"folds": options.folds, "seeds": options.seeds, "jobs": options.jobs, "report": report}
    alone = crossvalidate(captchas, recipe, options.out / "jobs", **shape)
    helped = None
    if options.generated:
        report(f"again, with {options.generated:,} generated captchas in each training set")
        helped = crossvalidate(captchas, recipe, options.out / "jobs-generated", helpers=options.generated, **shape)
    figures = write_crossval(options.out, alone, helped, official_audit(captchas), recipe.config)
    said = {name: value for name, value in figures.items() if name.startswith("exact_") and isinstance(value, float)}
    report("\n".join(f"{name:22} {value:.2%}" for name, value in said.items()))
    report(f"results in {options.out}")


def audit(options: argparse.Namespace) -> None:
    prepare_machine(options)
    from studies.audit import RULE, audit_labels

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
    from studies.crossval import crossvalidate, fold_recipe

    captchas = load(options)
    report(captchas.summary())
    check_writable(options.out / "planted.csv")
    wrong, _ = plant_errors(captchas, options.count, seed=0)
    recipe = _chosen(fold_recipe(captchas, options.folds, options.start), options)
    result = crossvalidate(wrong, recipe, options.out / "jobs", options.folds, 1, jobs=options.jobs, report=report)
    table = find_planted(rank_labels(result), captchas)
    write_csv(options.out / "planted.csv", table.round({"margin": 4}))
    found, last = int((table["rank"] <= SUSPECTS).sum()), table["rank"].max()
    report(f"{found} of {len(table)} planted labels in the first {SUSPECTS} ranks, the last at rank {last}")


def sweep(options: argparse.Namespace) -> None:
    from studies.sweep import sweep

    captchas = load_split(options)
    study = sweep(captchas, options.storage, options.trials, options.folds, options.epochs, options.study, report)
    finished = [trial for trial in study.trials if trial.value is not None]
    if finished:
        report(f"best of {len(finished)}: loss {study.best_value:.4f} with {study.best_params}")


def growth(options: argparse.Namespace) -> None:
    from captcha_lib.reading.torch_reader import TorchReader
    from captcha_lib.recipe import config_for, recipe_for
    from studies.growth import describe, learning_curve
    from studies.plots import plot_growth

    reader = TorchReader.load(options.weights)
    beside = options.weights.parent / "split.csv"  # the split that these weights were trained with
    if options.split is None and options.seed is None and beside.exists():
        options.split = beside
    captchas = load_split(options, reader.alphabet, reader.image_size).seen_through(reader.conversion)
    check_writable(options.out / "learning_curve.csv")
    recipe = recipe_for(captchas, options.seed or 0, options.start, reader.conversion, reader.image_size)
    table = learning_curve(
        captchas,
        lambda images: replace(config_for(images, recipe.start), seed=recipe.config.seed),
        reader,
        recipe.start,
        options.jobs,
    )
    write_csv(options.out / "learning_curve.csv", table)
    with replacing(options.out / "learning_curve.png") as part:
        plot_growth(table).savefig(part, dpi=150)
    report(describe(table))


def ablate(options: argparse.Namespace) -> None:
    from captcha_lib.runs.results import machine, write_json
    from studies.ablation import LABELS, SETTINGS, ablate, effects
    from studies.plots import plot_effects

    _check_names(options.parts, {part for part, _ in SETTINGS})
    captchas, labels = load_split(options), tuple(options.labels or LABELS)
    table = ablate(captchas, options.out / "jobs", options.parts, labels, options.seeds, options.jobs, report)
    write_csv(options.out / "ablations.csv", table)
    write_json(options.out / "ablations.json", {"data": captchas.source, "threads_per_job": 1} | machine())
    found = effects(table)
    with replacing(options.out / "ablations.png") as part:
        plot_effects(found).savefig(part, dpi=120)
    report(found.round(2).to_string(index=False))


def architectures(options: argparse.Namespace) -> None:
    from captcha_lib.runs.results import machine, write_json
    from studies.architectures import ARCHITECTURES, compare

    _check_names(options.names, set(ARCHITECTURES))
    captchas = load(options)
    report(captchas.summary())
    rates = tuple(options.rates or [None])
    table = compare(
        captchas, options.out / "jobs", options.names, rates, options.folds, options.seeds, options.jobs, report
    )
    write_csv(options.out / "architectures.csv", table)
    write_json(options.out / "architectures.json", {"data": captchas.source, "threads_per_job": 1} | machine())
    report(table.to_string(index=False))


def _check_names(given: list[str] | None, known: set[str]) -> None:
    """Raises InputError if there is no such part of a study."""
    for name in given or []:
        if name not in known:
            raise InputError(f"{name!r}: give some of {', '.join(map(repr, sorted(known)))}")


def _add_jobs(command: argparse.ArgumentParser) -> None:
    """The option of a command that trains several networks at a time."""
    command.add_argument("--jobs", type=count, default=2, help="processes, of one thread each (%(default)s)")


def _add_training(command: argparse.ArgumentParser) -> None:
    """The options of a command that trains by the recipe of its images."""
    _add_jobs(command)
    command.add_argument("--epochs", type=count, help="passes over the images (by their number)")
    command.add_argument("--start", metavar="WHERE", help="general, none, or a weights file (by the images' number)")


def _chosen(recipe: "Recipe", options: argparse.Namespace) -> "Recipe":
    """The recipe with the epochs that the options name."""
    return replace(recipe, config=replace(recipe.config, epochs=options.epochs or recipe.config.epochs))


def real(options: argparse.Namespace) -> None:
    from captcha_lib.data.load import load_data
    from captcha_lib.runs.results import machine, write_json
    from studies.benchmarks.first_sight import named_sets
    from studies.benchmarks.readers import PEERS_PYTHON
    from studies.describe import describe_sets
    from studies.real import ALL, LABELS, learn_sets
    from studies.real_sets import FOLDER, fetch_sets

    if options.fetch:
        fetch_sets(options.out or FOLDER, options.sets, report=report)
        return
    named = [Path(one) for one in options.sets or [FOLDER]]
    sets = named_sets([str(inner) for folder in named for inner in sorted(folder.glob("*/labelled")) or [folder]])
    if not options.sets and not FOLDER.exists():
        raise InputError(f"{FOLDER}: no sets there; name folders of labelled images, or download some with --fetch")
    out = options.out or RUN_DIR / "real"
    labels = tuple(options.labels) if options.labels else (*LABELS, ALL)
    peers = options.peers or PEERS_PYTHON
    table = learn_sets(sets, out / "jobs", labels, options.seeds, options.jobs, report, peers)
    write_csv(out / "real_sets.csv", table)
    looks = describe_sets({name: load_data(str(folder), skip_bad=True) for name, folder in sets.items()})
    write_csv(out / "real_looks.csv", looks)
    write_json(out / "real_sets.json", {"threads_per_job": 1} | machine())
    rates = table.assign(rate=100 * table["exact"] / table["n"])
    report(rates.pivot_table(values="rate", index="set", columns="labels").round(1).to_string())
