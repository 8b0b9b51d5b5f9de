import numpy as np

from extractors.face import scene


def test_the_same_picture_is_no_cut_and_another_place_is() -> None:
    rng = np.random.default_rng(1)
    room = rng.integers(0, 90, (180, 320, 3), dtype=np.uint8)
    beach = np.flip(room, axis=1) // 2 + np.array([150, 120, 60], np.uint8)
    small = scene.thumbnail(room)
    assert not scene.is_cut(small, small)
    assert scene.is_cut(small, scene.thumbnail(beach))


def test_a_darkening_lamp_is_no_cut() -> None:
    gradient = np.tile(np.linspace(40, 200, 320, dtype=np.uint8)[None, :, None], (180, 1, 3))
    assert not scene.is_cut(scene.thumbnail(gradient), scene.thumbnail((gradient * 0.85).astype(np.uint8)))


def test_likeness_compares_only_what_both_pictures_show() -> None:
    picture = np.random.default_rng(2).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    whole = scene.colours(picture, (80.0, 40.0, 40.0, 40.0))
    at_the_edge = scene.colours(picture, (80.0, 165.0, 40.0, 40.0))  # no clothes below
    assert scene.likeness(whole, whole) == 1.0
    assert 0.0 < scene.likeness(whole, at_the_edge) <= 1.0
    assert scene.likeness(whole, scene.colours(picture, (500.0, 500.0, 10.0, 10.0))) == 0.0
