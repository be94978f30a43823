"""How a process of ours is told to stop."""

import asyncio
import signal


def told_to_stop() -> asyncio.Event:
    """Set at the first SIGTERM or SIGINT from now on."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
