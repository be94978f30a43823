"""Which engine hears the callers, and why."""

import logging
from dataclasses import dataclass
from pathlib import Path

from assistant import models
from assistant.models import ModelError
from assistant.settings import Speech
from assistant.speech.recognizer import Recognizer

log = logging.getLogger(__name__)

VOSK_MODELS = ("vosk-model-cn-0.22", "vosk-model-small-cn-0.22")
"""Mandarin models in order of preference: the server's, then the small one."""
WHISPER_MODEL = "whisper-base"


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, its model and the reason, for the log and for `hotline doctor`."""

    engine: str
    """"vosk" or "whisper"."""
    folder: Path
    why: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The recogniser, and the line that says why it is this one."""

    recognizer: Recognizer
    why: str


def choose(speech: Speech) -> Choice:
    """The engine that the configuration asks for, or for "auto" the first whose model is there.

    Nothing is fetched here: `hotline models pull` does that. Raises ModelError, which names what
    is missing and the remedy.
    """
    asked = speech.recognizer
    for choice in available():
        if asked == "auto":
            return choice
        if asked == choice.engine:
            return Choice(asked, choice.folder, "it is set in speech.recognizer")
    # Not there: find() says what is missing, or damaged, and the remedy.
    wanted, engine = (VOSK_MODELS[-1], "vosk") if asked == "vosk" else (WHISPER_MODEL, "whisper")
    return Choice(engine, models.find(wanted), "it is the only one")


def available() -> list[Choice]:
    """Every engine whose Mandarin model is present, the preferred one first."""
    choices = [
        Choice("vosk", models.find(name), f"{name} is present")
        for name in VOSK_MODELS
        if models.present(name)
    ][:1]
    if models.present(WHISPER_MODEL):
        reason = f"{WHISPER_MODEL} is present"
        if not choices:
            reason += f", no Mandarin Vosk model is ({' or '.join(VOSK_MODELS)})"
        choices.append(Choice("whisper", models.find(WHISPER_MODEL), reason))
    return choices


def asked_for(speech: Speech, engine: str | None) -> list[Recognizer]:
    """The engines of a command's --engine, loaded: one, or for "all" every one that is there.

    None is what is configured. Raises ModelError.
    """
    if engine == "all" and (choices := available()):
        return [open_engine(choice, speech) for choice in choices]
    if engine not in (None, "all"):
        speech = speech.model_copy(update={"recognizer": engine})
    return [open_engine(choose(speech), speech)]


def load(speech: Speech) -> Loaded:
    """The chosen engine, loaded; the log says which and why. Raises ModelError."""
    choice = choose(speech)
    why = f"{choice.engine} listens: {choice.why}"
    log.info(why)
    return Loaded(open_engine(choice, speech), why)


def open_engine(choice: Choice, speech: Speech) -> Recognizer:
    """The engine of this choice, loaded.

    Raises ModelError when the engine cannot read the model.
    """
    # Imported here: each engine brings half a second of imports, and one of them is enough.
    try:
        if choice.engine == "vosk":
            from assistant.speech.vosk import VoskRecognizer

            return VoskRecognizer(choice.folder)
        from assistant.speech import repair
        from assistant.speech.whisper import WhisperRecognizer
        from assistant.speech.whisper_adapter import ADAPTER

        adapter = ADAPTER if speech.adapted else None
        return WhisperRecognizer(choice.folder, speech.threads, repair.load(), adapter)
    except RuntimeError as error:
        raise ModelError(
            f"{choice.engine}: the model in {choice.folder} cannot be loaded ({error}); "
            f"run `hotline models verify`, then `hotline models pull`"
        ) from None
