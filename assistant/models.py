"""The models on disk: listed in configs/models.toml, fetched once, checked before every use.

A model is a folder below `cache() / "models"`. What was hashed is written down beside its files
with their sizes and times, so that the check before use costs a few `stat` calls.
"""

import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypedDict

from pydantic import BaseModel, ConfigDict, ValidationError

from assistant.model_sources import Progress, Source, SourceError, fetch, sha256
from assistant.settings import ROOT, ConfigError

CATALOGUE = ROOT / "configs" / "models.toml"
STAMP = ".checked.json"


class ModelError(RuntimeError):
    """A model that cannot be used; the message names it and the remedy."""


class ModelMissing(ModelError):
    """The model is not in the cache."""


class ModelCorrupt(ModelError):
    """A file of the model is not what it should be."""


class ModelFile(BaseModel):
    """One file of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    size: int
    """Bytes."""
    sha256: str


class Model(BaseModel):
    """One entry of the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    purpose: str
    licence: str
    pull: Literal["default", "try", "tests", "asked"]
    files: list[ModelFile] = []
    """Empty where the sha256 of the archive stands for all files in it."""
    sources: list[Source]

    @property
    def size(self) -> int:
        """Bytes, as far as known before it is fetched."""
        return sum(file.size for file in self.files) or self.sources[0].size


def cache() -> Path:
    """Where everything fetched or rendered is kept: $HOTLINE_CACHE or ~/.cache/hotline."""
    return Path(os.environ.get("HOTLINE_CACHE") or Path.home() / ".cache" / "hotline")


def catalogue() -> dict[str, Model]:
    """All models by name. Raises ConfigError."""
    try:
        entries = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
        return {name: Model.model_validate(entry) for name, entry in entries.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{CATALOGUE}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{CATALOGUE}: {error.title} {where}: {first['msg']}") from None


def folder(name: str) -> Path:
    """Where the model lies, or will lie."""
    return cache() / "models" / name


def find(name: str) -> Path:
    """The folder of a model that is present and whole.

    Cheap: a file is hashed again only when its size or time has changed.
    Raises ModelMissing or ModelCorrupt.
    """
    return _check(name, trust_times=True)


def verify(name: str) -> Path:
    """Like find(), but every file is hashed again."""
    return _check(name, trust_times=False)


def present(name: str) -> bool:
    """Whether the model can be used as it is."""
    try:
        find(name)
    except ModelError:
        return False
    return True


def pull(names: Iterable[str] = (), progress: Progress = print, tests: bool = False) -> list[str]:
    """Fetch what is not there yet; without names the default set. Returns the names pulled.

    A damaged model is fetched anew. A model marked "try" that cannot be had is a line of
    progress. Raises ModelError for any other, after all have been tried.
    """
    known = catalogue()
    wanted = {"default", "try", "tests"} if tests else {"default", "try"}
    asked = list(names) or [name for name, model in known.items() if model.pull in wanted]
    if unknown := [name for name in asked if name not in known]:
        raise ModelError(f"no model is called {unknown[0]}; known: {', '.join(known)}")
    pulled, failures = [], []
    for name in asked:
        if present(name):
            progress(f"{name}: present")
            continue
        try:
            _pull_one(name, known[name].sources, known[name].files, _about(name, progress))
            pulled.append(name)
        except ModelError as error:
            if names or known[name].pull != "try":
                failures.append(str(error))
            else:
                progress(f"{error}; optional, going on without it")
    if failures:
        raise ModelError("\n".join(failures))
    return pulled


def pull_archive(name: str, archive: Path, progress: Progress = print) -> None:
    """Take a model from an archive that was carried here by hand; the checks are the same.

    Raises ModelError.
    """
    model = catalogue().get(name)
    archives = [source for source in model.sources if source.is_archive] if model else []
    if model is None or not archives:
        raise ModelError(f"{name}: not a model that comes as an archive; see configs/models.toml")
    here = [source.model_copy(update={"url": archive.resolve().as_uri()}) for source in archives]
    _pull_one(name, here, model.files, _about(name, progress))


def _about(name: str, progress: Progress) -> Progress:
    return lambda line: progress(f"{name}: {line}")


def _pull_one(name: str, sources: list[Source], files: list[ModelFile], progress: Progress) -> None:
    """Fetch from the first source that gives the right files; in place only when all are right."""
    home = folder(name)
    reasons = []
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        for source in sources:
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=home.parent) as temporary:
                try:
                    ready = _fetch_checked(source, files, Path(temporary), progress)
                except SourceError as error:
                    reasons.append(f"{source}: {error}")
                    continue
                if home.exists():
                    home.rename(Path(temporary) / "replaced")
                ready.rename(home)
                progress(f"ready in {home}")
                return
    except OSError as error:
        raise ModelError(f"{name}: cannot be stored in {home.parent}: {error}") from None
    raise ModelError(f"{name}: could not be fetched: {'; '.join(reasons)}")


def _fetch_checked(
    source: Source, files: list[ModelFile], temporary: Path, progress: Progress
) -> Path:
    """The model's folder, ready to be moved into place. Raises SourceError."""
    names = [file.name for file in files]
    fetched = fetch(source, names, temporary / "fetched", progress)
    progress("checking" if names or source.sha256 else "no checksum is known: taken as it is")
    ready = temporary / "ready"
    if not names:
        if not fetched.is_dir():
            raise SourceError(f"no {source.folder} in it")
        fetched.rename(ready)
        names = sorted(str(path.relative_to(ready)) for path in ready.rglob("*") if path.is_file())
    for name in names:
        target = ready / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.move(fetched / name, target)
            except FileNotFoundError:
                raise SourceError(f"no {source.folder}/{name} in it") from None
    hashes = {name: sha256(ready / name) for name in names}
    for file in files:
        if hashes[file.name] != file.sha256:
            wrong = f"sha256 is {hashes[file.name]}, expected {file.sha256}"
            raise SourceError(f"{file.name}: {wrong}")
    _write_stamp(ready, hashes)
    return ready


def _check(name: str, trust_times: bool) -> Path:
    model = catalogue().get(name)
    if model is None:
        raise ModelMissing(f"no model is called {name}; see `hotline models list`")
    home = folder(name)
    remedy = f"run `hotline models pull {name}`"
    if not home.is_dir():
        raise ModelMissing(f"{name} is not in {home.parent}; {remedy}")
    stamp = _read_stamp(home)
    expected = {file: facts["sha256"] for file, facts in stamp.items()}
    expected |= {file.name: file.sha256 for file in model.files}
    if not expected:
        raise ModelCorrupt(f"{name}: {home} has no record of a check; {remedy}")
    rehashed = False
    for file, sha in expected.items():
        path = home / file
        try:
            known = stamp.get(file)
            if trust_times and known and known["sha256"] == sha and _facts(path, sha) == known:
                continue
            found = sha256(path)
        except OSError as error:
            raise ModelCorrupt(f"{name}: {path}: {error.strerror}; {remedy}") from None
        if found != sha:
            raise ModelCorrupt(f"{name}: {path}: sha256 is {found}, expected {sha}; {remedy}")
        rehashed = True
    if rehashed:
        _write_stamp(home, expected)
    return home


class Facts(TypedDict):
    """What the stamp says of one file."""

    size: int
    mtime_ns: int
    sha256: str


def _facts(path: Path, sha: str) -> Facts:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha}


def _write_stamp(home: Path, hashes: dict[str, str]) -> None:
    """Note what was hashed. Where the cache is read-only the next start hashes again."""
    stamp = {name: _facts(home / name, sha) for name, sha in hashes.items()}
    temporary = home / f"{STAMP}.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
        temporary.replace(home / STAMP)
    except OSError:
        temporary.unlink(missing_ok=True)


def _read_stamp(home: Path) -> dict[str, Facts]:
    try:
        stamp: dict[str, Facts] = json.loads((home / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp
