"""Label audit: which labels are probably wrong, and the rule by which one is changed.

All images are ranked by how much likelier the best other text is than the given label, in the eyes of networks that
have not seen the image (confident learning in its simplest form: Northcutt et al., JAIR 2021). A rank is a suspicion,
not evidence: the network that is scored must not choose its own labels. A label is changed by `RULE`, on the word of
witnesses that never saw these labels.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import Config, InputError
from captcha_lib.data.captchas import Captchas
from captcha_lib.decode import alternatives
from captcha_lib.generator.style import KAPTCHA
from captcha_lib.lattice import log_probabilities, text_log_probability
from captcha_lib.training import fit
from studies.captchas import generated_captchas
from studies.crossval import OutOfFold, load_crossval
from studies.evidence import REFERENCE_DIR
from studies.out_of_fold import label_length
from studies.zero import styled

OFFICIAL_AUDIT = REFERENCE_DIR / "label_audit.csv"
SUSPECTS = 30  # ranks that are looked at
WITNESSES = ("ddddocr_exact", "captcha_whisperer_exact", "generator", "judge")
VOTES_NEEDED = 3
RULE = (
    f"A label among the first {SUSPECTS} ranks is changed to the other text if at least {VOTES_NEEDED} of "
    f"{len(WITNESSES)} witnesses say so: two readers made by others (decoded to the known length and alphabet), which "
    "have to read exactly the other text; a network trained on generated captchas alone, which has to give the other "
    "text the higher likelihood; and a judge who was shown the picture and both texts in random order, not knowing "
    "which is the label."
)


def audit_labels(captchas: Captchas, jobs: Path, readers: Path, judge: Path) -> pd.DataFrame:
    """Ranks the labels of a finished cross-validation, gathers the witnesses and applies the rule.

    Args:
        captchas: the images.
        jobs: the folder of the cross-validation's jobs.
        readers: a CSV with the columns file, ddddocr_exact, captcha_whisperer_exact: their texts.
        judge: a CSV with the columns file, chosen: the judge's text for the suspects.

    Returns:
        the evidence, one row an image; see `rank_labels` and `apply_rule`.

    Raises:
        InputError: a file that is missing or lacks a column or an image.
    """
    ranking = rank_labels(load_crossval(captchas, jobs))
    texts = _read_columns(readers, ["file", "ddddocr_exact", "captcha_whisperer_exact"])
    chosen = _read_columns(judge, ["file", "chosen"]).rename(columns={"chosen": "judge"})
    evidence = ranking.merge(texts, on="file", how="left").merge(chosen, on="file", how="left")
    unread = evidence.loc[evidence["ddddocr_exact"].isna(), "file"]
    if len(unread):
        raise InputError(f"{readers}: it has no row for {unread.iloc[0]!r}; let the readers read these images")
    evidence["judge"] = evidence["judge"].fillna("")
    evidence["generator"] = generator_margins(captchas, ranking)
    return apply_rule(evidence).round({"label_log_p": 4, "other_log_p": 4, "margin": 4, "generator": 4})


def official_audit(captchas: Captchas) -> pd.Series | None:
    """The audited label of each file, indexed by file, if these are the images that were audited; else None."""
    if not OFFICIAL_AUDIT.exists():
        return None
    table = _read_columns(OFFICIAL_AUDIT, ["file", "label", "audited"]).set_index("file")
    ours = captchas.manifest.set_index("file")["label"]
    return table["audited"] if ours.sort_index().equals(table["label"].sort_index()) else None


def rank_labels(result: OutOfFold, width: int = 4) -> pd.DataFrame:
    """Ranks all images by the log-likelihood of their label minus that of the best other text, averaged over the seeds.

    Args:
        result: out-of-fold scores of labels of one length.
        width: of the beam that looks for other texts.

    Returns:
        one row an image, the most suspicious first: rank (from 1), file, label, other, label_log_p, other_log_p (nats)
        and margin, their difference.

    Raises:
        InputError: labels of several lengths, or of a single character, which leave no other text.
    """
    length = label_length(result.captchas)
    if not length:
        raise InputError(f"{result.captchas.source}: the audit needs labels of one length")
    _check_alphabet(result.captchas)
    rows = [
        _label_against_others(result.logits[:, i], label, result.alphabet, length, width)
        for i, label in enumerate(result.captchas.labels)
    ]
    table = pd.concat([result.captchas.manifest[["file", "label"]], pd.DataFrame(rows)], axis=1)
    table = table.sort_values("margin", kind="stable", ignore_index=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def plant_errors(captchas: Captchas, count: int, seed: int) -> tuple[Captchas, np.ndarray]:
    """Gives `count` images a label in which one character is another one, drawn at random.

    Returns:
        the captchas with their new labels, and the rows that were changed.

    Raises:
        InputError: fewer images than that, or an alphabet of a single character.
    """
    _check_alphabet(captchas)
    if count > len(captchas):
        raise InputError(f"{captchas.source}: {count} of {len(captchas)} labels cannot be changed; plant fewer")
    rng = np.random.default_rng(seed)
    characters = captchas.alphabet.characters
    rows = np.sort(rng.choice(len(captchas), count, replace=False))
    labels = captchas.labels
    for row in rows:
        place = int(rng.integers(len(labels[row])))
        other = rng.choice([c for c in characters if c != labels[row][place]])
        labels[row] = f"{labels[row][:place]}{other}{labels[row][place + 1 :]}"
    return captchas.replace(manifest=captchas.manifest.assign(label=labels)), rows


def find_planted(ranking: pd.DataFrame, captchas: Captchas) -> pd.DataFrame:
    """Where the audit ranked the planted labels: one row each with rank, file, label, true_label and margin.

    Args:
        ranking: of `rank_labels`, made with the spoilt labels.
        captchas: with the true labels.
    """
    true_label = dict(zip(captchas.manifest["file"], captchas.labels, strict=True))
    table = ranking.assign(true_label=ranking["file"].map(true_label))
    planted = table["label"] != table["true_label"]
    return table.loc[planted, ["rank", "file", "label", "true_label", "margin"]].reset_index(drop=True)


def generator_margins(
    captchas: Captchas, ranking: pd.DataFrame, count: int = 5000, epochs: int = 12, seed: int = 0
) -> pd.Series:
    """The log-likelihood of each label minus that of its other text, for a network trained on generated captchas alone.

    Args:
        captchas: the images of the ranking.
        ranking: of `rank_labels`.
        count, epochs, seed: of its training; none was chosen by what it reads of these images.

    Returns:
        margins in nats, indexed as the ranking is.
    """
    alphabet = captchas.alphabet
    drawn = generated_captchas(count, seed, styled(KAPTCHA, captchas)).replace(alphabet=alphabet)
    reader, _ = fit(drawn, None, replace(Config(), seed=seed, epochs=epochs))
    log_probs = log_probabilities(reader.logits(captchas.images))
    row_of = {file: row for row, file in enumerate(captchas.manifest["file"])}
    log_probs = log_probs[[row_of[file] for file in ranking["file"]]]
    ours, theirs = (
        text_log_probability(log_probs, [tuple(alphabet.encode(text)) for text in ranking[column]])
        for column in ("label", "other")
    )
    return pd.Series(ours - theirs, index=ranking.index)


def apply_rule(evidence: pd.DataFrame) -> pd.DataFrame:
    """Counts the witnesses for the other text, and changes labels by `RULE`.

    Args:
        evidence: a ranking with a column for each witness: texts of the two readers, the generator's margin, and the
            text that the judge chose, "" where the judge was not asked.

    Returns:
        the evidence with the columns votes and audited, the label after the rule.
    """
    for_other = pd.DataFrame({name: evidence[name] == evidence["other"] for name in WITNESSES if name != "generator"})
    for_other["generator"] = evidence["generator"] < 0
    votes = for_other.sum(axis=1)
    changed = (votes >= VOTES_NEEDED) & (evidence["rank"] <= SUSPECTS)
    return evidence.assign(votes=votes, audited=evidence["label"].where(~changed, evidence["other"]))


def _check_alphabet(captchas: Captchas) -> None:
    characters = captchas.alphabet.characters
    if len(characters) == 1:
        raise InputError(f"{captchas.source}: all labels consist of {characters!r}; the audit needs two characters")


def _label_against_others(
    logits: np.ndarray, label: str, alphabet: Alphabet, length: int, width: int
) -> dict[str, str | float]:
    """One image's scores by all seeds, (S, T, K): the label, and the other text that is likeliest on average."""
    found = {reading.text for scores in logits for reading in alternatives(scores, alphabet, length, width)}
    others = sorted(found - {label})
    log_probs = log_probabilities(logits)
    mean_log_p = {text: _mean_log_p(log_probs, alphabet.encode(text)) for text in [label, *others]}
    other = max(others, key=lambda text: mean_log_p[text])
    ours, theirs = mean_log_p[label], mean_log_p[other]
    return {"other": other, "label_log_p": ours, "other_log_p": theirs, "margin": ours - theirs}


def _mean_log_p(log_probs: np.ndarray, ids: np.ndarray) -> float:
    return float(text_log_probability(log_probs, [tuple(ids)] * len(log_probs)).mean())


def _read_columns(csv: Path, columns: list[str]) -> pd.DataFrame:
    try:
        return pd.read_csv(csv, dtype=str, keep_default_na=False)[columns]
    except (OSError, ValueError) as error:
        raise InputError(f"{csv}: cannot be read as a table ({str(error).strip()})") from None
    except KeyError:
        raise InputError(f"{csv}: it needs the columns {','.join(columns)}") from None
