"""`hotline mic`: talk to the hotline through this computer's microphone and speakers."""

import argparse
import asyncio
import sys

from assistant import settings as configuration


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = commands.add_parser(
        "mic",
        help="talk through the computer's microphone and speakers",
        description="Half-duplex: while the hotline speaks the microphone is off, so that it does "
        "not hear itself. The conversation is captioned live.",
    )
    command.add_argument("--devices", action="store_true", help="list the sound devices and end")
    command.add_argument("--input", help="microphone: number or part of its name")
    command.add_argument("--output", help="speaker: number or part of its name")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Hold one conversation; returns 1 when there is no usable sound device."""
    from assistant.channels.microphone import MicrophoneError, devices
    from assistant.models import ModelError
    from assistant.supervision import StartError

    settings = configuration.load(args.config, args.overrides)
    try:
        if args.devices:
            print(devices())
            return 0
        return asyncio.run(_talk(settings, args))
    except (MicrophoneError, ModelError, StartError) as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 1


async def _talk(settings: configuration.Settings, args: argparse.Namespace) -> int:
    from assistant.channels.microphone import MicrophoneChannel, check
    from assistant.liveview import LiveView
    from assistant.reception import open_reception
    from assistant.running import running_services
    from assistant.speech import engines

    chosen = _device(args.input), _device(args.output)
    check(*chosen)  # first: without a device there is no point in starting the rest
    async with (
        running_services(settings, args.config, args.overrides) as serving,
        open_reception(serving, await engines.load(serving.speech), LiveView().show) as reception,
        MicrophoneChannel(*chosen) as channel,
    ):
        await reception.take(channel)
    return 0


def _device(name: str | None) -> str | int | None:
    return int(name) if name and name.isdigit() else name
