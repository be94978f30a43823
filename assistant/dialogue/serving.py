"""How the two processes of the dialogue are started: the action server and Rasa.

Both run in Rasa's own environment and listen on loopback only. The supervisor starts the
commands below and waits until the health addresses answer 200.
"""

import os
from pathlib import Path
from typing import NamedTuple

from assistant.settings import ROOT, Settings

RASA_PROJECT = ROOT / "rasa_project"
"""Rasa's configuration, data, actions and components; also the folder its processes run in."""

RASA_BIN = RASA_PROJECT / ".venv" / "bin"


class Command(NamedTuple):
    """One process to start."""

    argv: list[str]
    env: dict[str, str]
    """The complete environment, not only what differs."""
    cwd: Path


def actions_command(settings: Settings, cards: Path) -> Command:
    """The action server, with the file of the cards; healthy when `actions_health` answers."""
    argv = [
        str(RASA_BIN / "python"), "-m", "rasa_sdk",
        "--actions", "actions",
        "--port", str(settings.dialogue.actions_port),
        "--quiet",  # warnings only
    ]  # fmt: skip
    return Command(argv, rasa_environment() | _actions_environment(settings, cards), RASA_PROJECT)


def actions_health(settings: Settings) -> str:
    """Answers 200 once the actions are loaded."""
    return f"http://127.0.0.1:{settings.dialogue.actions_port}/health"


def rasa_command(settings: Settings, model: Path) -> Command:
    """The Rasa server with the trained `model`; healthy when `rasa_health` answers."""
    argv = [
        str(RASA_BIN / "rasa"), "run", "--enable-api",
        "--interface", "127.0.0.1",
        "--port", str(settings.dialogue.rasa_port),
        "--model", str(model),
        "--endpoints", "endpoints.yml",
        "--credentials", "credentials.yml",
    ]  # fmt: skip
    env = rasa_environment() | _judging(settings) | {"HOTLINE_ACTIONS_URL": settings.actions_url}
    return Command(argv, env, RASA_PROJECT)


def rasa_health(settings: Settings) -> str:
    """Answers 200 once the model is loaded (409 before)."""
    return f"{settings.rasa_url}/status"


def rasa_environment() -> dict[str, str]:
    """The environment of every process of Rasa, training too."""
    return os.environ | {
        "RASA_TELEMETRY_ENABLED": "false",
        # Own components are found here, and no user's site-packages.
        "PYTHONPATH": str(RASA_PROJECT),
        "PYTHONNOUSERSITE": "1",
        "PYTHONWARNINGS": "ignore",
        # At INFO and below Rasa logs what callers say, ID numbers and PINs included.
        "LOG_LEVEL": "WARNING",
        "LOG_LEVEL_LIBRARIES": "ERROR",
        # TensorFlow has its say in training only, on the processors.
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "OMP_NUM_THREADS": "1",
        "SQLALCHEMY_SILENCE_UBER_WARNING": "1",
    }


def _judging(settings: Settings) -> dict[str, str]:
    """How sure the dialogue must be, and how often it may fail."""
    return {
        "HOTLINE_CONFIDENCE": settings.confidence.model_dump_json(),
        "HOTLINE_PATIENCE": str(settings.dialogue.patience),
    }


def _actions_environment(settings: Settings, cards: Path) -> dict[str, str]:
    return _judging(settings) | {
        # rasa_sdk listens on every address unless told otherwise.
        "SANIC_HOST": "127.0.0.1",
        "HOTLINE_BACKEND_URL": settings.backend_url,
        "HOTLINE_RASA_URL": settings.rasa_url,
        "HOTLINE_CARDS": str(cards),
        "HOTLINE_HUMAN_NUMBER": settings.call.human_number,
        "HOTLINE_HUMAN_TARGET": settings.call.human_target,
    }
