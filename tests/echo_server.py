"""A call server without engines behind a front door: plays a tone to every caller.

    python -m tests.echo_server NAME WORKERS_PORT LINES RTP_PORT

Stands for `hotline answer --behind-front-as NAME`, whose engines would take half a minute to load.
A keyed 9 makes it hang up.
"""

import asyncio
import sys

import numpy as np

from assistant.channels.channel import Key
from assistant.channels.sip import SipListener
from assistant.channels.sip_call import SipChannel
from assistant.channels.sip_link import Link, Report
from assistant.settings import Sip

TONE = (8000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)).astype(np.int16)


async def main(name: str, workers_port: int, lines: int, rtp_port: int) -> None:
    """Serve until the process is ended."""

    async def on_call(channel: SipChannel) -> None:
        playing = asyncio.create_task(channel.play(np.tile(TONE, 60)))
        async for item in channel.frames():
            if isinstance(item, Key) and item.digit == "9":
                break
        playing.cancel()

    settings = Sip(port=0, rtp_port=rtp_port, max_calls=lines)
    async with SipListener(settings, on_call, behind_front=True) as sip:

        def report() -> Report:
            return Report(name, ("127.0.0.1", sip.port), lines, calls=len(sip.channels))

        link = Link(workers_port + 1, report, lambda calls: None)
        sip.on_change = link.changed
        async with link:
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
