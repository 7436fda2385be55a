"""Measures readers side by side, one core each, from the bytes of image files to texts: `make bench-read`.

Every reader runs in processes of its own, three times, in turn with the others, so that a slow minute of the machine
hits all alike. Quoted are medians: of single images, of batches of 32, and of the three runs.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from captcha_lib.config import REFERENCE_DIR, ROOT, RUN_DIR, InputError, data_choice
from captcha_lib.data.images import find_images
from studies.benchmarks.readers import BATCH, PEERS, READERS

ROUNDS = 3
MEASURED = ["ms_single", "images_per_second", "size_mb", "load_s", "peak_mb"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="generated, or a folder of images named by their text (CAPTCHA_DATA)")
    parser.add_argument("--weights", type=Path, default=REFERENCE_DIR / "weight.pth", help="for torch")
    parser.add_argument("--onnx", type=Path, default=RUN_DIR / "captcha.onnx", help="the same, exported")
    parser.add_argument(
        "--crossval",
        type=Path,
        nargs="*",
        default=[],
        help="folders of crossval.json: the first one of these images scores ours",
    )
    parser.add_argument(
        "--peers", type=Path, default=ROOT / ".venv-peers/bin/python", help="their environment's python"
    )
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
    found = [run for run in runs if run is not None]
    write(found, options)
    return 0


def measure(name: str, folder: Path, options: argparse.Namespace) -> dict:
    """Loads one reader and reads everything image by image and, where it can, once more in batches."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    files = _unique(find_images(folder))
    raws = [file.read_bytes() for file in files]
    began = time.perf_counter()
    reader = READERS[name](options)
    reader.one(raws[0])
    load_s = time.perf_counter() - began
    texts, alone = _timed_all(reader.one, raws)
    each = alone
    if reader.many is not None:
        reader.many(raws[:BATCH])
        batches = [raws[start : start + BATCH] for start in range(0, len(raws), BATCH)]
        batch_texts, seconds = _timed_all(reader.many, batches)
        texts = [text for batch in batch_texts for text in batch]
        each = [spent / len(batch) for spent, batch in zip(seconds, batches, strict=True)]
    return {
        "reader": name,
        "ms_single": 1000 * statistics.median(alone),
        "images_per_second": 1 / statistics.median(each),
        "size_mb": reader.size / 1e6,
        "load_s": load_s,
        "peak_mb": _peak_mb(),
        "files": [file.name for file in files],
        "texts": texts,
    }


def run_one(name: str, options: argparse.Namespace) -> dict | None:
    """Measures one reader in a process of the environment that has it; None if it is not installed."""
    python = options.peers if name in PEERS else sys.executable
    paths = ["--data", options.data, "--weights", str(options.weights), "--onnx", str(options.onnx)]
    words = [str(python), "-m", "benchmarks.read", "--one", name, *paths]
    one_thread = {"OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=os.environ | one_thread, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        print(f"{name}: not measured ({reason})", flush=True)
        return None
    figures = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{name:30} {figures['ms_single']:8.3f} ms alone, {figures['images_per_second']:8.0f} a second in batches",
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
    rows = [_row(name, [run for run in runs if run["reader"] == name], options.crossval) | here for name in names]
    write_json(options.out / "bench_read.json", rows)
    with replacing(options.out / "reading_speed.png") as part:
        plot_reading_speed(pd.DataFrame(rows)).savefig(part, dpi=120)
    last = {run["reader"]: run for run in runs}
    texts = pd.DataFrame({"file": runs[0]["files"]})
    for name in names:
        if name in PEERS:
            texts[READERS[name].__name__] = last[name]["texts"]
    write_csv(options.out / "readers.csv", texts)
    print(pd.DataFrame(rows)[["reader", "exact", *MEASURED]].round(3).to_string(index=False))


def _row(name: str, runs: list[dict], crossval: list[Path]) -> dict:
    files, texts = runs[-1]["files"], runs[-1]["texts"]
    exact = sum(text == file.split(".")[0] for file, text in zip(files, texts, strict=True)) / len(files)
    scored = "all images, none of which it was trained on"
    if name not in PEERS:
        out_of_fold = _exact_out_of_fold(crossval, files)
        known = "all images, some of which it was trained on"
        exact, scored = (exact, known) if out_of_fold is None else (out_of_fold, "out of fold, see crossval.json")
    medians = {key: statistics.median(run[key] for run in runs) for key in MEASURED}
    return {"reader": name, "exact": exact} | medians | {"n": len(files), "runs": len(runs), "exact_on": scored}


def _exact_out_of_fold(crossval: list[Path], files: list[str]) -> float | None:
    """The share of these files that `spell` reads out of fold; None if no cross-validation was about them."""
    from captcha_lib.runs.results import read_table

    for folder in crossval:
        predictions = folder / "crossval_predictions.csv"
        if predictions.exists() and set(read_table(predictions)["file"]) == set(files):
            figures = json.loads((folder / "crossval.json").read_text(encoding="utf-8"))
            by_seed = figures["exact_by_seed_likeliest_path"]
            return sum(by_seed) / len(by_seed) / len(files)
    return None


def _image_folder(data: str | None) -> Path:
    from captcha_lib.data.load import locate

    folder = locate(data_choice(data))
    if not isinstance(folder, Path):
        raise InputError(f"{data}: unpack this zip first; every reader is to open the same files")
    return folder.resolve()


def _peak_mb() -> float:
    """The most memory that this process, or a child of it, has held. (getrusage alone counts its parent's, too.)"""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # Linux counts in KiB
    status = Path("/proc/self/status")
    if not status.exists():
        return max(children, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return max(children, int(line.split()[1]) / 1024)


def _timed_all(read: Callable, things: list) -> tuple[list, list[float]]:
    """What `read` makes of each thing, and the seconds that each took."""
    answers, seconds = [], []
    for thing in things:
        began = time.perf_counter()
        answers.append(read(thing))
        seconds.append(time.perf_counter() - began)
    return answers, seconds


def _unique(files) -> list[Path]:
    """Each picture once: Kaggle's archive holds every file twice."""
    return list({file.name: file for file in files}.values())


if __name__ == "__main__":
    sys.exit(main())
