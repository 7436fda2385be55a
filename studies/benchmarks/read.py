"""Measures readers side by side, one core each, from the bytes of image files to texts: `make bench-read`.

Every reader runs in processes of its own, three times, in turn with the others, so that a slow minute of the machine
hits all alike. Quoted are medians: of single images, of lists, and of the three runs. Ours are measured as users call
them: `captcha_lib.read` of one picture and of lists, and the command `predict`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from captcha_lib.config import RUN_DIR, WEIGHTS_DIR, InputError, data_choice
from captcha_lib.data.folders import AnyPath, find_images
from studies.benchmarks.readers import OPENERS, OURS, PEERS, PEERS_PYTHON, READERS
from studies.benchmarks.speed import peak_mb, time_predict, timed_all
from studies.evidence import ROOT

ROUNDS = 3
LIST = 64  # pictures of a list
PREDICTED = 10_000  # images of the folder that `predict` reads
MEASURED = [
    "ms_single", "ms_list", "images_per_second", "size_mb", "load_s", "peak_mb",
    "predict_cold_s", "predict_cold_mb", "predict_10k_s",
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", help="generated, or a folder of images named by their text (CAPTCHA_DATA)")
    parser.add_argument("--onnx", default="kaggle", help="weights for ONNX Runtime (%(default)s)")
    parser.add_argument("--weights", default=str(WEIGHTS_DIR / "kaggle.pth"), help="the same for torch (%(default)s)")
    parser.add_argument(
        "--crossval",
        type=Path,
        nargs="*",
        default=[],
        help="folders of crossval.json: the first one of these images scores ours",
    )
    parser.add_argument("--peers", type=Path, default=PEERS_PYTHON, help="their environment's python")
    parser.add_argument("--out", type=Path, default=RUN_DIR, help="for bench_read.json and readers.csv")
    parser.add_argument("--one", choices=READERS, help="measure this reader in this process, print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, Path(options.data), options)))
        return 0
    try:
        options.data = str(_image_folder(options.data))
        if not options.peers.exists():
            raise InputError(f"{options.peers}: no such file; run 'make peers' first")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    runs = [run_one(name, options) for _ in range(ROUNDS) for name in READERS]
    write([run for run in runs if run is not None], options)
    return 0


def measure(name: str, folder: Path, options: argparse.Namespace) -> dict:
    """Loads one reader and reads everything image by image and, where it can, again in lists."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    files = _unique(find_images(folder))
    raws = [file.read_bytes() for file in files]
    began = time.perf_counter()
    reader = READERS[name](options)
    reader.one(raws[0])
    load_s = time.perf_counter() - began
    texts, alone = timed_all(reader.one, raws)
    each, ms_list = alone, None
    if reader.many is not None:
        reader.many(raws[:LIST])
        lists = [raws[start : start + LIST] for start in range(0, len(raws), LIST)]
        list_texts, seconds = timed_all(reader.many, lists)
        texts = [text for batch in list_texts for text in batch]
        each = [spent / len(batch) for spent, batch in zip(seconds, lists, strict=True)]
        ms_list = 1000 * statistics.median(each)
    figures = {
        "reader": name,
        "ms_single": 1000 * statistics.median(alone),
        "ms_list": ms_list,
        "images_per_second": 1 / statistics.median(each),
        "size_mb": reader.size / 1e6,
        "load_s": load_s,
        "peak_mb": peak_mb(),
        "files": [file.name for file in files],
        "texts": texts,
    }
    if name in OURS:
        figures |= time_predict(files, options.weights if "torch" in name else options.onnx, PREDICTED)
    return figures


def run_one(name: str, options: argparse.Namespace) -> dict | None:
    """Measures one reader in a process of the environment that has it; None if it is not installed."""
    python = options.peers if name in PEERS else sys.executable
    paths = ["--data", options.data, "--weights", str(options.weights), "--onnx", str(options.onnx)]
    words = [str(python), "-m", "studies.benchmarks.read", "--one", name, *paths]
    one_thread = {"OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=os.environ | one_thread, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        print(f"{name}: not measured ({reason})", flush=True)
        return None
    figures = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{name:30} {figures['ms_single']:8.3f} ms alone, {figures['images_per_second']:8.0f} a second",
        flush=True,
    )
    return figures


def write(runs: list[dict], options: argparse.Namespace) -> None:
    """Writes bench_read.json, a row a reader, and readers.csv, the texts of the peers."""
    import pandas as pd

    from captcha_lib.files import replacing, write_csv
    from captcha_lib.runs.results import machine, write_json
    from studies.plots import plot_reading_speed

    names = [name for name in READERS if any(run["reader"] == name for run in runs)]
    here = {"threads_used": 1} | {key: machine()[key] for key in ("processor", "packages")}
    rows = [_row(name, [run for run in runs if run["reader"] == name], options.crossval) for name in names]
    opening = next((row["ms_single"] for row in rows if row["reader"] == OPENERS[0]), None)
    rows = [row | {"times_opening": opening and _ms(row) / opening} | here for row in rows]
    write_json(options.out / "bench_read.json", rows)
    readers = pd.DataFrame([row for row in rows if row["reader"] not in OPENERS])
    with replacing(options.out / "reading_speed.png") as part:
        plot_reading_speed(readers).savefig(part, dpi=120)
    last = {run["reader"]: run for run in runs}
    texts = pd.DataFrame({"file": runs[0]["files"]})
    for name in names:
        if name in PEERS:
            texts[READERS[name].__name__] = last[name]["texts"]
    write_csv(options.out / "readers.csv", texts)
    print(pd.DataFrame(rows)[["reader", "exact", *MEASURED, "times_opening"]].round(3).to_string(index=False))


def _row(name: str, runs: list[dict], crossval: list[Path]) -> dict[str, Any]:
    files = runs[-1]["files"]
    exact, scored = _exact(name, files, runs[-1]["texts"], crossval)
    medians = {key: _median([run.get(key) for run in runs]) for key in MEASURED}
    return {"reader": name, "exact": exact} | medians | {"n": len(files), "runs": len(runs), "exact_on": scored}


def _exact(name: str, files: list[str], texts: list[str], crossval: list[Path]) -> tuple[float | None, str]:
    """The share of files that are read exactly, and which images these were for the reader."""
    from captcha_lib.metrics import count_exact

    if name in OPENERS:
        return None, "nothing, it opens files alone"
    out_of_fold = None if name in PEERS else _exact_out_of_fold(crossval, files)
    if out_of_fold is not None:
        return out_of_fold, "out of fold, see crossval.json"
    exact = count_exact(texts, [file.split(".")[0] for file in files]) / len(files)
    trained_on = "none" if name in PEERS else "some"
    return exact, f"all images, {trained_on} of which it was trained on"


def _exact_out_of_fold(crossval: list[Path], files: list[str]) -> float | None:
    """The share of these files that is read exactly out of fold; None if no cross-validation was about them."""
    from captcha_lib.runs.results import read_table

    for folder in crossval:
        predictions = folder / "crossval_predictions.csv"
        if predictions.exists() and set(read_table(predictions)["file"]) == set(files):
            by_seed = json.loads((folder / "crossval.json").read_text(encoding="utf-8"))["exact_by_seed"]
            return sum(by_seed) / len(by_seed) / len(files)
    return None


def _ms(row: dict[str, Any]) -> float:
    """Milliseconds a picture in the quickest way that a reader has."""
    return row["ms_single"] if row["ms_list"] is None else row["ms_list"]


def _median(values: list[float | None]) -> float | None:
    """Of what was measured, if it was."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _image_folder(data: str | None) -> Path:
    from captcha_lib.data.load import locate

    folder = locate(data_choice(data))
    if not isinstance(folder, Path):
        raise InputError(f"{data}: unpack this zip first; every reader is to open the same files")
    return folder.resolve()


def _unique(files: Iterable[AnyPath]) -> list[Path]:
    """Each picture once: Kaggle's archive holds every file twice."""
    return list({file.name: Path(str(file)) for file in files}.values())


if __name__ == "__main__":
    sys.exit(main())
