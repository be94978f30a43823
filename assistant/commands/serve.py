"""`hotline serve`: answer real phones until Ctrl-C."""

import argparse
import asyncio
import time

from assistant import settings as configuration


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = commands.add_parser(
        "serve",
        help="answer real phones until Ctrl-C",
        description="Starts backend, action server, Rasa, speech server and call server, restarts "
        "what dies, and on Ctrl-C lets callers hear a goodbye before everything stops.",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. Raises StartError."""
    return asyncio.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    from assistant import services
    from assistant.dialogue import training
    from assistant.supervisor import Supervisor, cancel_on_signals

    cancel_on_signals()
    settings = configuration.load(args.config, args.overrides)
    config = services.config_arguments(args.config, args.overrides)
    stages = services.stages(settings, training.trained_model(), config)
    print("starting; the dialogue takes about half a minute", flush=True)
    try:
        async with Supervisor(stages, on_state=_Progress()) as running:
            ready = running.announced["answer"]
            print(f"phones    {ready['sip']}")
            if ready["metrics"]:
                print(f"metrics   {ready['metrics']}")
            print(f"HTTP      {settings.backend_url}/openapi.json")
            print("console   hotline console", flush=True)
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        print("stopped", flush=True)
    return 0


class _Progress:
    """One line for what an operator wants to know of a service."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._stopping = False

    def __call__(self, service: str, state: str, detail: str) -> None:
        if state == "starting":
            self._started[service] = time.monotonic()
        elif state == "ready":
            seconds = time.monotonic() - self._started[service]
            print(f"{service}: ready after {seconds:.1f} s", flush=True)
        elif state == "died":
            print(f"{service}: died: {detail}", flush=True)
        elif state == "stopping" and service.startswith("answer") and not self._stopping:
            self._stopping = True
            print("stopping; calls in progress hear a goodbye", flush=True)
