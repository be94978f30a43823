"""The engines of the speech server (server.py), as if they were loaded here.

    async with connect(settings.speech) as engines: …

While the server is down, recognition and synthesis fail at once, and the next try finds it again.
"""

import asyncio
import concurrent.futures
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from aiohttp import ClientWebSocketResponse, WSMsgType

from assistant.channels.channel import Pcm
from assistant.settings import Speech
from assistant.speech import synthesizers
from assistant.speech.engines import Engines
from assistant.speech.recognizer import LIMIT_S, Alternative, Expecting, Partial, Transcript
from assistant.speech.synthesizer import SynthesisError, Synthesizer
from assistant.speech.urgency import NEVER, needed_by

log = logging.getLogger(__name__)

CONNECT_S = 60.0
"""A server that was started together with us has loaded its engines by then."""

RETRY_S = 0.2

REPLY_S = LIMIT_S - 1
"""A server that has not answered by then hangs: sooner than its caller gives up waiting."""

CLOSE_S = 0.5
"""A server that does not confirm by then that a socket is closed is not waited for."""


class SpeechServerError(RuntimeError):
    """The speech server cannot be reached, or one of its engines failed."""


@asynccontextmanager
async def connect(speech: Speech, patience_s: float = CONNECT_S) -> AsyncIterator[Engines]:
    """The engines of the server on speech.port; what it cannot speak, this process speaks.

    Raises SpeechServerError where none answers within `patience_s`.
    """
    url = speech.server_url
    async with aiohttp.ClientSession() as session:
        found = await _found(session, url, patience_s)
        recognizer = RemoteRecognizer(session, url, **found["recognizer"])
        log.info("%s listens, in the speech server at %s", recognizer.name, url)
        voice: Synthesizer | None = None
        source: Path | None = None
        if there := found["synthesizer"]:
            source = Path(there.pop("source"))
            voice = RemoteSynthesizer(session, url, **there)
            log.info("%s speaks, in the speech server", voice.name)
        yield Engines(recognizer, synthesizers.in_order(speech, voice, source))


async def _found(session: aiohttp.ClientSession, url: str, patience_s: float) -> dict[str, Any]:
    until = time.monotonic() + patience_s
    while True:
        try:
            async with session.get(f"{url}/engines", raise_for_status=True) as response:
                found: dict[str, Any] = await response.json()
                return found
        except aiohttp.ClientError as error:
            if time.monotonic() > until:
                raise SpeechServerError(
                    f"no speech server answers at {url} ({error}); `hotline serve` starts it, "
                    "speech.port is where"
                ) from None
        await asyncio.sleep(RETRY_S)


class RemoteRecognizer:
    """The server's recogniser."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, name: str, streaming: bool
    ) -> None:
        self.name = name
        self.streaming = streaming
        self._session = session
        self._url = url
        self._loop = asyncio.get_running_loop()

    def open(self, rate: int, expecting: Expecting = "free") -> "RemoteStream":
        """A stream for one utterance of audio at `rate` Hz."""
        return RemoteStream(self._session, self._url, self._loop, self.streaming, rate, expecting)


class RemoteStream:
    """One utterance. What is sent and received is so on the event loop; its users are threads."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        loop: asyncio.AbstractEventLoop,
        streaming: bool,
        rate: int,
        expecting: Expecting,
    ) -> None:
        self._session, self._url, self._loop = session, url, loop
        self._streaming = streaming
        self._asked = {"rate": rate, "expecting": expecting}
        self._sent: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._partial: Partial | None = None
        self._hearing: concurrent.futures.Future[Transcript] | None = None
        self._abandoned = False

    def accept(self, pcm: Pcm) -> Partial | None:
        """Take the next audio; returns what the server believed before it."""
        self._put(pcm.tobytes())
        if self._streaming:
            self._begin()
        return self._partial

    def finish(self) -> Transcript:
        """The words. Raises SpeechServerError, or TimeoutError where they do not come."""
        self._put(None)
        if self._abandoned and self._hearing is None:
            return Transcript("")
        hearing = self._begin()
        if self._abandoned:  # meanwhile; from now on abandon() finds what to cancel
            hearing.cancel()
        try:
            return hearing.result(REPLY_S)
        except concurrent.futures.CancelledError:
            return Transcript("")
        except TimeoutError:
            hearing.cancel()
            raise

    def abandon(self) -> None:
        """Give it up, here and in the server."""
        self._abandoned = True
        if self._hearing:
            self._hearing.cancel()

    def _put(self, data: bytes | None) -> None:
        self._loop.call_soon_threadsafe(self._sent.put_nowait, data)

    def _begin(self) -> "concurrent.futures.Future[Transcript]":
        if self._hearing is None:
            self._hearing = asyncio.run_coroutine_threadsafe(self._hear(), self._loop)
        return self._hearing

    async def _hear(self) -> Transcript:
        try:
            async with _socket(self._session, f"{self._url}/recognition") as socket:
                await socket.send_json(self._asked)
                sending = asyncio.create_task(self._send(socket))
                try:
                    return await self._words(socket)
                finally:
                    sending.cancel()
        except aiohttp.ClientError as error:
            raise SpeechServerError(f"the speech server does not answer: {error}") from None

    async def _send(self, socket: ClientWebSocketResponse) -> None:
        while (data := await self._sent.get()) is not None:
            await socket.send_bytes(data)
        await socket.send_str("end")

    async def _words(self, socket: ClientWebSocketResponse) -> Transcript:
        async for message in socket:
            answer = json.loads(message.data)
            if "transcript" in answer:
                return _transcript(**answer["transcript"])
            if "error" in answer:
                raise SpeechServerError(answer["error"])
            self._partial = Partial(answer["partial"]) if answer["partial"] else None
        raise SpeechServerError("the speech server has ended")


class RemoteSynthesizer:
    """The server's voice."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, name: str, voice: str, rate: int
    ) -> None:
        self.name = name
        self.voice = voice
        self.rate = rate
        self._session = session
        self._url = url

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        """Audio of `text` in chunks; see Synthesizer."""
        needed = needed_by.get()
        in_s = None if needed == NEVER else max(0.0, needed - time.monotonic())
        try:
            async with _socket(self._session, f"{self._url}/synthesis") as socket:
                await socket.send_json({"text": text, "speed": speed, "needed_in_s": in_s})
                async for message in socket:
                    if message.type is WSMsgType.BINARY:
                        yield np.frombuffer(message.data, np.int16)
                        continue
                    answer = json.loads(message.data)
                    if "error" in answer:
                        raise SynthesisError(answer["error"])
                    return
        except aiohttp.ClientError as error:
            raise SynthesisError(f"the speech server does not answer: {error}") from None
        raise SynthesisError("the speech server has ended")


@asynccontextmanager
async def _socket(
    session: aiohttp.ClientSession, url: str
) -> AsyncIterator[ClientWebSocketResponse]:
    timeout = aiohttp.ClientWSTimeout(ws_close=CLOSE_S)
    async with session.ws_connect(url, timeout=timeout, max_msg_size=0) as socket:
        yield socket


def _transcript(
    text: str, confidence: float, alternatives: list[dict[str, Any]], heard: str
) -> Transcript:
    return Transcript(text, confidence, tuple(Alternative(**each) for each in alternatives), heard)
