"""Model files are found, joined and checked; nothing that differs from its pinned hash is handed out."""

import hashlib
from pathlib import Path

import pytest

from extractors import registry
from extractors.registry_table import MODELS, Member, Model, Part


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Model:
    """A model in two parts whose carrier package lies on the path."""
    carrier = tmp_path / "site" / "toy_carrier"
    carrier.mkdir(parents=True)
    (carrier / "__init__.py").write_text("raise RuntimeError('carriers are never imported')")
    (carrier / "w.part1").write_bytes(b"first ")
    (carrier / "w.part2").write_bytes(b"second")
    digest = hashlib.sha256(b"first second").hexdigest()
    parts = (Part("toy==1", "toy_carrier/w.part1"), Part("toy==1", "toy_carrier/w.part2"))
    model = Model("toy", "task", "nothing", "MIT", True, (Member("w.bin", 12, digest, parts),), ("bundled",), "card")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("AFFECTSTREAM_MODELS", str(tmp_path / "store"))
    monkeypatch.setitem(MODELS, "toy", model)
    return model


def test_parts_of_installed_packages_are_joined_once(toy: Model) -> None:
    assert registry.path("toy").read_bytes() == b"first second"
    assert registry.installed("toy").place == "store"
    assert registry.identity("toy") == f"toy@{toy.main.sha256[:8]}"


def test_a_changed_file_is_refused_with_the_cure(toy: Model) -> None:
    registry.path("toy").write_bytes(b"first secomd")
    with pytest.raises(registry.ModelCorrupt, match="affectstream models pull toy"):
        registry.path("toy")


def test_a_missing_model_names_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AFFECTSTREAM_MODELS", str(tmp_path))
    with pytest.raises(registry.ModelMissing, match="affectstream models pull yunet"):
        registry.path("yunet")
    with pytest.raises(registry.ModelMissing, match="lists them"):
        registry.path("yunett")


def test_every_entry_says_what_it_is() -> None:
    for name, model in MODELS.items():
        assert name == model.name and model.licence and model.profiles and model.card.startswith("docs/models/")
        assert all(len(member.sha256) == 64 and member.size > 0 for member in model.members)
        assert all("==" in part.carrier for member in model.members for part in member.parts)


def test_own_weights_are_the_pinned_ones() -> None:
    for name, model in MODELS.items():
        if model.own:
            assert registry.path(name).stat().st_size == model.main.size < 5_000_000
