"""Fixtures shared by all tests: corpora, sample media and pretrained models are found here and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A real broker or browser on a busy machine can miss a deadline once; missing it twice is a fault."""
    for item in items:
        if item.get_closest_marker("integration") or "integration" in item.path.parts:
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=2))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Folder of the research corpora (`audio/`, `visual/`, `text/` …): `$AFFECTSTREAM_CORPORA` or ``../shared/data``."""
    place = Path(os.environ.get("AFFECTSTREAM_CORPORA", ROOT.parent / "shared" / "data"))
    if not place.is_dir():
        pytest.skip("the research corpora are not beside the checkout (set AFFECTSTREAM_CORPORA)")
    return place


@pytest.fixture(scope="session")
def sample_clip() -> Path:
    """A real moving face, pulled once into the model store by `make samples`."""
    from extractors import registry

    clip = registry.store() / "media" / "WolfgangLanger_Pexels.mp4"
    if not clip.is_file():
        pytest.skip("the sample clip is not there: run `make samples`")
    return clip


@pytest.fixture(scope="session")
def sample_call() -> Path:
    """The two-voice sample call with its truth beside it (`*.json`), made by `make samples`."""
    call = ROOT / "samples" / "support_call.wav"
    if not call.is_file():
        pytest.skip("the sample call is not there: run `make samples`")
    return call


@pytest.fixture(scope="session")
def bundled_models() -> None:
    """Skips where a model of the bundled profile is not on this machine."""
    from extractors import registry

    for name, model in registry.MODELS.items():
        if "bundled" in model.profiles:
            problem = registry.installed(name).problem
            if problem:
                pytest.skip(problem)
