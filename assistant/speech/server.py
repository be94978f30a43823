"""The speech server: one process hears and speaks for the calls of all call servers.

The engines fill the processors for tenths of a second. In a process of their own, behind all
others, they keep no audio clock waiting; the models are in memory once, and all calls stand in one
queue, the most urgent first (urgency.py).

Each WebSocket on loopback carries one piece of work, and closing it gives the work up:

    GET /engines        {"recognizer": {"name", "streaming"}, "synthesizer": {"name", "voice",
                        "rate", "source"} or null}; answers once the engines are loaded
    WS  /recognition    in   {"rate", "expecting"}, audio …, "end"
                        out  {"partial"} …, {"transcript"}
    WS  /synthesis      in   {"text", "speed", "needed_in_s"}       null: nobody waits
                        out  audio …, {"complete": true}

Audio is mono, 16 bits, of this machine's byte order. A fault is {"error"}, in place of the rest.
"""

import asyncio
import inspect
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from assistant.channels.channel import Pcm
from assistant.http_server import listening
from assistant.ports import Port
from assistant.settings import Speech
from assistant.speech.recognizer import LIMIT_S, Recognizer, RecognizerStream, Transcript
from assistant.speech.synthesizer import Synthesizer
from assistant.speech.urgency import NEVER, UrgencyPool, needed_by

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
"""Nobody but this machine's call servers: what callers say goes over it."""

AT_ONCE = 2
"""Utterances: one fills the cores, and a second keeps a slow one from blocking."""

MOST_BYTES = 16 << 20
"""Of one message: an hour of a telephone's audio is less than four of them."""


@asynccontextmanager
async def serve(
    speech: Speech, recognizer: Recognizer, synthesizer: Synthesizer | None
) -> AsyncIterator[None]:
    """Serve these engines on speech.port while the block runs.

    Raises StartError when the port cannot be listened on.
    """
    server = _Server(recognizer, synthesizer)
    app = web.Application()
    app.add_routes(
        [
            web.get("/engines", server.engines),
            web.get("/recognition", server.recognition),
            web.get("/synthesis", server.synthesis),
        ]
    )
    port = Port(HOST, speech.port, "speech.port")
    try:
        async with listening(app, port, handler_cancellation=True, shutdown_timeout=1.0):
            yield
    finally:
        server.close()


class _Server:
    """One method a route."""

    def __init__(self, recognizer: Recognizer, synthesizer: Synthesizer | None) -> None:
        self._recognizer = recognizer
        self._synthesizer = synthesizer
        self._workers = UrgencyPool(AT_ONCE, "recognition", limit_s=LIMIT_S)

    def close(self) -> None:
        """No more work."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def engines(self, _: web.Request) -> web.Response:
        """Who hears and speaks here."""
        found: dict[str, Any] = {
            "recognizer": {
                "name": self._recognizer.name,
                "streaming": self._recognizer.streaming,
            },
            "synthesizer": None,
        }
        if voice := self._synthesizer:
            source = inspect.getfile(type(voice))
            found["synthesizer"] = {
                "name": voice.name,
                "voice": voice.voice,
                "rate": voice.rate,
                "source": source,
            }
        return web.json_response(found)

    async def recognition(self, request: web.Request) -> web.WebSocketResponse:
        """One utterance."""
        socket = web.WebSocketResponse(max_msg_size=MOST_BYTES)
        await socket.prepare(request)
        asked = await socket.receive_json()
        stream = self._recognizer.open(asked["rate"], asked["expecting"])
        audio: list[Pcm] = []
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                audio.append(np.frombuffer(message.data, np.int16))
                if self._recognizer.streaming:
                    await self._send(socket, self._partial(stream, audio.pop()))
                continue
            finishing = self._send(socket, self._transcript(stream, audio))
            await _until_closed(socket, finishing, stream.abandon)
            break
        return socket

    async def synthesis(self, request: web.Request) -> web.WebSocketResponse:
        """One text."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        asked = await socket.receive_json()
        await _until_closed(socket, self._send(socket, self._speak(socket, asked)))
        return socket

    async def _partial(self, stream: RecognizerStream, pcm: Pcm) -> dict[str, Any]:
        partial = await self._work(stream.accept, pcm)
        return {"partial": partial.text if partial else ""}

    async def _transcript(self, stream: RecognizerStream, audio: list[Pcm]) -> dict[str, Any]:
        def decode() -> Transcript:
            for pcm in audio:
                stream.accept(pcm)
            return stream.finish()

        return {"transcript": asdict(await self._work(decode))}

    async def _speak(self, socket: web.WebSocketResponse, asked: dict[str, Any]) -> dict[str, Any]:
        if self._synthesizer is None:
            raise RuntimeError("nobody speaks here")
        needed_in_s = asked["needed_in_s"]
        needed_by.set(NEVER if needed_in_s is None else time.monotonic() + needed_in_s)
        rate = self._synthesizer.rate
        async for pcm in self._synthesizer.speak(asked["text"], asked["speed"]):
            await socket.send_bytes(pcm.tobytes())
            # The caller hears this first: so much later is the next one needed.
            needed_by.set(max(needed_by.get(), time.monotonic()) + len(pcm) / rate)
        return {"complete": True}

    async def _work(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._workers, call, *arguments)

    async def _send(self, socket: web.WebSocketResponse, found: Awaitable[dict[str, Any]]) -> None:
        try:
            answer = await found
        except Exception as error:  # the caller's side tells it to the caller
            log.exception("an engine failed")
            answer = {"error": f"{type(error).__name__}: {error}"}
        await socket.send_str(json.dumps(answer, ensure_ascii=False))


async def _until_closed(
    socket: web.WebSocketResponse,
    work: Coroutine[Any, Any, None],
    give_up: Callable[[], None] = lambda: None,
) -> None:
    """Do the work, unless the other side closes the socket first."""
    tasks = {asyncio.create_task(work), asyncio.create_task(socket.receive())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        give_up()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
