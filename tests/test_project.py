"""The files around the package agree with each other: the README with the reference run, and the official splits."""

import json
import re

import pandas as pd
import pytest

from captcha_lib.config import REFERENCE_DIR, ROOT, SPLITS_DIR
from captcha_lib.generator.draw import generate_captchas
from captcha_lib.metrics import wilson_interval
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.runs.results import read_table
from studies import learning_curve as curve
from studies import protect, zero
from studies.audit import SUSPECTS, apply_rule
from studies.benchmarks import train as bench_train
from studies.benchmarks.readers import READERS
from studies.crossval import calibration_figures, relabelled


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def figures() -> dict:
    return json.loads((REFERENCE_DIR / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["kaggle", "generated"])
def test_official_split_is_whole_and_disjoint(name):
    table = pd.read_csv(SPLITS_DIR / f"{name}.csv", dtype=str)
    assert table.columns.tolist() == ["file", "label", "sha256", "subset"]
    assert table["subset"].value_counts().to_dict() == {"train": 802, "val": 134, "test": 134}
    assert table["sha256"].is_unique
    assert table["file"].is_unique


def test_reference_run_is_complete_and_its_predictions_give_its_score():
    names = {path.name for path in REFERENCE_DIR.iterdir()}
    assert {"weight.pth", "log.txt", "loss.png", "metrics.json", "predictions.csv", "environment.json"} <= names
    assert (WEIGHTS_DIR / "kaggle.pth").stat().st_size <= 600_000
    predictions = pd.read_csv(REFERENCE_DIR / "predictions.csv", dtype=str)
    split = pd.read_csv(SPLITS_DIR / "kaggle.csv", dtype=str)
    assert set(predictions["file"]) == set(split.loc[split["subset"] == "test", "file"])
    assert figures()["test"]["exact"] == (predictions["label"] == predictions["text"]).sum()


def test_readme_quotes_the_reference_run():
    text, run = readme(), figures()
    assert f"{run['test']['exact']} of {run['test']['n']}" in text
    assert f"{run['train_seconds']:.0f} s" in text
    assert f"{run['parameters']:,}" in text
    assert f"{(REFERENCE_DIR / 'weight.pth').stat().st_size / 1000:.0f} kB" in text


def test_readme_quotes_the_times_of_ten_seeds():
    seeds = pd.read_csv(REFERENCE_DIR / "seeds.csv")
    assert len(seeds) == 10
    assert f"({seeds['train_seconds'].min():.0f} to {seeds['train_seconds'].max():.0f} s over ten seeds)" in readme()
    assert f"read whole texts by epoch {seeds['first_exact_epoch'].max()}" in readme().replace("\n  ", " ")


def test_readme_quotes_both_decoders():
    tables = [pd.read_csv(path).head(5) for path in sorted(REFERENCE_DIR.glob("seeds*.csv"))]
    same = sum(int((table["exact"] == table["exact_best_path"]).sum()) for table in tables)
    assert f"in {same} of {sum(map(len, tables))} of these runs" in readme().replace("\n  ", " ")


def test_readme_quotes_what_the_reference_weights_read_of_the_generated_captchas():
    read = pd.read_csv(REFERENCE_DIR / "generated_predictions.csv", dtype=str)
    exact = int((read["label"] == read["text"]).sum())
    assert f"{exact:,} of the {len(read):,} generated captchas" in readme().replace("\n  ", " ")


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("seeds", "Kaggle, official split"),
        ("seeds_own_splits", "Kaggle, a split of its own for each seed"),
        ("seeds_generated", "generated"),
    ],
)
def test_readme_quotes_the_seeds(name, row):
    seeds = pd.read_csv(REFERENCE_DIR / f"{name}.csv").head(5)
    rates = 100 * seeds["exact"] / seeds["n"]
    quoted = next(line for line in readme().splitlines() if line.startswith(f"| {row} |"))
    first = sorted({str(seeds["first_exact_epoch"].min()), str(seeds["first_exact_epoch"].max())})
    cells = [f"{rates.mean():.2f}", f"{rates.min():.2f}", f"{rates.max():.2f}", " to ".join(first)]
    assert quoted == f"| {row} | 0 to 4 | " + " | ".join(cells) + " |"


def test_links_of_the_readme_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", readme()) if not link.startswith("http")]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


# Cross-validation, audit, calibration


def evidence(name: str) -> dict | list:
    return json.loads((REFERENCE_DIR / name).read_text(encoding="utf-8"))


def out_of_fold() -> pd.DataFrame:
    return read_table(REFERENCE_DIR / "crossval_predictions.csv")


def label_audit() -> pd.DataFrame:
    return read_table(REFERENCE_DIR / "label_audit.csv")


def on_audited_labels() -> pd.DataFrame:
    return relabelled(out_of_fold(), label_audit().set_index("file")["audited"])


def exact_by_seed(predictions: pd.DataFrame) -> list[int]:
    return (predictions["label"] == predictions["text"]).groupby(predictions["seed"]).sum().tolist()


def percent(share: float) -> str:
    return f"{100 * share:.2f}"


def table_row(start: str) -> list[str]:
    """The cells of the README's table row that begins with this text."""
    (row,) = [line for line in readme().splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip(" *") for cell in row.strip("|").split("|")]


def test_every_kaggle_image_was_read_once_a_seed():
    split = pd.read_csv(SPLITS_DIR / "kaggle.csv", dtype=str).set_index("file")["label"]
    for _, seed in out_of_fold().groupby("seed"):
        assert seed["file"].is_unique
        assert seed.set_index("file")["label"].sort_index().equals(split.sort_index())
        assert seed["fold"].value_counts().eq(107).all()


def test_crossval_figures_are_those_of_its_predictions():
    figures, predictions = evidence("crossval.json"), out_of_fold()
    by_seed = exact_by_seed(predictions)
    assert (figures["n"], figures["seeds"], figures["folds"]) == (1070, 3, 10)
    assert figures["exact_by_seed"] == by_seed
    assert figures["exact_mean"] == pytest.approx(sum(by_seed) / 3 / 1070)
    assert (figures["exact_low"], figures["exact_high"]) == wilson_interval(sum(by_seed), 3210)
    assert figures["exact_audited_by_seed"] == exact_by_seed(on_audited_labels())
    assert figures["exact_audited"] == pytest.approx(sum(figures["exact_audited_by_seed"]) / 3 / 1070)


def test_calibration_figures_are_those_of_the_predictions():
    figures = evidence("calibration.json")
    assert calibration_figures(on_audited_labels()).items() <= figures.items()
    as_given = calibration_figures(out_of_fold())
    assert {f"{name}_as_given": value for name, value in as_given.items()}.items() <= figures.items()


def test_misread_images_are_listed():
    predictions = out_of_fold()
    wrong = predictions[predictions["label"] != predictions["text"]]
    listed = read_table(REFERENCE_DIR / "crossval_misread.csv")
    assert set(zip(listed["file"], listed["seed"], strict=True)) == set(zip(wrong["file"], wrong["seed"], strict=True))
    assert all(f"`{label}`" in readme() for label in listed["label"])


def test_readme_quotes_the_cross_validation():
    figures = evidence("crossval.json")
    assert table_row("**this repository**, all 1,070 Kaggle images")[1] == f"{percent(figures['exact_mean'])} %"
    assert table_row("**this repository**")[1] == percent(figures["exact_mean"])
    assert table_row("the same, on audited labels")[1] == percent(figures["exact_audited"])
    helped = table_row("the same, 1,000 generated captchas added to each training set")
    assert helped[1] == percent(figures["exact_mean_generated"])
    assert percent(figures["exact_audited_generated"]) in helped[3]
    text = readme().replace("\n  ", " ")
    assert f"{percent(figures['exact_low'])} to {percent(figures['exact_high'])} % over the 3,210 readings" in text
    assert f"it is {percent(figures['exact_low_one_seed'])} to {percent(figures['exact_high_one_seed'])} %" in text
    assert ", ".join(f"{count:,}" for count in figures["exact_by_seed"]) + " of 1,070" in text


def test_readme_quotes_the_official_test_out_of_fold():
    split = pd.read_csv(SPLITS_DIR / "kaggle.csv", dtype=str)
    test = out_of_fold().merge(split[split["subset"] == "test"][["file"]], on="file")
    assert len(test) == 402
    right = int((test["label"] == test["text"]).sum())
    assert f"right {right} times of 402" in readme().replace("\n  ", " ")


def test_readme_quotes_the_calibration():
    figures, text = evidence("calibration.json"), readme().replace("\n", " ")
    assert f"calibration error is {figures['ece']:.4f} after temperature scaling ({figures['ece_as_given']:.4f}" in text
    assert f"{percent(figures['exact_at_97'])} % of the surest 97 % of readings are right" in text
    assert f"it is {percent(figures['exact_at_97_as_given'])} %" in text


def test_labels_are_changed_by_the_rule_and_its_witnesses():
    table = label_audit()
    again = apply_rule(table.drop(columns=["votes", "audited"]))
    assert table["votes"].tolist() == again["votes"].tolist()
    assert table["audited"].tolist() == again["audited"].tolist()
    readers = read_table(REFERENCE_DIR / "readers.csv").set_index("file")
    for reader in ("ddddocr_exact", "captcha_whisperer_exact"):
        assert table[reader].tolist() == readers.loc[table["file"], reader].tolist()
    judge = read_table(REFERENCE_DIR / "label_judge.csv").set_index("file")["chosen"]
    assert set(table.loc[table["judge"] != "", "file"]) == set(judge.index)
    assert (table["judge"] != "")[table["rank"] <= SUSPECTS].all()


def test_readme_names_the_changed_labels():
    changed = label_audit().query("label != audited")
    assert f"{len(changed)} labels are changed" in readme().replace("\n", " ")
    text = readme().replace("\n", " ")
    assert all(f"`{row.label}` reads `{row.audited}`" in text for row in changed.itertuples())


def test_readme_quotes_the_planted_labels():
    planted = pd.read_csv(REFERENCE_DIR / "planted.csv", dtype={"label": str, "true_label": str})
    found = int((planted["rank"] <= SUSPECTS).sum())
    assert len(planted) == 20
    said = f"{found} are in the first 30 ranks (the last at rank {planted['rank'].max()})"
    assert said in readme().replace("\n", " ")


# Labels needed, and what protects


def zero_readings() -> pd.DataFrame:
    return read_table(REFERENCE_DIR / "zero_labels_readings.csv")


def label_curve() -> pd.DataFrame:
    return curve.summarise(pd.read_csv(REFERENCE_DIR / "label_curve.csv")).set_index(["start", "labels"])


def protection() -> pd.DataFrame:
    return pd.read_csv(REFERENCE_DIR / "what_protects.csv")


def test_zero_label_figures_are_those_of_the_readings():
    figures, readings = evidence("zero_labels.json"), zero_readings()
    again = zero.summarise(readings)
    assert {kind: figures[kind] for kind in again} == json.loads(json.dumps(again))
    split = pd.read_csv(SPLITS_DIR / "kaggle.csv", dtype=str).set_index("file")["label"]
    for _, rows in readings.groupby(["kind", "seed"]):
        assert rows.set_index("file")["label"].sort_index().equals(split.sort_index())


def test_the_committed_pure_weights_are_those_of_seed_0():
    reader = TorchReader.load(REFERENCE_DIR / "zero_pure.pth")
    assert (reader.length, reader.image_size) == (5, (50, 200))
    texts, images = generate_captchas(200, seed=2026)
    assert sum(a == b for a, b in zip(reader.spell(reader.logits(images)), texts, strict=True)) >= 198


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("pure", "none: *pure*, generated captchas alone"),
        ("adapted", "none: *adapted*, then the unlabelled pictures"),
        ("control", "none: a control, generated captchas with their texts swapped"),
    ],
)
def test_readme_quotes_zero_labels(kind, row):
    figures = evidence("zero_labels.json")[kind]
    spread = f" ± {percent(figures['exact_std'])}" if figures["exact_std"] is not None else ""
    by_seed = ", ".join(f"{count:,}" for count in figures["exact_by_seed"])
    assert table_row(row)[1:] == [f"{percent(figures['exact_mean'])}{spread}", by_seed]


def test_readme_quotes_the_best_without_labels_first():
    mean = evidence("zero_labels.json")["pure"]["exact_mean"]
    assert table_row("**the same, without one label**")[1] == f"{percent(mean)} %"


@pytest.mark.parametrize(("start", "row"), [("scratch", "from scratch"), ("generated", "after generated captchas")])
def test_readme_quotes_the_label_curve(start, row):
    rows = label_curve().loc[start]
    assert rows.index.tolist() == [0, 10, 25, 50, 100, 200, 400, 802]
    assert rows["draws"].eq(5).all()
    assert table_row(row)[1:] == [f"{100 * mean:.1f}" for mean in rows["mean"]]


def test_the_label_curve_reaches_its_goals():
    mean = label_curve()["mean"]
    assert mean["generated", 50] >= 0.993
    assert mean["scratch", 100] >= 0.9
    assert mean["scratch", 200] >= 0.97


@pytest.mark.parametrize("knob", ["kaptcha", *protect.knobs()])
def test_readme_quotes_what_protects(knob):
    rows = protection().set_index(["setting", "labels"]).loc[knob]
    exact = 100 * rows["exact"] / rows["n"]
    cells = [f"{exact[100]:.1f}", f"{exact[1000]:.1f}", f"{100 * rows['legible'].iloc[0]:.1f}"]
    assert table_row("Kaptcha's own" if knob == "kaptcha" else knob)[-3:] == cells


def test_what_protects_is_whole():
    table = protection()
    assert set(table["setting"]) == set(protect.settings())
    assert table.groupby("setting")["labels"].agg(list).tolist() == [[100, 1000]] * len(protect.settings())
    again = protect.with_losses(table.drop(columns=["machine_loss", "legibility_loss"]))
    pd.testing.assert_frame_equal(again, table)


def test_readme_quotes_the_streams():
    figures, text = evidence("stream.json"), readme().replace("\n", " ")
    drawn, long = figures["drawn_per_second"], figures["streams"]["1000000"]
    assert f"{drawn['kaptcha']:,} captchas a second" in text
    assert f"{drawn['varied']:,} with everything varied" in text
    short = figures["streams"]["20000"]
    assert f"{long['peak_mb']} MB at most, {short['peak_mb']} MB for 20,000" in text
    assert f"{100 * long['waited']:.1f} % of the training time" in text
    processes = pd.read_csv(REFERENCE_DIR / "processes.csv")
    assert processes.groupby(["captchas", "processes"])["seed"].nunique().eq(5).all()
    rates = processes.assign(rate=processes["exact"] / processes["n"]).groupby(["captchas", "processes"])["rate"]
    for (captchas, count), rate in rates:
        said = f"{percent(rate.mean())} % ({percent(rate.min())} to {percent(rate.max())})"
        told = text[text.index(f"after {captchas:,} captchas:") :]
        assert f"{ {1: 'one process', 2: 'two processes'}[count] } {said}" in told


# Benchmarks


def test_bench_train_figures_are_those_of_its_epochs():
    figures, epochs = evidence("bench_train.json"), pd.read_csv(REFERENCE_DIR / "bench_train.csv")
    for threads in (1, 2):
        again = bench_train.summarise(epochs[epochs["threads"] == threads])
        ours = figures[f"threads_{threads}"]
        assert ours.keys() == again.keys()
        assert all(ours[name] == pytest.approx(again[name]) for name in again)
        assert again["n"] == 10


@pytest.mark.parametrize(("cores", "threads"), [("two cores", 2), ("one core", 1)])
def test_readme_quotes_the_time_to_accuracy(cores, threads):
    figures = evidence("bench_train.json")[f"threads_{threads}"]
    cells = table_row(f"**this repository**, {cores}")[1:]
    exact = f"{percent(figures['exact_mean'])} (lowest {percent(figures['exact_min'])})"
    assert cells == [f"{figures['seconds_median']:.1f}", f"{figures['seconds_max']:.1f}", exact]


def test_readme_quotes_the_reading_speed():
    rows = evidence("bench_read.json")
    for row in rows:
        bold = "**" if row["reader"].startswith("captcha_lib") else ""
        assert table_row(f"{bold}{row['reader']}{bold}")[1:] == [
            percent(row["exact"]), f"{row['ms_single']:.2f}", f"{row['images_per_second']:,.0f}",
            f"{row['size_mb']:.2f}", f"{row['load_s']:.2f}", f"{row['peak_mb']:.0f}",
        ]  # fmt: skip
    by_reader = {row["reader"]: row for row in rows}
    ours, theirs = by_reader["captcha_lib, ONNX Runtime"], by_reader["ddddocr"]
    text = readme().replace("\n", " ")
    assert f"does {ours['images_per_second'] / theirs['images_per_second']:.0f} times ddddocr's images" in text
    assert f"is {theirs['ms_single'] / ours['ms_single']:.0f} times as fast on single" in text
    assert f"a captcha is read in {ours['ms_single']:.2f} ms" in text


def test_ours_are_scored_out_of_fold_and_the_others_by_their_texts():
    split = pd.read_csv(SPLITS_DIR / "kaggle.csv", dtype=str).set_index("file")["label"]
    texts = read_table(REFERENCE_DIR / "readers.csv").set_index("file")
    by_seed = evidence("crossval.json")["exact_by_seed_likeliest_path"]
    for row in evidence("bench_read.json"):
        column = READERS[row["reader"]].__name__
        if column in texts:
            assert row["exact"] == pytest.approx((texts[column] == split[texts.index]).mean())
        else:
            assert row["exact"] == pytest.approx(sum(by_seed) / 3 / 1070)


# Captchas of others


def test_readme_quotes_the_sets_of_others():
    table = pd.read_csv(REFERENCE_DIR / "own.csv")
    for name, rows in table.groupby("set", sort=False):
        rates = 100 * rows["exact"] / rows["n"]
        cells = [f"{rates.mean():.2f}", f"{rates.min():.2f}", f"{100 * rows['ddddocr'].sum() / rows['n'].sum():.2f}"]
        cells.append(f"{rows['seconds'].median():.0f}")
        labels = f"{rows['train'].iloc[0] + rows['val'].iloc[0]:,}"
        assert f"| {name} | {labels} | {rows['n'].iloc[0]:,} | {len(rows)} | {' | '.join(cells)} |" in readme(), name


# Threads and precision


@pytest.mark.parametrize(("threads", "precision"), [(1, "bfloat16"), (1, "float32"), (2, "bfloat16"), (2, "float32")])
def test_readme_quotes_other_threads_and_precisions(threads, precision):
    table = pd.read_csv(REFERENCE_DIR / "same.csv")
    rows = table[(table["threads"] == threads) & (table["precision"] == precision)]
    assert table_row(f"{threads} | {precision}")[2:] == [
        ", ".join(map(str, rows["exact"])),
        f"{rows['seconds'].median():.1f}",
    ]


def test_other_threads_and_precisions_read_as_well_as_other_seeds():
    table = pd.read_csv(REFERENCE_DIR / "same.csv")
    seeds = pd.read_csv(REFERENCE_DIR / "seeds.csv")
    means = table.groupby(["threads", "precision"])["exact"].mean()
    assert means.max() - means.min() <= seeds["exact"].max() - seeds["exact"].min()
