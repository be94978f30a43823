"""The computer's own microphone and speakers as a channel, half-duplex.

While the hotline speaks, and shortly after, the microphone is taken as silent: with open
speakers it would hear itself. So there is no barge-in here; that is what a telephone is for.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np

from assistant.channels.channel import FRAME_MS, Audio, ChannelClosed, Key, Pcm

RATE = 16000
"""Asked of the sound device in Hz; every host API converts to it."""

FRAME = RATE * FRAME_MS // 1000
"""Samples of one frame."""

AHEAD = 4
"""Frames queued for the speaker: enough for a busy machine, short enough to stop soon."""

Device = str | int | None
"""A sound device by part of its name or by number; None is the system's default."""

ECHO_TAIL_FRAMES = 15
"""300 ms for which a room and a sound card still return what was played."""


class MicrophoneError(OSError):
    """There is no usable sound device; the message says what to do."""


def _sounddevice() -> Any:
    try:
        import sounddevice
    except OSError as error:  # PortAudio itself is missing
        raise MicrophoneError(
            f"no PortAudio library ({error}); install it (Debian: apt install libportaudio2)"
        ) from None
    return sounddevice


def devices() -> str:
    """The sound devices, a line each, with the numbers that choose them. Raises MicrophoneError."""
    return str(_sounddevice().query_devices()) or "no sound device"


def check(input_device: Device, output_device: Device) -> None:
    """Raise MicrophoneError when these devices cannot be used."""
    sounddevice = _sounddevice()
    try:
        sounddevice.check_input_settings(input_device, 1, "int16", samplerate=RATE)
        sounddevice.check_output_settings(output_device, 1, "int16", samplerate=RATE)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MicrophoneError(
            f"no usable sound device ({error}); `hotline mic --devices` lists what there is"
        ) from None


class MicrophoneChannel:
    """One conversation through sounddevice. Use as `async with`."""

    kind = "microphone"
    caller = ""
    rate = RATE
    held = False

    def __init__(self, input_device: Device = None, output_device: Device = None) -> None:
        self._devices = (input_device, output_device)
        self._stream: Any = None
        self._heard: asyncio.Queue[Audio | None] = asyncio.Queue()
        self._queued: deque[Pcm] = deque()
        self._lock = threading.Lock()
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._deaf_frames = 0
        self.tap: Callable[[Pcm, Pcm], None] | None = None
        self._closed = False

    async def __aenter__(self) -> "MicrophoneChannel":
        """Open the devices. Raises MicrophoneError."""
        self._loop = asyncio.get_running_loop()
        check(*self._devices)
        self._stream = _sounddevice().Stream(
            RATE, FRAME, self._devices, channels=1, dtype="int16", callback=self._frame
        )
        self._stream.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hangup()

    def _frame(self, heard: Any, spoken: Any, frames: int, time: Any, status: Any) -> None:
        # The sound card's thread: no waiting, no inference.
        with self._lock:
            pcm = self._queued.popleft() if self._queued else None
            left = len(self._queued)
        self._deaf_frames = ECHO_TAIL_FRAMES if pcm is not None else self._deaf_frames - 1
        caller = heard[:, 0].copy() if self._deaf_frames < 0 else np.zeros(frames, np.int16)
        hotline = pcm if pcm is not None else np.zeros(frames, np.int16)
        spoken[:, 0] = hotline
        self._loop.call_soon_threadsafe(self._tick, caller, hotline, left)

    def _tick(self, caller: Pcm, hotline: Pcm, left: int) -> None:
        self._heard.put_nowait(Audio(caller))
        if self.tap:
            self.tap(caller, hotline)
        if left < AHEAD:
            self._room.set()
        if left == 0:
            self._empty.set()

    async def frames(self) -> AsyncIterator[Audio | Key]:
        """What the microphone hears, silence while the hotline speaks."""
        while (audio := await self._heard.get()) is not None:
            yield audio

    async def play(self, pcm: Pcm) -> None:
        """Queue audio for the speaker; waits while it has enough."""
        for start in range(0, len(pcm), FRAME):
            frame = pcm[start : start + FRAME]
            while not self._closed and len(self._queued) >= AHEAD:
                self._room.clear()
                await self._room.wait()
            if self._closed:
                raise ChannelClosed("the sound device was closed")
            with self._lock:
                self._queued.append(np.pad(frame, (0, FRAME - len(frame))))
            self._empty.clear()

    async def drain(self) -> None:
        """Wait until the speaker has taken everything."""
        if self._queued:
            await self._empty.wait()

    def clear(self) -> int:
        """Drop what is queued; returns the samples dropped."""
        with self._lock:
            dropped = sum(len(frame) for frame in self._queued)
            self._queued.clear()
        self._room.set()
        self._empty.set()
        return dropped

    async def transfer(self, target: str) -> None:
        """There is nobody to transfer to."""
        raise NotImplementedError("a microphone cannot be transferred")

    async def hangup(self) -> None:
        """Close the devices."""
        if not self._closed:
            self._closed = True
            self.clear()
            if self._stream:
                await asyncio.to_thread(self._stream.close)
            self._heard.put_nowait(None)
