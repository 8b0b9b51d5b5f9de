"""Labels of every set come to the seven labels of the product, or are counted and named."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.cues import LABELS
from fusion import taxonomy


@pytest.mark.parametrize("name", taxonomy.SETS)
def test_every_label_of_every_set_has_a_target_among_the_seven_or_a_reason_why_not(name: str) -> None:
    for label, target in taxonomy.SETS[name].targets.items():
        assert target.label is None or target.label in LABELS, label
        assert target.reason, label


def test_names_of_corpora_are_mapped_whatever_their_case() -> None:
    assert taxonomy.map_label("joy", "meld") == "happiness"
    assert taxonomy.map_label(" Joy ", "meld") == "happiness"
    assert taxonomy.map_label("W", "emodb") == "anger"
    assert taxonomy.map_label("calm", "ravdess") == "neutral"
    assert taxonomy.map_label("annoyance", "goemotions") == "anger"
    assert taxonomy.map_label("anxiety", "maia") == "fear"


def test_a_label_without_counterpart_is_none_and_says_why() -> None:
    assert taxonomy.map_label("curiosity", "goemotions") is None
    assert "question" in (taxonomy.target("curiosity", "goemotions") or taxonomy.Target(None, "")).reason
    assert taxonomy.map_label("contempt", "ferplus") is None
    assert taxonomy.map_label("boredom", "emodb") is None


def test_a_label_that_the_set_does_not_know_is_none_and_has_no_target() -> None:
    assert taxonomy.map_label("melancholia", "meld") is None
    assert taxonomy.target("melancholia", "meld") is None


def test_an_unknown_set_is_an_error() -> None:
    with pytest.raises(KeyError):
        taxonomy.map_label("joy", "no such set")


def test_unmapped_labels_of_a_column_are_counted_and_named() -> None:
    mapped = taxonomy.map_all(["joy", "curiosity", "curiosity", "anger", ""], "goemotions")
    assert mapped.labels == ["happiness", None, None, "anger", None]
    assert mapped.unmapped == {"(empty)": 1, "curiosity": 2}
    assert mapped.used == {"anger": "anger", "joy": "happiness"}


def test_the_published_grouping_of_goemotions_maps_all_28_labels() -> None:
    published = taxonomy.SETS["goemotions-ekman"]
    assert len(published.labels) == 28
    assert all(target.label for target in published.targets.values())


def test_the_set_of_a_column_is_recognised() -> None:
    assert taxonomy.guess_set(["happy", "sad", "angry", "others"]) == "emocontext"
    assert taxonomy.guess_set(["joy", "curiosity", "remorse"]) == "goemotions"
    assert taxonomy.guess_set(list(LABELS)) == "basic"


def test_compounds_follow_the_pair_that_explains_most() -> None:
    assert taxonomy.compound({"anger": 0.45, "sadness": 0.4, "neutral": 0.15}) == "sadly angry"
    assert taxonomy.compound({"happiness": 0.5, "surprise": 0.4, "neutral": 0.1}) == "happily surprised"
    assert taxonomy.compound({"fear": 0.4, "surprise": 0.35, "sadness": 0.25}) == "fearfully surprised"


def test_the_rarer_part_of_a_pair_decides_between_equal_pairs() -> None:
    # 0.35 each: fear and surprise weigh 5/7 and 2/7, disgust and surprise 6/8 and 2/8: both pairs score 0.35 on even
    # parts; with less surprise the pair whose other part weighs more wins.
    shares = {"disgust": 0.4, "fear": 0.4, "surprise": 0.2}
    assert taxonomy.compound(shares) == "disgustedly surprised"


@pytest.mark.parametrize(
    "shares",
    [
        {"neutral": 1.0},
        {"anger": 1.0},
        {"anger": 0.8, "sadness": 0.1, "neutral": 0.1},
        {"neutral": 0.6, "anger": 0.2, "sadness": 0.2},
        dict.fromkeys(LABELS, 1 / 7),
        {},
    ],
)
def test_no_compound_is_said_where_one_part_is_weak_or_the_pair_explains_less_than_half(
    shares: dict[str, float],
) -> None:
    assert taxonomy.compound(shares) is None


def distributions() -> st.SearchStrategy[dict[str, float]]:
    weights = st.lists(st.floats(0.01, 1), min_size=7, max_size=7)
    return weights.map(lambda w: {label: value / sum(w) for label, value in zip(LABELS, w, strict=True)})


@given(distributions())
def test_a_compound_names_two_labels_that_hold_half_of_the_probability(shares: dict[str, float]) -> None:
    name = taxonomy.compound(shares)
    if name:
        first, second = taxonomy.COMPOUNDS[name]
        assert shares[first] + shares[second] >= taxonomy.COMPOUND_MINIMUM
        assert min(shares[first], shares[second]) > 1 / 7


@given(distributions(), distributions(), distributions())
def test_restating_there_and_back_gives_the_same_posterior(
    shares: dict[str, float], one: dict[str, float], other: dict[str, float]
) -> None:
    there = taxonomy.rebase(shares, one, other)
    assert sum(there.values()) == pytest.approx(1)
    assert taxonomy.rebase(there, other, one) == pytest.approx(shares)


@given(distributions(), distributions())
def test_a_posterior_that_says_nothing_says_nothing_under_any_prior(
    one: dict[str, float], other: dict[str, float]
) -> None:
    assert taxonomy.rebase(one, one, other) == pytest.approx(other)


@given(distributions())
def test_dimensions_lie_among_the_anchors(shares: dict[str, float]) -> None:
    for axis, value in enumerate(taxonomy.dimensions(shares)):
        values = [anchor[axis] for anchor in taxonomy.ANCHORS.values()]
        assert min(values) - 1e-4 <= value <= max(values) + 1e-4


def test_certain_labels_lie_at_their_anchors_and_nothing_lies_at_the_origin() -> None:
    assert taxonomy.dimensions({"anger": 1.0}) == taxonomy.ANCHORS["anger"]
    assert taxonomy.dimensions({}) == (0.0, 0.0, 0.0)


def test_the_reference_prior_is_a_distribution_over_the_seven_labels() -> None:
    assert tuple(taxonomy.REFERENCE_PRIOR) == LABELS
    assert sum(taxonomy.REFERENCE_PRIOR.values()) == pytest.approx(1)


def test_the_taxonomy_knows_nothing_of_streams() -> None:
    code = "import sys, fusion.taxonomy; sys.exit(any(name.split('.')[0] == 'streams' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
