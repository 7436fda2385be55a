"""Cross-validation: each image is read exactly once a seed, by a network that has not seen it (out of fold).

A job trains on all folds but one and scores that one. Jobs are processes of one thread each; a job's folder is written
atomically when it is done, so that the same call continues where an interrupted one stopped. `out_of_fold` makes
figures of the scores.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from shutil import rmtree

import joblib
import numpy as np
from sklearn.model_selection import KFold

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.data.colour import GREY
from captcha_lib.files import new_folder, sole_writer
from captcha_lib.metrics import count_exact
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.recipe import Recipe, recipe_for
from captcha_lib.training import fit, weights_digest
from studies.captchas import concatenate, generated_captchas
from studies.digest import made_by
from studies.jobs import is_done, one_thread, read_json, report_outdated, run_in_processes

HELP_SEED = 1_000_000  # the generated captchas that help are drawn from seeds that no run or split uses


@dataclass(frozen=True)
class OutOfFold:
    """What cross-validation leaves: one entry for each seed.

    Attributes:
        captchas: all the images.
        alphabet: the characters of the classes.
        seeds: the seeds.
        folds: (S, N), the fold of each image.
        logits: (S, N, T, K), the scores that each image got from the network that had not seen it.
        seconds: (S, F), training time of each job.
    """

    captchas: Captchas
    alphabet: Alphabet
    seeds: list[int]
    folds: np.ndarray
    logits: np.ndarray
    seconds: np.ndarray


def draw_folds(n: int, folds: int, seed: int) -> np.ndarray:
    """The fold 0..folds - 1 of each of n images, drawn at random: (n,), sizes differ by one at most.

    Raises:
        InputError: fewer than two folds, or more than images.
    """
    if not 2 <= folds <= n:
        raise InputError(f"{folds} folds of {n} images: give 2 to {n}")
    fold_of = np.empty(n, dtype=int)
    for fold, (_, rows) in enumerate(KFold(folds, shuffle=True, random_state=seed).split(np.zeros(n))):
        fold_of[rows] = fold
    return fold_of


def fold_recipe(captchas: Captchas, folds: int, start: str | None = None) -> Recipe:
    """The recipe of `train` for the images that one of the folds leaves for training; see `recipe_for`."""
    is_read = draw_folds(len(captchas), folds, seed=0) == 0
    manifest = captchas.manifest.assign(subset=np.where(is_read, "test", "train"))
    return recipe_for(captchas.replace(manifest=manifest), start=start)


def crossvalidate(
    captchas: Captchas,
    recipe: Recipe,
    out: Path,
    folds: int = 10,
    seeds: int = 3,
    helpers: int = 0,
    jobs: int = 2,
    report: Callable[[str], None] = print,
) -> OutOfFold:
    """Trains folds x seeds networks and reads every image with those that have not seen it.

    The images are held once, whatever the number of jobs.

    Args:
        captchas: labelled images; their subsets play no part.
        recipe: of each training, see `fold_recipe`; the seed is replaced.
        out: a folder for the jobs' results; finished jobs are taken from there.
        folds: F.
        seeds: S; seed s draws the folds, the weights and the order of the images.
        helpers: generated captchas that are added to each training set. They are never scored.
        jobs: processes at a time.
        report: gets one line a job.

    Raises:
        InputError: too few images, a folder that belongs to another run, or one that another run writes in.
    """
    fold_of = _draw_all(captchas, folds, seeds)
    extra = generated_captchas(helpers, HELP_SEED).seen_through(GREY, captchas.size) if helpers else None
    both = captchas if extra is None else concatenate(captchas, extra)
    both = both.replace(paths=[])  # a file in a zip cannot be sent to a process
    identity = _identity(captchas, extra, recipe, folds) | {"alphabet": both.alphabet.characters}
    with sole_writer(out):
        work = [
            _Job(replace(recipe.config, seed=seed), fold, out / f"seed-{seed}-fold-{fold}", identity)
            for seed, fold in product(range(seeds), range(folds))
        ]
        todo = [job for job in work if not job.is_done()]
        report_outdated(sum(job.folder.exists() for job in todo), report)
        done = len(work) - len(todo)
        report(f"{folds} folds, {seeds} seeds: {len(todo)} networks to train, {done} are there already")
        calls = (joblib.delayed(_run)(job, both, fold_of[job.config.seed], recipe.start) for job in todo)
        for line in run_in_processes(calls, jobs):
            done += 1
            report(f"[{done}/{len(work)}] {line}")
    return _gather(captchas, both.alphabet, fold_of, out)


def load_crossval(captchas: Captchas, out: Path) -> OutOfFold:
    """Reads what `crossvalidate` left in `out`, without training anything.

    Raises:
        InputError: jobs are missing there, or they belong to other images.
    """
    done = sorted(folder.name.split("-")[1::2] for folder in out.glob("seed-*-fold-*"))
    if not done:
        raise InputError(f"{out}: no cross-validation there; run the crossval command first")
    seeds, folds = (max(int(names[i]) for names in done) + 1 for i in (0, 1))
    if len(done) != seeds * folds:
        raise InputError(f"{out}: {len(done)} of {seeds * folds} jobs are done; run the crossval command again")
    first = out / "seed-0-fold-0"
    theirs = _facts(first)["identity"]
    is_done(first, theirs, {"images": captchas.identity()})
    return _gather(captchas, Alphabet(theirs["alphabet"]), _draw_all(captchas, folds, seeds), out)


@dataclass(frozen=True)
class _Job:
    """One network to train: its seed in `config`, the fold that it does not see, and where its results go."""

    config: Config
    fold: int
    folder: Path
    run: dict  # identifies the run

    @property
    def identity(self) -> dict:
        return self.run | {"seed": self.config.seed, "fold": self.fold}

    def is_done(self) -> bool:
        """Whether its results are there and made by this code; raises InputError if those of another job are."""
        return self.folder.exists() and is_done(self.folder, _facts(self.folder)["identity"], self.identity)


def _identity(captchas: Captchas, extra: Captchas | None, recipe: Recipe, folds: int) -> dict:
    """What has to agree for two cross-validations to be the same one."""
    data = {"images": captchas.identity(), "helpers": extra.identity() if extra else "0", "folds": folds}
    return asdict(recipe.config) | data | {"start": weights_digest(recipe.start)} | made_by("studies.crossval")


def _draw_all(captchas: Captchas, folds: int, seeds: int) -> np.ndarray:
    return np.stack([draw_folds(len(captchas), folds, seed) for seed in range(seeds)])  # (S, N)


@one_thread()
def _run(job: _Job, images: Captchas, fold_of: np.ndarray, start: TorchReader | None) -> str:
    """Trains and scores; returns a line that says how it went. Runs in a process of its own.

    Args:
        job: which.
        images: those of all the folds and, after them, those that help.
        fold_of: the fold of each of the former.
        start: see `Recipe`.
    """
    is_read = np.zeros(len(images), dtype=bool)
    is_read[: len(fold_of)] = fold_of == job.fold
    train, test = images.rows(~is_read), images.rows(is_read)
    reader, history = fit(train, None, job.config, start)
    logits = reader.logits(test.images).numpy()
    seconds = float(history["seconds"].iloc[-1])
    facts = {"identity": job.identity, "seconds": round(seconds, 1)}
    rmtree(job.folder, ignore_errors=True)  # what other code left
    with new_folder(job.folder) as part:
        reader.save(part / "weight.pth")
        np.save(part / "logits.npy", logits)
        (part / "job.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    right = count_exact(reader.spell(logits), test.labels)
    return f"seed {job.config.seed} fold {job.fold}: {right} of {len(test)} right, trained in {seconds:.0f} s"


def _facts(folder: Path) -> dict:
    """What a finished job says of itself."""
    return read_json(folder / "job.json")


def _logits(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: it cannot be read ({error}); remove its folder and start again") from None


def _gather(captchas: Captchas, alphabet: Alphabet, fold_of: np.ndarray, out: Path) -> OutOfFold:
    seeds, folds = len(fold_of), int(fold_of.max()) + 1
    scores: list[np.ndarray] = []
    seconds = np.zeros((seeds, folds))
    for seed, fold in product(range(seeds), range(folds)):
        folder = out / f"seed-{seed}-fold-{fold}"
        logits = _logits(folder / "logits.npy")  # (n, T, K)
        if fold == 0:
            scores.append(np.empty((len(captchas), *logits.shape[1:]), logits.dtype))
        scores[seed][fold_of[seed] == fold] = logits
        seconds[seed, fold] = _facts(folder)["seconds"]
    return OutOfFold(captchas, alphabet, list(range(seeds)), fold_of, np.stack(scores), seconds)
