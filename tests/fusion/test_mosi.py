"""The pool on real features of three modalities: it beats the mean of probabilities and does not lose to text."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fusion_mosi import run
from extractors.errors import InputError

pytestmark = pytest.mark.corpus


def test_the_pool_beats_the_mean_and_loses_nothing_when_modalities_go(corpus: Path) -> None:
    report = run(corpus / "multimodal" / "cmu_mosi_bclstm", "split", quick=True)
    fair = report["measured on other test videos"]
    against_mean = fair["pool_minus"]["mean of probabilities"]  # type: ignore[index]
    assert against_mean["accuracy_low"] > 0 and against_mean["log_loss_high"] < 0
    assert fair["pool_minus"]["text alone"]["accuracy_high"] >= 0  # type: ignore[index]
    for left in fair["subsets"].values():  # type: ignore[index]
        # A hundredth is eight of 752 utterances: intervals over videos are three times as wide.
        assert left["pool"] >= max(left["mean"], left["best_one"]) - 0.01
    dropped = fair["randomly_dropped"]  # type: ignore[index]
    assert dropped["pool"] >= dropped["mean"] and dropped["pool_log_loss"] <= dropped["best_one_log_loss"] + 0.005


def test_the_leaking_split_is_refused(corpus: Path) -> None:
    with pytest.raises(InputError, match="official_split"):
        run(corpus / "multimodal" / "cmu_mosi_bclstm", "official_split", quick=True)
