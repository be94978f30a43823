"""`hotline say`: a text to a sound file, as a caller would hear it."""

import argparse
import asyncio
import sys
from pathlib import Path

from assistant import settings as configuration


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = subparsers.add_parser(
        "say",
        help="speak a text into a sound file",
        description="Numbers, dates and amounts are read as a person says them.",
    )
    command.add_argument("text", help="what to say; - reads standard input")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="WAV, FLAC or OGG")
    command.add_argument("--engine", choices=("auto", "kokoro", "pyttsx3"), help="who speaks")
    command.add_argument("--voice", help="of Kokoro: zf_xiaoxiao, zm_yunxi …")
    command.add_argument("--speed", type=float, help="0.5 to 2.0; default: speech.speed")
    command.add_argument("--rate", type=int, metavar="HZ", help="default: what the engine gives")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file while it is synthesised; 1 when nothing could be spoken or written."""
    import soundfile

    from assistant.models import ModelError
    from assistant.speech.synthesizer import SynthesisError

    overrides = list(args.overrides)
    if args.engine:
        overrides.append(f"speech.synthesizer={args.engine}")
    if args.voice:
        overrides.append(f"speech.voice={args.voice}")
    if args.speed:
        overrides.append(f"speech.speed={args.speed}")
    speech = configuration.load(args.config, overrides).speech
    text = sys.stdin.read() if args.text == "-" else args.text
    try:
        if args.out.suffix[1:].upper() not in soundfile.available_formats():
            raise SynthesisError(f"--out {args.out}: end its name in .wav, .flac or .ogg")
        if args.rate is not None and not 4000 <= args.rate <= 192_000:
            raise SynthesisError(f"--rate {args.rate}: give 4000 to 192000 Hz")
        seconds = asyncio.run(_say(text, args.out, speech, args.rate))
    except (ModelError, SynthesisError) as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 1
    except (OSError, soundfile.LibsndfileError) as error:
        print(f"hotline: {args.out} cannot be written: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {seconds:.1f} s")
    return 0


async def _say(text: str, out: Path, speech: configuration.Speech, rate: int | None) -> float:
    """Returns the seconds of sound. Raises SynthesisError, ModelError or OSError."""
    import soundfile

    from assistant.speech import synthesizers
    from assistant.speech.resample import Resampler
    from assistant.speech.spoken import sentences, spoken
    from assistant.speech.synthesizer import SynthesisError

    if not sentences(spoken(text)):
        raise SynthesisError("there is nothing in this text that can be spoken")
    voice = synthesizers.load(speech).synthesizers[0]
    rate = rate or voice.rate
    resampler = Resampler(voice.rate, rate)
    with soundfile.SoundFile(out, "w", samplerate=rate, channels=1) as file:
        async for chunk in voice.speak(text, speech.speed):
            file.write(resampler.accept(chunk))
        file.write(resampler.finish())
        return len(file) / rate
