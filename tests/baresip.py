"""Drives baresip, an independent SIP phone, as the caller of the tests.

    async with Baresip(tmp_path, say=wav) as phone:
        await phone.dial("sip:12333@127.0.0.1:5060")
        await phone.event("CALL_ESTABLISHED")
        await phone.say(other_wav)              # from now on: mono, 8 kHz, 16-bit
        await phone.press("440103#")            # RFC 4733
        await phone.hangup()
    heard = phone.heard()                       # int16, 8 kHz: what came out of its earpiece

Controlled through baresip's module ctrl_tcp: netstrings of JSON.
"""

import asyncio
import contextlib
import itertools
import json
import shutil
import socket
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pytest
import soundfile
import soxr

from assistant.channels.channel import Pcm

RATE = 8000
START_S = 20.0
LOOK_S = 0.05
EVENT_S = 20.0
SILENCE_S = 300
"""Follows whatever is said: at the end of its source file baresip hangs up."""
MODULE_PATH = Path("/usr/lib/baresip/modules")

CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:{sip_port}
audio_player aubridge,nobody
audio_source aufile,{silence}
audio_alert aubridge,nobody
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports {rtp_port}-{rtp_last}
jitter_buffer_delay 1-5
net_interface 127.0.0.1
ctrl_tcp_listen 127.0.0.1:{control_port}
snd_path {folder}
module_path {modules}
module g711.so
module g722.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
"""


class Baresip:
    """One phone with one line, on loopback."""

    def __init__(
        self,
        folder: Path,
        number: str = "13800001234",
        answer: bool = False,
        codec: Literal["pcma", "pcmu", "g722"] = "pcma",
    ) -> None:
        """`answer`: take incoming calls at once."""
        if not shutil.which("baresip"):
            pytest.fail("baresip is not installed: apt-get install baresip")
        self.folder = folder / "baresip"
        self.folder.mkdir()
        # baresip listens for TLS one port above, and does not start without it.
        self.sip_port, self._control_port = free_port(also_above=True), free_port()
        self.uri = f"sip:{number}@127.0.0.1:{self.sip_port}"
        self._answer, self._codec = answer, codec
        self._count = itertools.count()
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._responses: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        silence = self._with_silence(np.zeros(0, np.int16), "silence.wav")
        rtp_port = free_port() & ~1
        config = CONFIG.format(
            sip_port=self.sip_port,
            silence=silence,
            rtp_port=rtp_port,
            rtp_last=rtp_port + 10,
            control_port=self._control_port,
            folder=self.folder,
            modules=MODULE_PATH,
        )
        (self.folder / "config").write_text(config)
        mode = "auto" if self._answer else "manual"
        (self.folder / "accounts").write_text(
            f"<{self.uri}>;regint=0;answermode={mode};audio_codecs={self._codec}\n"
        )
        with (self.folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                "baresip", "-4", "-f", str(self.folder), stdout=log, stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process
        if self._listening:
            self._listening.cancel()
        if self._writer:
            self._writer.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def dial(self, uri: str) -> None:
        """Place a call; wait for event("CALL_ESTABLISHED")."""
        await self.command("dial", uri)

    async def say(self, wav: Path) -> None:
        """Speak `wav` (mono, 8 kHz, 16-bit) from now on, then silence."""
        pcm, rate = soundfile.read(wav, dtype="int16")
        assert rate == RATE, f"{wav}: {rate} Hz"
        source = self._with_silence(pcm, f"say-{next(self._count)}.wav")
        await self.command("ausrc", f"aufile,{source}")

    async def press(self, keys: str) -> None:
        """Key digits, as RFC 4733 events."""
        for key in keys:
            await self.command("sndcode", key)

    async def hangup(self) -> None:
        """Hang up."""
        await self.command("hangup")

    async def event(self, kind: str, timeout_s: float = EVENT_S) -> dict[str, Any]:
        """The next event of a kind, such as CALL_ESTABLISHED or CALL_CLOSED; others are skipped."""
        async with asyncio.timeout(timeout_s):
            while True:
                event = await self._events.get()
                if event.get("type") == kind:
                    return event

    def heard(self) -> Pcm:
        """All that the phone has heard: complete only once the phone is closed."""
        return self._dump("dec")

    def said(self) -> Pcm:
        """All that the phone has sent."""
        return self._dump("enc")

    async def command(self, name: str, params: str = "") -> str:
        """Run one command of baresip; returns its answer."""
        assert self._writer
        message = json.dumps({"command": name, "params": params} if params else {"command": name})
        self._writer.write(f"{len(message)}:{message},".encode())
        response = await asyncio.wait_for(self._responses.get(), START_S)
        assert response["ok"], f"baresip refused {name}: {response}"
        return str(response["data"])

    def _with_silence(self, pcm: Pcm, name: str) -> Path:
        path = self.folder / name
        soundfile.write(path, np.concatenate([pcm, np.zeros(SILENCE_S * RATE, np.int16)]), RATE)
        return path

    def _dump(self, side: str) -> Pcm:
        files = sorted(self.folder.glob(f"dump-*-{side}.wav"))
        assert files, (self.folder / "log").read_text(errors="replace")
        pcm, rate = soundfile.read(files[-1], dtype="int16")
        return np.asarray(soxr.resample(pcm, rate, RATE), np.int16)  # G.722 is dumped at 16 kHz

    async def _connect(self) -> None:
        for _ in range(round(START_S / LOOK_S)):
            with contextlib.suppress(ConnectionRefusedError):
                connection = asyncio.open_connection("127.0.0.1", self._control_port)
                reader, self._writer = await connection
                self._listening = asyncio.create_task(self._listen(reader))
                return
            await asyncio.sleep(LOOK_S)
        log = (self.folder / "log").read_text(errors="replace")
        pytest.fail(f"baresip cannot be reached at port {self._control_port}:\n{log}")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                size = int((await reader.readuntil(b":"))[:-1])
                message = json.loads((await reader.readexactly(size + 1))[:-1])
                queue = self._responses if message.get("response") else self._events
                queue.put_nowait(message)


def free_port(*, also_above: bool = False) -> int:
    """A port that was free a moment ago, for UDP and for TCP; so was the next one, if need be.

    Not even a connection that lingers in TIME_WAIT may hold it: baresip does not reuse addresses.
    """
    while True:
        with contextlib.ExitStack() as held, contextlib.suppress(OSError, OverflowError):
            udp, tcp, above = (
                held.enter_context(socket.socket(socket.AF_INET, kind))
                for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_STREAM)
            )
            udp.bind(("127.0.0.1", 0))
            port = int(udp.getsockname()[1])
            tcp.bind(("127.0.0.1", port))
            if also_above:
                above.bind(("127.0.0.1", port + 1))
            return port
