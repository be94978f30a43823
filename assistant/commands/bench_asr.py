"""`hotline bench asr`: how much of what callers say the recogniser gets wrong."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from assistant import settings as configuration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistant.bench_asr import Heard


def register(benches: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    from assistant.speech.recognizer import Expecting
    from assistant.telephone_line import CODECS, NOISES

    asr = benches.add_parser(
        "asr",
        help="character error rate by engine, codec, noise and voice",
        description="Recognises utterances over simulated lines. Without a folder: callers that "
        "nothing was trained on, spoken by all Mandarin voices, and what the served dialogue "
        "understands of them. A folder has recordings in any format that libsndfile reads, and "
        "their words in NAME.txt beside each or in one texts.tsv: name, tab, words, and where it "
        "is known a tab and what is meant, as in `bench nlu`.",
    )
    asr.add_argument("folder", nargs="?", type=Path, help="recordings and their words")
    asr.add_argument(
        "--engine",
        choices=("auto", "vosk", "whisper", "all"),
        help="default: as configured; all: every engine whose model is present",
    )
    asr.add_argument("--codec", nargs="+", choices=CODECS, default=CODECS, help="default: all")
    asr.add_argument("--noise", nargs="+", choices=list(NOISES), default=list(NOISES))
    asr.add_argument(
        "--expect",
        choices=get_args(Expecting),
        default="free",
        help="the kind of answer awaited in all recordings of the folder",
    )
    asr.add_argument(
        "--understood",
        action=argparse.BooleanOptionalAction,
        help="ask the served dialogue what was understood; default: without a folder",
    )
    asr.add_argument(
        "--calibrate",
        action="store_true",
        help="fit how sure the dialogue may be of what this engine hears, on these recordings or, "
        "without a folder, on tests/data/tuning.tsv; writes configs/calibration.json",
    )
    asr.add_argument("--json", action="store_true", help="one JSON object on standard output")
    asr.add_argument("--plot", type=Path, metavar="PNG", help="draw the error rates")
    asr.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure recognition and print it; returns 1 where an engine or a model is missing."""
    from assistant import asr_corpus, bench_asr
    from assistant.bench_nlu import HELD_OUT, TUNING
    from assistant.models import ModelError
    from assistant.speech import recognizers

    settings = configuration.load(args.config, args.overrides)
    try:
        engines = recognizers.asked_for(settings.speech, args.engine)
        utterances = (
            asr_corpus.read_folder(args.folder, args.expect)
            if args.folder
            else asr_corpus.own(TUNING if args.calibrate else HELD_OUT, progress=_tell)
        )
    except ModelError as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 1
    heard = bench_asr.hear(engines, utterances, args.codec, args.noise, _tell)
    if args.calibrate:
        return asyncio.run(_calibrate(settings, args, heard))
    if args.understood or (args.understood is None and not args.folder):
        heard = asyncio.run(_understanding(settings, args, heard))
    found = bench_asr.report(heard)
    print(json.dumps(found, ensure_ascii=False) if args.json else bench_asr.table(found))
    if args.plot:
        bench_asr.draw(found, args.plot)
    return 0


async def _understanding(
    settings: configuration.Settings, args: argparse.Namespace, heard: "Sequence[Heard]"
) -> "list[Heard]":
    from assistant import bench_asr
    from assistant.running import running_services

    async with running_services(settings, args.config, args.overrides) as serving:
        return await bench_asr.understand(serving, heard)


async def _calibrate(
    settings: configuration.Settings, args: argparse.Namespace, heard: "Sequence[Heard]"
) -> int:
    from assistant import bench_surety
    from assistant.dialogue import surety
    from assistant.running import running_services

    engine = heard[0].condition.engine
    own = [each for each in heard if each.condition.engine == engine]
    async with running_services(settings, args.config, args.overrides) as serving:
        turns = await bench_surety.judge(serving, own)
    found = bench_surety.calibrate(engine, turns)
    bench_surety.write(found, surety.FILE)
    figures = bench_surety.report(found, settings.confidence)
    print(json.dumps(figures) if args.json else bench_surety.table(figures))
    _tell(f"{surety.FILE}: written for {engine}; `hotline serve` uses it from its next start")
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
