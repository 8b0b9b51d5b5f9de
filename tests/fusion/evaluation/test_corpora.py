"""Corpora are recognised by their files, plain or gzipped, and their labels scored through the taxonomy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from extractors.cues import LABELS, Posterior
from extractors.errors import InputError
from fusion.evaluation import corpora
from fusion.evaluation.report import Report
from fusion.evaluation.rows import Row
from fusion.evaluation.scoring import emotion_report, map_truth

EVEN = dict.fromkeys(LABELS, 1 / 7)


def sure(label: str, p: float = 0.94) -> Posterior:
    return Posterior(
        {name: p if name == label else (1 - p) / 6 for name in LABELS}, valence=0.5, arousal=0.0, dominance=0.0
    )


def write_gz(file: Path, text: str) -> None:
    with gzip.open(file, "wt", encoding="utf-8") as stream:
        stream.write(text)


def test_goemotions_is_read_from_gzipped_files_and_scored_on_its_test_part(tmp_path: Path) -> None:
    write_gz(tmp_path / "labels.txt.gz", "joy\nanger\ncuriosity\n")
    write_gz(tmp_path / "train.tsv.gz", 'so "happy\t0\ta1\n')
    write_gz(tmp_path / "test.tsv.gz", "hm\t2\tb1\nboth\t0,1\tb2\nrage\t1\tb3\n")
    corpus = corpora.read(tmp_path)
    assert corpus.name == "goemotions"
    rows = corpus.split(None)
    assert [row.text for row in rows] == ["hm", "both", "rage"]
    assert rows[1].labels == {"joy": 0.5, "anger": 0.5}
    assert [row.text for row in corpus.split("all")] == ['so "happy', "hm", "both", "rage"]
    with pytest.raises(InputError, match="use one of test, train, or all"):
        corpus.split("dev")


def test_meld_dialogues_are_keyed_by_split(tmp_path: Path) -> None:
    header = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
    for split in ("dev", "test"):
        (tmp_path / f"{split}_sent_emo.csv").write_text(
            header + f'1,"Oh, {split}",Ross,joy,positive,0,0,1,1,"00:00:01,000","00:00:02,000"\n'
        )
    assert {row.dialogue for row in corpora.read(tmp_path).split("all")} == {"dev-0", "test-0"}


def test_emobank_comes_to_the_scale_of_the_product(tmp_path: Path) -> None:
    (tmp_path / "emobank.csv").write_text("id,split,V,A,D,text\nx,test,5.0,3.0,1.0,hi\n")
    (row,) = corpora.read(tmp_path).rows
    assert (row.valence, row.arousal, row.dominance) == (1.0, 0.0, -1.0)


def test_customer_sentences_alone_are_scored_in_support_dialogues(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("empathy\nhappiness\nneutral\nanger\n")
    turns = [
        {"floor": "inbound", "text_src": ["Nein!", "Hm"], "text_mt": ["No!", "Hm"], "Emotion": [3, 2]},
        {"floor": "outbound", "text_src": ["Sorry"], "text_mt": ["x"], "Emotion": [0]},
    ]
    (tmp_path / "de_client_02.json").write_text(json.dumps([{"id": "d1", "turns": turns}]))
    rows = corpora.read(tmp_path).rows
    assert [(row.text, row.label, row.language, row.role) for row in rows] == [
        ("Nein!", "anger", "de", "customer"),
        ("Hm", "neutral", "de", "customer"),
    ]


def test_an_unknown_folder_names_the_layouts_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="manifest.csv"):
        corpora.read(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        corpora.read(tmp_path / "nowhere")


def test_a_corpus_is_found_one_or_two_levels_down(tmp_path: Path) -> None:
    (tmp_path / "text" / "meld").mkdir(parents=True)
    assert corpora.find(tmp_path, "meld") == tmp_path / "text" / "meld"
    assert corpora.find(tmp_path / "text", "meld") == tmp_path / "text" / "meld"
    assert corpora.find(tmp_path / "text" / "meld", "meld") == tmp_path / "text" / "meld"
    with pytest.raises(InputError, match="no folder emodb"):
        corpora.find(tmp_path, "emodb")


def test_rows_without_counterpart_are_counted_not_dropped_silently() -> None:
    rows = [
        Row(label="joy"),
        Row(label="curiosity"),
        Row(labels={"approval": 0.5, "caring": 0.5}),
        Row(labels={"joy": 0.5, "anger": 0.5}),
    ]
    truth = map_truth(rows, "goemotions")
    assert truth.index.tolist() == [LABELS.index("happiness"), -1, -1, -1]
    assert truth.unmapped == {"approval + caring": 1, "curiosity": 1}
    assert truth.ambiguous == 1
    report = emotion_report(
        "text-emotion", "x", rows, [sure("happiness")] * 4, label_set="goemotions", prior=EVEN, models={}, repeats=0
    )
    assert (report.n, report.metrics["n_labelled"], report.unmapped) == (4, 1, {"approval + caring": 1, "curiosity": 1})


def test_labels_that_map_to_one_label_are_no_tie() -> None:
    truth = map_truth([Row(labels={"joy": 0.25, "gratitude": 0.25, "approval": 0.25, "anger": 0.25})], "goemotions")
    assert LABELS[truth.index[0]] == "happiness"
    assert truth.shares[0, LABELS.index("happiness")] == pytest.approx(2 / 3)


def report() -> Report:
    rows = [
        Row(label=label, speaker=speaker, sex=sex, valence=0.4)
        for label, speaker, sex in [
            ("joy", "a", "F"),
            ("joy", "a", "F"),
            ("anger", "b", "M"),
            ("anger", "b", "M"),
            ("neutral", "c", "M"),
        ]
    ]
    posteriors = [sure(label) for label in ("happiness", "neutral", "anger", "anger", "neutral")]
    return emotion_report(
        "text-emotion",
        "five rows",
        rows,
        posteriors,
        label_set="meld",
        prior=EVEN,
        models={"text_emotion": "m@1"},
        bootstrap="speaker",
    )


def test_a_report_holds_figures_per_class_and_per_group_with_intervals() -> None:
    found = report()
    assert found.metrics["accuracy"] == pytest.approx(0.8)
    assert found.metrics["uar"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert found.classes["happiness"].recall == 0.5 and found.classes["neutral"].precision == 0.5
    assert found.confusion["happiness"]["neutral"] == 1
    assert found.groups["sex"]["F"]["accuracy"] == 0.5 and found.groups["sex"]["M"]["accuracy"] == 1.0
    assert found.mapping == {"anger": "anger", "joy": "happiness", "neutral": "neutral"}
    low, high = found.intervals["accuracy"]
    assert low <= 0.8 <= high
    assert found.bootstrap_over == "speakers"
    assert found.metrics["rmse_valence"] == pytest.approx(0.1)


def test_the_json_of_a_report_is_one_line_with_the_same_figures() -> None:
    found = report()
    text = found.to_json()
    assert "\n" not in text
    loaded = json.loads(text)
    assert loaded["metrics"]["accuracy"] == loaded["accuracy"] == 0.8
    assert loaded["metrics"]["ccc_valence"] == 0.0 and loaded["metrics"]["pearson_valence"] is None
    assert loaded["n"] == 5 and loaded["intervals"]["uar"][0] <= loaded["uar"] <= loaded["intervals"]["uar"][1]


def test_a_posterior_is_restated_under_even_shares_of_the_labels_that_occur() -> None:
    # Under a prior that makes neutral frequent, weak evidence for anger or sadness is hidden; among the two labels of
    # the corpus it decides.
    prior = dict(zip(LABELS, (0.05, 0.05, 0.05, 0.05, 0.7, 0.05, 0.05), strict=True))
    weak = [{**prior, "anger": 0.15, "neutral": 0.6}, {**prior, "sadness": 0.15, "neutral": 0.6}]
    rows = [Row(label="anger"), Row(label="sadness")]
    found = emotion_report(
        "t", "d", rows, [Posterior(p) for p in weak], label_set="basic", prior=prior, models={}, repeats=0
    )
    assert found.metrics["uar"] == 0.0
    assert found.metrics["uar_closed"] == 1.0
    assert found.metrics["gain_bits"] > 0


def test_posteriors_that_equal_their_prior_gain_nothing() -> None:
    rows = [Row(label=label) for label in ("joy", "joy", "anger", "neutral")]
    prior = dict(zip(LABELS, (0.1, 0.1, 0.1, 0.1, 0.4, 0.1, 0.1), strict=True))
    found = emotion_report("t", "d", rows, [Posterior(prior)] * 4, label_set="basic", prior=prior, models={}, repeats=0)
    assert found.metrics["gain_bits"] == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(found.metrics.get("ccc_valence", float("nan")))


@pytest.mark.corpus
def test_the_public_corpora_are_read_whole(corpus: Path) -> None:
    sizes = {
        "emodb": 535,
        "ravdess": 720,
        "urdu": 400,
        "goemotions": 54_263,
        "meld": 13_708,
        "emobank": 10_062,
        "maia_dqe": 5_250,
    }
    for name, size in sizes.items():
        assert len(corpora.read(corpora.find(corpus, name)).rows) == size
