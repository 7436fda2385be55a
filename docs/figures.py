"""The tables of figures, each made from the files of output/reference; tables.py writes them."""

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from captcha_lib.config import SPLITS_DIR, WEIGHTS_DIR
from captcha_lib.data.colour import CONVERSIONS
from captcha_lib.metrics import wilson_interval
from studies.confidence import clustered_interval
from studies.pretraining import RECIPE

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "output" / "reference"

# What others report: exact match in %, test images, protocol. Read in their logs or result files, or claimed.
SEPARATE_TEST = ("Keras CRNN (shahryarfp/Captcha-OCR)", 98.08, "104", "a separate test; one seed")
STUDENT = ("the student project", 92.5, "about 134", "claimed")
PUBLISHED = [
    ("Keras CRNN (Gotcha-Captcha/Captcha)", 99.04, "104", "the same 104 images chose the epoch; one seed"),
    SEPARATE_TEST,
    ("fastai resnet34 (dienhoa/dhblog)", 98.08, "104", "validation only"),
    ("TrOCR, fine-tuned (DunnBC22)", 96.26, "214", "334 million parameters"),
    ("a fine-tuned CRNN, duplicates removed", 93.93, "214", "the test used once"),
    STUDENT,
    ("ResNet18-CRNN (GokulKarthik)", 87.69, "268", "10 time steps; doubles are merged"),
]
# The Keras example for the same images, trained here on one core: not in a file, since its code is another's.
KERAS = [
    ("Keras example, one core, 100 epochs", "988 and 855 to the end", "two seeds", "53.7 and 99.3"),
    ("Keras example as published", "it stops on the blank plateau", "", "0"),
]
GIVEN = ("nothing", "alphabet and length")
KINDS = {
    "pure": "*pure*: generated captchas alone",
    "adapted": "*adapted*: then taught itself the unlabelled images",
    "control": "a control: generated captchas whose texts were swapped",
}


# Files and formats


@cache
def figures(name: str) -> dict | list:
    return json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))


@cache
def csv(name: str) -> pd.DataFrame:
    """A table as texts, since 25e64 is one; `whole` and `exact_rate` make numbers of them."""
    return pd.read_csv(REFERENCE / f"{name}.csv", dtype=str, keep_default_na=False)


def markdown(head: str, rows: Iterable[Iterable[object]]) -> str:
    """A table; `head` is its first line, such as "reader | exact match, %"."""
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]) + "\n"


def percent(share: float) -> str:
    return f"{100 * share:.2f}"


def interval(low_high: tuple[float, float]) -> str:
    return " to ".join(map(percent, low_high))


def listed(counts: Iterable[int]) -> str:
    return "; ".join(f"{count:,}" for count in counts)


def spread(rates: pd.Series) -> list[str]:
    """Mean, lowest and highest in %."""
    return [percent(rates.mean()), percent(rates.min()), percent(rates.max())]


def right_by_seed(readings: pd.DataFrame) -> np.ndarray:
    """Readings of all images by several seeds -> (S, N), whether each is right."""
    right = readings["label"] == readings["text"]
    return right.groupby([readings["seed"].astype(int), readings["file"]]).first().unstack().to_numpy()  # noqa: PD010


@cache
def out_of_fold(audited: bool = False) -> np.ndarray:
    """The cross-validation, (S, N): whether each reading is right, on the labels as given or on the audited ones."""
    readings = csv("crossval_predictions")
    if audited:
        readings = readings.assign(label=readings["file"].map(csv("label_audit").set_index("file")["audited"]))
    return right_by_seed(readings)


def rates(name: str) -> pd.DataFrame:
    """A table of runs with their share of right texts."""
    table = csv(name)
    return table.assign(rate=table["exact"].astype(int) / table["n"].astype(int))


# Accuracy


def headline() -> str:
    crossval, n = figures("crossval"), out_of_fold().shape[1]
    protocol = f"{crossval['folds']} folds, {crossval['seeds']} seeds: each image read by networks that had not seen it"
    rule = f"{_changed()} wrong labels changed by a rule"
    pure = f"learnt from generated captchas alone; {len(without_labels('pure'))} seeds"
    ours = {
        f"**this repository**, all {n:,} Kaggle images": (out_of_fold(), protocol),
        "the same, on audited labels": (out_of_fold(True), rule),
        "**the same, without one label**": (without_labels("pure"), pure),
    }
    rows = [(name, *_scored(right), listed(right.sum(1)), how) for name, (right, how) in ours.items()]
    for said, (_, exact, images, how) in {
        "best published figure with a separate test": SEPARATE_TEST,
        "the student project that this one rebuilds": STUDENT,
    }.items():
        rows.append((said, f"{exact:.2f}", "", "", f"{images} images; {how}"))
    return markdown(f" | captchas right, % | 95 % interval | of {n:,}, by seed | how it was measured", rows)


def _scored(right: np.ndarray) -> tuple[str, str]:
    """(S, N) booleans -> exact match in % and its interval."""
    return f"**{percent(right.mean())}**", interval(clustered_interval(right))


def _changed() -> int:
    return int((csv("label_audit")["label"] != csv("label_audit")["audited"]).sum())


def kaggle() -> str:
    crossval, given, audited = figures("crossval"), out_of_fold(), out_of_fold(True)
    seeds, n = given.shape
    protocol = f"{crossval['folds']} folds, {seeds} seeds, no image read by a network that saw it"
    added = crossval["exact_mean_generated"], crossval["exact_audited_generated"]
    more = "the same, 1,000 generated captchas added to each training set"
    rule = f"{_changed()} labels changed by a rule, see below"
    read = f"{seeds} x {n:,}"
    ours = [
        ("**this repository**", *_scored(given), read, protocol),
        ("the same, on audited labels", *_scored(audited), read, rule),
        (more, percent(added[0]), "", read, f"on audited labels {percent(added[1])}"),
    ]
    theirs = [(name, f"{exact:.2f}", "", images, protocol) for name, exact, images, protocol in PUBLISHED]
    return markdown("trained on the data set | exact match, % | 95 % interval | read | protocol", ours + theirs)


def decoders() -> str:
    names = {
        "": "five characters, prefix beam of width 8",
        "_likeliest_path": "the likeliest path of five characters",
        "_best_path": "the best path, any length",
    }
    crossval = figures("crossval")
    rows = [
        (said, listed(crossval[f"exact_by_seed{name}"]), listed(crossval[f"exact_by_seed{name}_generated"]))
        for name, said in names.items()
    ]
    return markdown("decoded to | right of 1,070, by seed | with generated captchas added", rows)


def misread() -> str:
    table = csv("crossval_misread")
    audited = csv("label_audit").set_index("file")["audited"]
    rows = []
    for (file, label), found in table.groupby(["file", "label"]):
        texts = ", ".join(f"`{text}`" for text in sorted(set(found["text"])))
        changed = f"wrong: changed to `{audited[file]}`" if audited[file] != label else "right"
        rows.append((f"`{label}`", texts, f"{len(found)} of {len(out_of_fold())}", changed))
    rows.sort(key=lambda row: row[2], reverse=True)
    return markdown("label | read as | by seeds | the label, after the audit", rows)


def seeds() -> str:
    names = {
        "seeds": "Kaggle, official split",
        "seeds_own_splits": "Kaggle, a split of its own for each seed",
        "seeds_generated": "generated",
    }
    rows = []
    for name, said in names.items():
        table = rates(name)
        first, seconds = table["first_exact_epoch"].astype(int), table["train_seconds"].astype(float)
        same = f"{(table['exact'] == table['exact_best_path']).sum()} of {len(table)}"
        rows.append((said, len(table), *spread(table["rate"]), _range(first), f"{seconds.median():.0f}", same))
    head = "data | seeds | exact match, mean, % | lowest | highest | first whole text in epoch"
    return markdown(f"{head} | training, s | best path gives the same count", rows)


def _range(numbers: pd.Series) -> str:
    low, high = numbers.min(), numbers.max()
    return str(low) if low == high else f"{low} to {high}"


def audit() -> str:
    table = csv("label_audit")
    table = table[table["label"] != table["audited"]]
    preferred = table["label"].where(table["generator"].astype(float) > 0, table["other"])
    texts = table[["label", "audited", "ddddocr_exact", "captcha_whisperer_exact", "judge"]].assign(network=preferred)
    rows = [
        (*texts, row.rank, row.votes)
        for row, texts in zip(table.itertuples(), ("`" + texts + "`").to_numpy(), strict=True)
    ]
    witnesses = "ddddocr | captcha-whisperer | judge | network of generated captchas"
    return markdown(f"label | changed to | {witnesses} | rank | votes of 4", rows)


# Labels needed, what protects


@cache
def without_labels(kind: str) -> np.ndarray:
    readings = csv("zero_labels_readings")
    return right_by_seed(readings[readings["kind"] == kind])


def zero_labels() -> str:
    rows = []
    for kind, said in KINDS.items():
        right, found = without_labels(kind), figures("zero_labels")[kind]
        sd = f" ± {percent(found['exact_std'])}" if found["exact_std"] is not None else ""
        seconds = f"{found['train_seconds_median'] / 60:.1f}"
        sure = interval(clustered_interval(right))
        rows.append((said, percent(right.mean()) + sd, sure, listed(right.sum(1)), seconds))
    head = "trained on | exact match, %, ± over seeds | 95 % interval | right of 1,070, by seed"
    return markdown(f"{head} | training, minutes", rows)


@cache
def _curve() -> pd.Series:
    table = rates("label_curve")
    return table.groupby(["start", table["labels"].astype(int)])["rate"].mean()


def label_curve() -> str:
    curve = _curve()
    numbers = curve["scratch"].index
    rows = [
        (said, *(f"{100 * curve[start, n]:.1f}" for n in numbers))
        for start, said in {"scratch": "from scratch", "generated": "after generated captchas"}.items()
    ]
    return markdown("labels | " + " | ".join(f"{n:,}" for n in numbers), rows)


@cache
def _protection() -> pd.DataFrame:
    """By setting: the share of texts read after 100 and 1,000 labels, and of characters that OCR reads."""
    table = rates("what_protects")
    legible = table.groupby("setting")["legible"].first().astype(float)
    return table.pivot_table("rate", "setting", "labels").join(legible)


def protect() -> str:
    from studies.protect import knobs

    says = {"kaptcha": ("Kaptcha's own", "2 curves, 1.5 px water, 2.6 px ripple")}
    says |= {name: (name, knob.says[1]) for name, knob in knobs().items()}
    table = _protection().loc[list(says)].sort_values(["100", "1000"])
    rows = [
        (*says[name], f"{100 * row['100']:.1f}", f"{100 * row['1000']:.1f}", f"{100 * row['legible']:.1f}")
        for name, row in table.iterrows()
    ]
    head = "knob | turned to | read after 100 labels, % | read after 1,000 labels, %"
    return markdown(f"{head} | characters that OCR reads, %", rows)


# Scale, sets of others, confidence, threads


def streams() -> str:
    rows = []
    for n, run in figures("stream")["streams"].items():
        right, seconds = f"{run['exact']} of {run['n']}", f"{run['seconds']:,.0f}"
        waited, peak = f"{100 * run['waited']:.1f}", f"{run['peak_mb']:,.0f}"
        rows.append((f"{int(n):,}", right, seconds, run["images_per_second"], waited, peak))
    head = "captchas | test captchas right | training, s | images a second"
    return markdown(f"{head} | waited for images, % | memory, MB", rows)


def processes() -> str:
    table = rates("processes")
    groups = table.groupby([table["captchas"].astype(int), "processes"])
    rows = []
    for (captchas, number), found in groups:
        pace = f"{found['images_per_second'].astype(float).median():.0f}"
        rows.append((f"{captchas:,}", number, len(found), *spread(found["rate"]), pace))
    return markdown("captchas | processes | seeds | exact match, mean, % | lowest | highest | images a second", rows)


def own() -> str:
    rows = []
    for name, found in rates("own").groupby("set", sort=False):
        n = found["n"].astype(int)
        labels = int(found["train"].iloc[0]) + int(found["val"].iloc[0])
        theirs = percent(found["ddddocr"].astype(int).sum() / n.sum())
        exact = spread(found["rate"])[:2]
        seconds = f"{found['seconds'].astype(float).median():.0f}"
        rows.append((name, f"{labels:,}", f"{n.iloc[0]:,}", len(found), *exact, theirs, seconds))
    head = "set | labels | test images | seeds | exact match, mean, % | lowest | ddddocr, %"
    return markdown(f"{head} | training, s", rows)


def _first_sight() -> pd.DataFrame:
    """Exact match in %, a row a set; columns: what is given, the reader; of ddddocr the better of its two models."""
    found = rates("first_sight")
    found["reader"] = found["reader"].str.replace("ddddocr beta", "ddddocr")
    found["rate"] *= 100
    return found.pivot_table(values="rate", index="set", columns=["given", "reader"], aggfunc="max")


def _taught(name: str = "adapt") -> pd.DataFrame:
    """What readers taught themselves, means over seeds in %, a row a set."""
    table = csv(name)
    counts = table[["exact_before", "exact", "exact_expected", "n", "seconds"]].astype(float).assign(set=table["set"])
    for column in ("exact_before", "exact", "exact_expected"):
        counts[column] *= 100 / counts["n"]
    return counts.groupby("set").mean()


def first_sight() -> str:
    """The means over the sets, of each reader."""
    seen = _first_sight()
    taught = [f"{_taught(name)['exact'].mean():.1f}" for name in ("adapt", "adapt_labelled")]
    rows = []
    for reader in ("captcha_lib, general", "ddddocr", "captcha-whisperer"):
        ours = reader.startswith("captcha_lib")
        means = [f"{seen[given, reader].mean():.1f}" for given in GIVEN]
        rows.append(('**`weights="general"`**' if ours else reader, *means, *(taught if ours else ("", ""))))
    head = f"mean of {len(seen)} real sets, % | at first sight | alphabet and length given"
    return markdown(f"{head} | after it taught itself 300 pictures | and got 30 labels", rows)


def first_sight_sets() -> str:
    seen, readers = _first_sight(), ("captcha_lib, general", "ddddocr", "captcha-whisperer")
    rows = []
    for name, row in seen.iterrows():
        found = {given: [f"{row[given, reader]:.1f}" for reader in readers] for given in GIVEN}
        rows.append((name, *found[GIVEN[0]], *found[GIVEN[1]]))
    return markdown("set | general | ddddocr | whisperer | general, given | ddddocr, given | whisperer, given", rows)


def taught_sets() -> str:
    table, labelled = _taught(), _taught("adapt_labelled")
    table = table.assign(labelled=labelled["exact"], before_labels=labelled["exact_before"])
    table.loc["mean"] = table.mean()
    names = ["exact_before", "exact", "exact_expected", "seconds", "before_labels", "labelled"]
    rows = [(name, *(f"{row[what]:.1f}" for what in names)) for name, row in table.iterrows()]
    head = "set | before it teaches itself | after | as it believes | seconds on one core"
    return markdown(f"{head} | before labels | after 30 labels", rows)


def calibration() -> str:
    found = figures("calibration")
    rows = []
    for key, said in {"": "audited", "_as_given": "as given"}.items():
        sure, kept = percent(found["exact_at_97" + key]), percent(found["coverage_at_999" + key])
        rows.append((said, f"{found['n' + key]:,}", f"{found['ece' + key]:.4f}", sure, kept))
    head = "labels | readings | expected calibration error | right among the surest 97 %, %"
    return markdown(f"{head} | kept where 99.9 % are right, %", rows)


def same() -> str:
    groups = rates("same").groupby(["threads", "precision"])
    rows = [
        (threads, precision, listed(found["exact"].astype(int)), f"{found['seconds'].astype(float).median():.1f}")
        for (threads, precision), found in groups
    ]
    return markdown("threads | precision | right of 134, by seed | training, s", rows)


# Time and speed


def time_to_accuracy() -> str:
    found = figures("bench_train")
    rows = []
    for key, cores in {"threads_2": "two cores", "threads_1": "one core"}.items():
        run = found[key]
        exact = f"{percent(run['exact_mean'])} (lowest {percent(run['exact_min'])})"
        rows.append(
            (f"**this repository**, {cores}", f"{run['seconds_median']:.1f}", f"{run['seconds_max']:.1f}", exact)
        )
    head = f"until {100 * found['target']:.0f} % of the official test are read | seconds, median | slowest of ten seeds"
    return markdown(f"{head} | exact match after all {found['epochs']} epochs, %", rows + KERAS)


def _reader(name: str) -> dict:
    return next(row for row in figures("bench_read") if row["reader"] == name)


def speed() -> str:
    """What a user waits for; rows whose figures are not in the file yet are left out."""
    ours, theirs, train = _reader("captcha_lib, ONNX Runtime"), _reader("ddddocr"), figures("bench_train")["threads_2"]
    core = f"one core of an {ours['processor']}; text and confidence"
    rows = []
    if "ms_list" in ours:
        beside = f"{core}; ddddocr takes {theirs['ms_single']:.2f} ms in the same run"
        if ours.get("times_opening"):
            beside += f"; {ours['times_opening']:.1f} times Pillow's opening of the same files"
        rows.append(("`read(list of images)`, a picture", f"{ours['ms_list']:.2f} ms", beside))
        rows.append(("`read(image)`", f"{ours['ms_single']:.2f} ms", core))
    rows += predict_rows(ours)
    target = f"training until {100 * figures('bench_train')['target']:.0f} % of the official test are read"
    slowest = f"two cores; {train['n']} seeds, the slowest {train['seconds_max']:.1f} s"
    rows.append((target, f"{train['seconds_median']:.1f} s", slowest))
    return markdown("speed | median | how it was measured", rows)


def predict_rows(ours: dict) -> list[tuple[str, str, str]]:
    """The rows of the command `predict`, as far as they were measured."""
    rows = []
    if "predict_cold_s" in ours:
        cold = f"{ours['predict_cold_s']:.2f} s, {ours['predict_cold_mb']:.0f} MB"
        rows.append(("`captcha-lib predict image.png`", cold, "one core; the whole process, from its start to its end"))
    if "predict_10k_s" in ours:
        rows.append(("`captcha-lib predict` of 10,000 files, to CSV", f"{ours['predict_10k_s']:.1f} s", "one core"))
    return rows


def predict() -> str:
    """The command as a user calls it; empty until it has been measured."""
    rows = predict_rows(_reader("captcha_lib, ONNX Runtime"))
    return markdown("command | median | how it was measured", rows) if rows else ""


def reading_speed() -> str:
    measured = figures("bench_read")
    lists = any("ms_list" in row for row in measured)
    rows = []
    for row in measured:
        name = f"**{row['reader']}**" if row["reader"].startswith("captcha_lib") else row["reader"]
        exact = "" if row["exact"] is None else percent(row["exact"])
        in_list = [_shown(row.get("ms_list"), 2)] if lists else []
        cost = _shown(row["size_mb"], 2), _shown(row["load_s"], 2), _shown(row["peak_mb"], 0)
        rows.append((name, exact, _shown(row["ms_single"], 2), *in_list, _shown(row["images_per_second"], 0), *cost))
    head = "reader | exact match, % | one image, ms" + (" | in a list, ms an image" if lists else "")
    return markdown(f"{head} | images a second | weights, MB | load, s | memory, MB", rows)


def _shown(value: float | None, decimals: int) -> str:
    """A figure, or nothing where it was not measured."""
    return "" if value is None else f"{value:,.{decimals}f}"


# The network, the versions


def network() -> str:
    import torch
    from torchinfo import summary

    from captcha_lib.model import CRNN, time_steps

    run, generated = figures("metrics"), csv("generated_predictions")
    sure = interval(wilson_interval(run["test"]["exact"], run["test"]["n"]))
    sizes = [f"`{path.name}` {path.stat().st_size / 1000:.0f} kB" for path in sorted(WEIGHTS_DIR.glob("kaggle.*"))]
    found = summary(CRNN(20).eval(), input_data=torch.zeros(1, 1, 50, 200, dtype=torch.uint8), verbose=0)
    right = int((generated["label"] == generated["text"]).sum())
    return markdown(
        "the reference run | ",
        [
            ("parameters", f"{run['parameters']:,}"),
            ("multiplications a picture", f"{found.total_mult_adds / 1e6:.0f} million"),
            ("time steps", f"{time_steps(200)}, for five characters"),
            ("weights", ", ".join(sizes)),
            ("official test", f"{run['test']['exact']} of {run['test']['n']}, 95 % interval {sure} %"),
            ("generated captchas, none of which it was trained on", f"{right:,} of {len(generated):,}"),
            ("training, 24 epochs, two cores", f"{run['train_seconds']:.0f} s; median of ten {_seconds_of_seeds()} s"),
            ("first whole text read", f"in epoch {run['first_exact_epoch']}"),
        ],
    )


def _seconds_of_seeds() -> str:
    return f"{csv('seeds')['train_seconds'].astype(float).median():.0f}"


def memory() -> str:
    onnx, torch = _reader("captcha_lib, ONNX Runtime"), _reader("captcha_lib, torch")
    longest = max(figures("stream")["streams"].items(), key=lambda run: int(run[0]))
    rows = [
        ("reading with ONNX Runtime", f"{onnx['peak_mb']:.0f}"),
        ("reading with torch", f"{torch['peak_mb']:.0f}"),
        (f"training on a stream of {int(longest[0]):,} captchas", f"{longest[1]['peak_mb']:,.0f}"),
    ]
    return markdown("what | memory at most, MB", rows)


def versions() -> str:
    """Where the files were measured, and the code that made them as far as it was recorded, see studies/evidence.py."""
    made = figures("evidence") if (REFERENCE / "evidence.json").exists() else {}
    rows = []
    for path in sorted(REFERENCE.glob("*.json")):
        found = figures(path.stem)
        found = found[0] if isinstance(found, list) else found
        if "packages" in found:
            entry = made.get(path.name, {})
            code = entry["code"][:8] if entry.get("code") else f"commit {entry.get('commit', 'not recorded')}"
            threads = found.get("threads", found.get("threads_used", ""))
            where = found["packages"]["torch"], found["processor"], threads, found.get("precision", "")
            rows.append((f"`{path.name}`", *where, entry.get("date") or "", code))
    return markdown("file | torch | processor | threads | precision | date | code", rows)


def values() -> dict[str, str]:
    """The figures that stand in sentences of the pages."""
    curve, read = _curve(), _protection()
    drawn = figures("stream")["drawn_per_second"]
    ours, theirs = _reader("captcha_lib, ONNX Runtime"), _reader("ddddocr")
    planted = csv("planted")["rank"].astype(int)
    split = pd.read_csv(SPLITS_DIR / "kaggle.csv", dtype=str)
    official = csv("crossval_predictions").merge(split.loc[split["subset"] == "test", ["file"]])
    return {
        "cer": percent(figures("crossval")["cer_mean"]),
        "official_right": str((official["label"] == official["text"]).sum()),
        "official_read": str(len(official)),
        "changed": str(_changed()),
        "most": f"{out_of_fold().shape[1] - _changed():,}",
        "planted": str(len(planted)),
        "planted_found": str((planted <= 30).sum()),
        "planted_last": str(planted.max()),
        "pure_minutes": f"{figures('zero_labels')['pure']['train_seconds_median'] / 60:.0f}",
        "conversions": str(len(CONVERSIONS)),
        "scratch_100": f"{100 * curve['scratch', 100]:.0f}",
        "scratch_200": f"{100 * curve['scratch', 200]:.0f}",
        "protect_above_90": str((read["1000"] > 0.9).sum()),
        "protect_settings": str(len(read)),
        "drawn_kaptcha": f"{drawn['kaptcha']:,}",
        "drawn_varied": f"{drawn['varied']:,}",
        "train_seconds": f"{figures('metrics')['train_seconds']:.0f}",
        "times_in_batches": f"{ours['images_per_second'] / theirs['images_per_second']:.0f}",
        "times_alone": f"{theirs['ms_single'] / ours['ms_single']:.0f}",
        "general_pictures": f"{RECIPE.epochs * RECIPE.per_epoch / 1e6:.1f}",
        "adapt_seeds": str(csv("adapt")["seed"].nunique()),
        "adapt_near": str((_taught()["exact"] - _taught()["exact_expected"]).abs().le(7).sum()),
        "ddddocr_given": percent(_reader("ddddocr, exact five")["exact"]),
    }


FIGURES: dict[str, Callable[[], str]] = {
    table.__name__: table
    for table in (
        headline, kaggle, decoders, misread, seeds, audit, zero_labels, label_curve, protect, streams, processes, own,
        first_sight, first_sight_sets, taught_sets, calibration, same, time_to_accuracy, speed, predict, reading_speed,
        network, memory, versions,
    )
}  # fmt: skip
