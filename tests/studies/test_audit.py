"""The audit: planted errors are found, ranks are likelihoods, and the rule counts its witnesses."""

import numpy as np
import pandas as pd
import pytest
import torch

from captcha_lib.alphabet import Alphabet
from captcha_lib.config import InputError
from captcha_lib.data.captchas import in_memory
from captcha_lib.model import ctc_loss
from studies import audit
from studies.audit import apply_rule, audit_labels, find_planted, official_audit, plant_errors, rank_labels
from studies.captchas import generated_captchas
from studies.crossval import OutOfFold

CAPTCHAS = generated_captchas(12, seed=3)
ALPHABET = Alphabet.of(CAPTCHAS.labels)


def scores_of(texts: list[str], sure: float = 12.0) -> np.ndarray:
    """Scores (N, 11, K) of a network that reads these texts."""
    logits = np.random.default_rng(0).normal(size=(len(texts), 11, ALPHABET.num_classes))
    for i, text in enumerate(texts):
        logits[i, 1::2, 0] += sure
        logits[i, np.arange(len(text)) * 2, ALPHABET.encode(text)] += sure
    return logits


def out_of_fold(labels: list[str], read: list[list[str]]) -> OutOfFold:
    captchas = CAPTCHAS.replace(manifest=CAPTCHAS.manifest.assign(label=labels))
    logits = np.stack([scores_of(texts) for texts in read])
    shape = len(read), len(labels)
    return OutOfFold(captchas, ALPHABET, list(range(len(read))), np.zeros(shape, int), logits, np.zeros((len(read), 1)))


def test_margins_are_mean_likelihoods_of_the_ctc_loss():
    other = [text[::-1] for text in CAPTCHAS.labels]
    result = out_of_fold(CAPTCHAS.labels, [CAPTCHAS.labels, other])
    for row in rank_labels(result).itertuples():
        image = CAPTCHAS.manifest["file"].tolist().index(row.file)
        logits = torch.from_numpy(result.logits[:, image])
        for text, log_p in ((row.label, row.label_log_p), (row.other, row.other_log_p)):
            loss = ctc_loss(logits, *ALPHABET.encode_batch([text, text])).mean()
            assert log_p == pytest.approx(-float(loss))
        assert row.margin == pytest.approx(row.label_log_p - row.other_log_p)
        assert row.label != row.other


def test_what_cannot_be_audited_is_refused():
    labels = [label[: 4 + i % 2] for i, label in enumerate(CAPTCHAS.labels)]
    with pytest.raises(InputError, match="labels of one length"):
        rank_labels(out_of_fold(labels, [CAPTCHAS.labels]))
    with pytest.raises(InputError, match="13 of 12 labels cannot be changed"):
        plant_errors(CAPTCHAS, 13, seed=0)
    ones = in_memory(["11", "11"], torch.zeros(2, 1, 50, 200, dtype=torch.uint8), "ones")
    result = OutOfFold(ones, ones.alphabet, [0], np.zeros((1, 2), int), np.zeros((1, 2, 25, 2)), np.zeros((1, 1)))
    for refused in (lambda: rank_labels(result), lambda: plant_errors(ones, 1, seed=0)):
        with pytest.raises(InputError, match="all labels consist of '1'; the audit needs two characters"):
            refused()


def test_planted_errors_change_one_character_each():
    spoilt, rows = plant_errors(CAPTCHAS, 5, seed=1)
    differ = [a != b for a, b in zip(CAPTCHAS.labels, spoilt.labels, strict=True)]
    assert np.flatnonzero(differ).tolist() == rows.tolist()
    assert len(rows) == 5
    for row in rows:
        assert sum(a != b for a, b in zip(CAPTCHAS.labels[row], spoilt.labels[row], strict=True)) == 1
        ALPHABET.encode(spoilt.labels[row])
    assert CAPTCHAS.labels == generated_captchas(12, seed=3).labels  # the original is as it was


def test_planted_labels_are_listed_with_their_ranks():
    spoilt, rows = plant_errors(CAPTCHAS, 3, seed=1)
    ranking = rank_labels(out_of_fold(spoilt.labels, [CAPTCHAS.labels]))
    assert ranking["margin"].is_monotonic_increasing
    assert (ranking["margin"] < 0).tolist() == [True] * 3 + [False] * 9
    table = find_planted(ranking, CAPTCHAS)
    assert table["rank"].tolist() == [1, 2, 3]
    assert set(table["file"]) == set(CAPTCHAS.manifest["file"].iloc[rows])
    assert sorted(table["true_label"]) == sorted(CAPTCHAS.labels[row] for row in rows)


def evidence(**columns) -> pd.DataFrame:
    row = {"rank": 1, "label": "aa", "other": "ab", "ddddocr_exact": "ab", "captcha_whisperer_exact": "ab",
           "generator": -1.0, "judge": "ab"}  # fmt: skip
    return pd.DataFrame([row | columns])


@pytest.mark.parametrize(
    ("columns", "votes", "audited"),
    [
        ({}, 4, "ab"),
        ({"judge": ""}, 3, "ab"),
        ({"generator": 0.5}, 3, "ab"),
        ({"ddddocr_exact": "cb"}, 3, "ab"),
        ({"ddddocr_exact": "cb", "captcha_whisperer_exact": "cb"}, 2, "aa"),
        ({"generator": 2.0, "judge": "aa"}, 2, "aa"),
        ({"rank": 31}, 4, "aa"),
    ],
)
def test_the_rule(columns, votes, audited):
    (row,) = apply_rule(evidence(**columns)).itertuples()
    assert (row.votes, row.audited) == (votes, audited)


@pytest.fixture
def witnesses(tmp_path, monkeypatch):
    """Files of readers who read the true texts, a finished cross-validation, and a label that is wrong."""
    labels = CAPTCHAS.labels
    labels[2] = labels[2][1:] + labels[2][0]
    result = out_of_fold(labels, [CAPTCHAS.labels])
    monkeypatch.setattr(audit, "load_crossval", lambda captchas, jobs: result)
    monkeypatch.setattr(audit, "generator_margins", lambda captchas, ranking: ranking["margin"])
    texts = CAPTCHAS.manifest[["file"]].assign(ddddocr_exact=CAPTCHAS.labels, captcha_whisperer_exact=CAPTCHAS.labels)
    texts.to_csv(tmp_path / "readers.csv", index=False)
    chosen = pd.DataFrame({"file": CAPTCHAS.manifest["file"].iloc[[2]], "chosen": [CAPTCHAS.labels[2]]})
    chosen.to_csv(tmp_path / "judge.csv", index=False)
    return result.captchas, tmp_path, tmp_path / "readers.csv", tmp_path / "judge.csv"


def test_an_audit_changes_the_wrong_label_only(witnesses):
    table = audit_labels(*witnesses)
    changed = table[table["label"] != table["audited"]]
    assert changed["audited"].tolist() == [CAPTCHAS.labels[2]]
    assert changed["votes"].tolist() == [4]
    assert len(table) == 12
    assert (table["judge"] != "").sum() == 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("readers.csv", None, "cannot be read as a table"),
        ("readers.csv", "file,ddddocr_exact\nx,y\n", "needs the columns file,ddddocr_exact,captcha_whisperer_exact"),
        ("readers.csv", "file,ddddocr_exact,captcha_whisperer_exact\n", "has no row for"),
        ("judge.csv", "file\nx\n", "needs the columns file,chosen"),
    ],
)
def test_witness_files_that_do_not_suffice_are_refused(witnesses, name, content, says):
    (witnesses[1] / name).unlink()
    if content is not None:
        (witnesses[1] / name).write_text(content)
    with pytest.raises(InputError, match=says):
        audit_labels(*witnesses)


def test_the_official_audit_is_taken_for_its_own_images_only(tmp_path, monkeypatch):
    table = CAPTCHAS.manifest[["file", "label"]].assign(audited="bcdef")
    monkeypatch.setattr(audit, "OFFICIAL_AUDIT", tmp_path / "label_audit.csv")
    assert official_audit(CAPTCHAS) is None
    table[::-1].to_csv(tmp_path / "label_audit.csv", index=False)
    assert official_audit(CAPTCHAS).reindex(CAPTCHAS.manifest["file"]).tolist() == ["bcdef"] * 12
    assert official_audit(plant_errors(CAPTCHAS, 1, 0)[0]) is None
    assert official_audit(generated_captchas(12, seed=4)) is None
