import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.face.action_units import LOWER_FACE, RECIPES, ActionUnitState, action_units
from extractors.face.baseline import POPULATION, Baseline, learn, neutral
from extractors.face.readings import INDEX, READINGS

faces = st.lists(st.floats(-0.2, 1.2), min_size=len(READINGS), max_size=len(READINGS)).map(np.array)


def face(**changes: float) -> np.ndarray:
    readings = POPULATION.copy()
    for name, value in changes.items():
        readings[INDEX[name]] = value
    return readings


def state() -> ActionUnitState:
    return ActionUnitState(Baseline())


@given(st.lists(faces, min_size=1, max_size=6))
def test_intensities_stay_on_the_scale_whatever_is_measured(series: list[np.ndarray]) -> None:
    person = state()
    for index, readings in enumerate(series):
        units = action_units(person, readings, index * 40)
        assert list(units) == list(RECIPES)
        assert all(0 <= value <= 5 for value in units.values())


def test_a_neutral_face_shows_nothing() -> None:
    assert all(value == 0 for value in action_units(state(), face(), 0).values())


def test_a_smile_shows_as_lip_corner_puller_and_a_closed_frown_does_not() -> None:
    smile = action_units(state(), face(mouthSmile=0.9, mouth_width=0.75, corner_height=0.08, eyeSquint=0.6), 0)
    frown = action_units(state(), face(brow_eye=0.205, nasal_root=0.15, glabella=0.3), 0)
    assert smile["AU12"] > 3 and smile["AU6"] > 2 and smile["AU4"] == 0
    assert frown["AU4"] > 3 and frown["AU12"] == 0


def test_a_person_whose_resting_eyes_are_narrow_reads_as_neutral_after_a_while() -> None:
    person, narrow = state(), face(eyeSquint=0.5)
    first = action_units(person, narrow, 0)["AU7"]
    for ms in range(100, 40_000, 100):
        last = action_units(person, narrow, ms)["AU7"]
    assert first > 1.5
    assert last < 0.5


def test_somebody_who_laughs_all_along_is_still_laughing() -> None:
    person, laugh = state(), face(mouthSmile=0.9, mouth_width=0.78, corner_height=0.09)
    for ms in range(0, 60_000, 100):
        units = action_units(person, laugh, ms)
    assert units["AU12"] > 2.5


def test_the_baseline_depends_on_media_time_not_on_the_frame_rate() -> None:
    dense, sparse = Baseline(), Baseline()
    for _ in range(400):
        learn(dense, face(eyeSquint=0.45), 25)
    for _ in range(100):
        learn(sparse, face(eyeSquint=0.45), 100)
    assert neutral(dense) == pytest.approx(neutral(sparse), abs=1e-9)


def test_baseline_memory_is_bounded_and_follows() -> None:
    baseline = Baseline()
    for _ in range(10_000):
        learn(baseline, face(browOuterUp=0.40), 250)
    size = len(baseline.histogram)
    assert neutral(baseline)[INDEX["browOuterUp"]] == pytest.approx(0.40, abs=0.03)
    for _ in range(10_000):
        learn(baseline, face(browOuterUp=0.10), 250)
    assert neutral(baseline)[INDEX["browOuterUp"]] == pytest.approx(0.10, abs=0.03)
    assert len(baseline.histogram) == size < 8_000
    assert baseline.seen_ms <= 600_000


def test_a_blink_is_no_closed_eye_until_it_lasts() -> None:
    person, shut = state(), face(lid_gap=0.015, eyeBlink=0.75)
    action_units(person, face(), 0)
    blink = action_units(person, shut, 40)
    assert blink["AU45"] > 4 and blink["AU43"] == 0
    for ms in range(80, 700, 40):
        closed = action_units(person, shut, ms)
    assert closed["AU43"] > 4 and closed["AU45"] == 0


def test_behind_a_hand_the_lower_face_is_not_reported() -> None:
    units = action_units(state(), face(mouthSmile=0.9), 0, occluded=True)
    assert not LOWER_FACE & set(units)
    assert "AU4" in units


def test_small_faces_do_without_wrinkles() -> None:
    units = action_units(state(), face(glabella=float("nan"), brow_eye=0.205, nasal_root=0.15), 0)
    assert units["AU4"] > 2
