"""The pool: any subset of modalities, in any order, gives a distribution and an honest decision."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from extractors.cues import LABELS, Posterior
from fusion.models.pool import UNKNOWN, LogPool, PoolTable, to_unit
from tests.cue_samples import ANCHORS, POOL, TABLE, modalities, posterior, posteriors


@given(modalities)
def test_probabilities_sum_to_one_and_name_every_label(given_: dict[str, Posterior]) -> None:
    fused = POOL.fuse(given_)
    assert tuple(fused.probabilities) == LABELS
    assert math.isclose(math.fsum(fused.probabilities.values()), 1.0, abs_tol=1e-9)
    assert all(p == round(p, 4) >= 0 for p in fused.probabilities.values())
    assert fused.label in (fused.best, UNKNOWN) and fused.confidence == fused.probabilities[fused.best]


@given(modalities, st.randoms())
def test_the_order_of_the_modalities_changes_nothing(given_: dict[str, Posterior], random: object) -> None:
    names = list(given_)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert POOL.fuse({name: given_[name] for name in names}) == POOL.fuse(given_)


@given(modalities, posteriors(), st.sampled_from(["text", "speech", "face"]))
def test_a_missing_modality_gives_the_pool_of_the_rest(
    given_: dict[str, Posterior], other: Posterior, gone: str
) -> None:
    """Absent, of no quality, or unknown to the table: all the same."""
    rest = {name: p for name, p in given_.items() if name != gone}
    silent = Posterior(other.probabilities, 0.0, other.valence, other.arousal)
    assert POOL.fuse({**rest, gone: silent}) == POOL.fuse(rest)
    assert POOL.probabilities({**rest, "smell": other}) == POOL.probabilities(rest)


@given(modalities, st.sampled_from(["text", "speech", "face"]))
def test_a_uniform_modality_changes_nothing(given_: dict[str, Posterior], name: str) -> None:
    rest = {other: p for other, p in given_.items() if other != name}
    uniform = Posterior(probabilities=dict.fromkeys(LABELS, 1 / len(LABELS)), quality=1.0)
    with_it, without = POOL.probabilities({**rest, name: uniform}), POOL.probabilities(rest)
    assert all(math.isclose(with_it[label], without[label], abs_tol=1e-9) for label in LABELS)


@given(posteriors())
def test_a_modality_that_repeats_its_class_balance_changes_nothing(other: Posterior) -> None:
    balance = {label: 0.4 if label == "neutral" else 0.1 for label in LABELS}
    pool = LogPool(PoolTable(weights={"text": 1.0, "face": 1.0}, prior=balance, reference={"face": balance}))
    repeats = Posterior(probabilities=balance)
    with_it, without = pool.probabilities({"text": other, "face": repeats}), pool.probabilities({"text": other})
    assert all(math.isclose(with_it[label], without[label], abs_tol=1e-9) for label in LABELS)


def test_one_modality_with_full_weight_is_taken_at_its_word() -> None:
    alone = POOL.probabilities({"text": posterior("anger", 0.7)})
    assert alone["anger"] == pytest.approx(0.98 * 0.7 + 0.02 / 7, abs=1e-6)


def test_agreement_makes_surer_and_conflict_less_sure() -> None:
    text, agrees, objects = posterior("anger", 0.6), posterior("anger", 0.6), posterior("happiness", 0.6)
    alone = POOL.fuse({"text": text}).confidence
    assert POOL.fuse({"text": text, "face": agrees}).confidence > alone
    assert POOL.fuse({"text": text, "face": objects}).confidence < alone


def test_a_rounded_zero_is_no_veto() -> None:
    certain = Posterior(probabilities={label: float(label == "neutral") for label in LABELS})
    assert (
        POOL.fuse({"face": certain, "text": posterior("anger", 0.97), "speech": posterior("anger", 0.97)}).best
        == "anger"
    )


@given(modalities, st.sampled_from(["text", "speech", "face"]))
def test_lower_quality_moves_towards_the_prior(given_: dict[str, Posterior], name: str) -> None:
    assume(name in given_)
    only = given_[name]
    full = POOL.probabilities({name: Posterior(only.probabilities, 1.0)})
    half = POOL.probabilities({name: Posterior(only.probabilities, 0.5)})
    best = max(full, key=lambda label: full[label])
    assert 1 / len(LABELS) - 1e-9 <= half[best] <= full[best] + 1e-9


def test_abstains_without_evidence_and_without_a_clear_label() -> None:
    assert POOL.fuse({}).label == UNKNOWN
    assert POOL.fuse({"text": posterior("anger", 0.9, quality=0.05)}).label == UNKNOWN
    assert POOL.fuse({"text": posterior("anger", 0.25)}).label == UNKNOWN
    assert POOL.fuse({"text": posterior("anger", 0.6)}).label == "anger"


@given(modalities)
def test_dimensions_stay_in_range(given_: dict[str, Posterior]) -> None:
    fused = POOL.fuse(given_)
    for value in (fused.valence, fused.arousal, fused.dominance):
        assert value is not None and -1 <= value <= 1
    assert fused.intensity is not None and 0 <= fused.intensity <= 1


def test_a_regressor_pulls_valence_with_its_precision() -> None:
    plain = POOL.fuse({"text": posterior("anger", 0.8)})
    mild = POOL.fuse({"text": posterior("anger", 0.8, valence=0.2)})
    vague = POOL.fuse({"text": posterior("anger", 0.8, 0.3, valence=0.2)})
    assert plain.valence is not None and mild.valence is not None and vague.valence is not None
    assert plain.valence < mild.valence < 0.2
    assert mild.dominance == plain.dominance
    assert abs(vague.valence - 0.2) > abs(mild.valence - 0.2), "a poor input has less of a vote"


def test_intensity_is_the_distance_from_neutral() -> None:
    order = [POOL.fuse({"text": posterior(label, 0.9)}).intensity for label in ("neutral", "sadness", "anger", "fear")]
    assert order == sorted(order)  # type: ignore[type-var]


def test_without_anchors_and_regressors_there_are_no_dimensions() -> None:
    fused = LogPool(TABLE).fuse({"face": posterior("anger")})
    assert (fused.valence, fused.arousal, fused.dominance, fused.intensity) == (None, None, None, None)


@given(st.dictionaries(st.text(), st.floats(0, 1e6), min_size=1))
def test_printed_shares_add_up(values: dict[str, float]) -> None:
    shares = to_unit(values)
    assert list(shares) == list(values)
    expected = 1.0 if math.fsum(values.values()) > 0 else 0.0
    assert math.isclose(math.fsum(shares.values()), expected, abs_tol=1e-9)
    total = math.fsum(values.values())
    assert all(abs(shares[k] - values[k] / total) <= 1.01e-4 for k in values if total > 0)


def test_the_identity_names_the_table() -> None:
    other = PoolTable(weights={"text": 0.9})
    assert LogPool(TABLE, ANCHORS).identity == POOL.identity != LogPool(other, ANCHORS).identity
