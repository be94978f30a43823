"""The trained dialogue model: made from rasa_project and the policy cards, kept in the cache."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from assistant.dialogue import digressions, policies, resilient
from assistant.dialogue.serving import RASA_BIN, RASA_PROJECT, rasa_environment
from assistant.model_sources import Progress
from assistant.models import cache
from assistant.settings import Settings, project_path
from assistant.supervision import StartError

BUILD = project_path("var/dialogue")
"""Where the training data is put together; may be deleted at any time."""

_SOURCES = (
    "config.yml", "domain", "data", "components", "requirements.lock", "actions/digressions.yml",
)  # fmt: skip
"""What the model is made of, in rasa_project, besides the policy cards."""

_TOPIC = "utter_topic_"
"""Responses of this name are parts of a sentence, never spoken by themselves."""


def model(progress: Progress = print) -> Path:
    """The model of the current sources, trained first where the cache has none.

    Raises ConfigError for a broken policy card, StartError when Rasa refuses the data.
    """
    cards = policies.load()
    path = _path(cards)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / "training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one training at a time: they share the build folder
        if not path.exists():
            progress(f"training the dialogue model on {len(cards)} policy cards, some minutes")
            started = time.monotonic()
            _assemble(cards)
            _train(path, progress)
            progress(f"dialogue model trained in {time.monotonic() - started:.0f} s: {path}")
    return path


def trained_model() -> Path:
    """The model of the current sources; raises StartError when it has not been trained yet."""
    path = _path(policies.load())
    if not path.exists():
        raise StartError("the dialogue model is not trained for these cards; run `hotline train`")
    return path


def spoken_file() -> Path:
    """The file with what is said of the cards; made where it is not there yet.

    Apart from the model: a changed answer needs no training.
    """
    text = json.dumps(policies.spoken(policies.load()), ensure_ascii=False, default=str)
    path = cache() / "dialogue" / f"cards-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    return path


def responses(settings: Settings) -> list[str]:
    """All that the dialogue says besides the cards; variables stand in {braces}."""
    texts = [
        variation["text"]
        for name, variations in _responses().items()
        if not name.startswith(_TOPIC)
        for variation in variations
    ]
    return [*texts, *resilient.prompts(settings)]


def _responses() -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for file in sorted((RASA_PROJECT / "domain").glob("*.yml")):
        responses |= yaml.safe_load(file.read_text(encoding="utf-8")).get("responses", {})
    return responses


def _path(cards: list[policies.Card]) -> Path:
    return cache() / "dialogue" / f"{_fingerprint(cards)}.tar.gz"


def _fingerprint(cards: list[policies.Card]) -> str:
    """Changes whenever a model trained now would be another one."""
    digest = hashlib.sha256(yaml.safe_dump(policies.training_data(cards)).encode())
    for file in _source_files():
        digest.update(file.relative_to(RASA_PROJECT).as_posix().encode() + b"\0")
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _source_files() -> Iterator[Path]:
    for name in _SOURCES:
        source = RASA_PROJECT / name
        files = [source] if source.is_file() else sorted(source.rglob("*"))
        yield from (file for file in files if file.suffix in {".yml", ".py", ".lock"})


def _assemble(cards: list[policies.Card]) -> None:
    """Put Rasa's own files and those of the cards into one project."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    shutil.copy(RASA_PROJECT / "config.yml", BUILD)
    for folder in ("domain", "data"):
        shutil.copytree(RASA_PROJECT / folder, BUILD / folder)
    for name, data in {
        "policies.yml": policies.training_data(cards),
        "digressions.yml": digressions.rules(),
    }.items():
        text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
        (BUILD / "data" / name).write_text(text, encoding="utf-8")


def _train(path: Path, progress: Progress) -> None:
    # --force: Rasa's own cache does not notice a changed function outside a component's class.
    argv = [
        str(RASA_BIN / "rasa"), "train", "--force",
        "--config", "config.yml", "--domain", "domain", "--data", "data",
        "--out", "models", "--fixed-model-name", "dialogue",
    ]  # fmt: skip
    env = rasa_environment() | {"LOG_LEVEL": "INFO", "HOTLINE_EMBEDDINGS": str(path.parent)}
    log = BUILD / "train.log"
    last_line = ""
    try:
        process = subprocess.Popen(
            argv, cwd=BUILD, env=env, text=True, encoding="utf-8", errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except FileNotFoundError:
        raise StartError(f"{RASA_BIN}: Rasa's environment is missing; run `make setup`") from None
    with process, log.open("w", encoding="utf-8") as output:
        assert process.stdout is not None
        for line in process.stdout:
            output.write(line)
            last_line = line.strip() or last_line
            if " - " in line:  # Rasa's log: time, level, logger - message
                progress("  " + line.rsplit(" - ", 1)[1].strip())
    if process.returncode != 0:
        raise StartError(f"Rasa could not be trained: {last_line}; the whole log: {log}")
    # In two steps: a model half copied must not be found by another process.
    unfinished = path.with_suffix(".part")
    shutil.copy(BUILD / "models" / "dialogue.tar.gz", unfinished)
    unfinished.replace(path)
