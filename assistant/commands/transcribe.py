"""`hotline transcribe`: what the recogniser makes of recordings, one JSON object a line."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, get_args

if TYPE_CHECKING:
    from assistant.speech.recognizer import Expecting, Recognizer, Transcript

BLOCK_S = 1
"""Seconds read at once: a recording of any length takes the same memory."""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    from assistant.speech.recognizer import Expecting

    command = subparsers.add_parser(
        "transcribe",
        help="recordings to text, one JSON object a line",
        description="Any rate and any format that libsndfile reads; channels are mixed down. "
        "compute_s is without loading the model. Exit code 1 when a file could not be read.",
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.add_argument(
        "--engine",
        choices=("auto", "vosk", "whisper", "all"),
        help="default: as configured; all: every engine whose model is present",
    )
    command.add_argument(
        "--expect", choices=get_args(Expecting), default="free", help="the kind of answer awaited"
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Transcribe every file with every engine asked for; a bad file does not stop the others."""
    from assistant import settings as configuration
    from assistant.models import ModelError
    from assistant.speech import recognizers

    speech = configuration.load(args.config, args.overrides).speech
    try:
        engines = recognizers.asked_for(speech, args.engine)
    except ModelError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 1
    failed = False
    for file in args.files:
        for engine in engines:
            line = _line(file, engine, args.expect)
            failed = failed or "error" in line
            print(json.dumps(line, ensure_ascii=False), flush=True)
    return int(failed)


def _line(file: Path, engine: "Recognizer", expecting: "Expecting") -> dict[str, object]:
    import soundfile

    try:
        transcript, audio_s, compute_s = _transcribe(file, engine, expecting)
    except (soundfile.SoundFileError, OSError) as error:
        print(f"hotline: {file}: not audio that can be read: {error}", file=sys.stderr)
        return {"file": str(file), "error": str(error)}
    return {
        "file": str(file),
        "engine": engine.name,
        "text": transcript.text,
        "confidence": round(transcript.confidence, 3),
        "alternatives": [
            {"text": alternative.text, "confidence": round(alternative.confidence, 3)}
            for alternative in transcript.alternatives
        ],
        "audio_s": round(audio_s, 3),
        "compute_s": round(compute_s, 3),
    }


def _transcribe(
    file: Path, engine: "Recognizer", expecting: "Expecting"
) -> "tuple[Transcript, float, float]":
    """The words, the seconds of audio and the seconds of computing."""
    import numpy as np
    import soundfile

    compute_s = 0.0
    with file.open("rb") as opened, soundfile.SoundFile(opened) as audio:
        stream = engine.open(audio.samplerate, expecting)
        for block in audio.blocks(BLOCK_S * audio.samplerate, dtype="int16", always_2d=True):
            started = time.perf_counter()
            stream.accept(block.mean(axis=1).astype(np.int16))
            compute_s += time.perf_counter() - started
        started = time.perf_counter()
        transcript = stream.finish()
        compute_s += time.perf_counter() - started
        return transcript, audio.frames / audio.samplerate, compute_s
