"""The 20 ms heartbeat of a SIP call: what leaves for the wire and what came from it.

pjsua's clock thread calls `MediaPort` every 20 ms, so nothing here blocks, waits or does I/O:
it takes one frame from a deque and posts one pair of frames to the event loop.
"""

import threading
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable

import numpy as np
import pjsua2 as pj

from assistant.channels.channel import FRAME_MS, Pcm
from assistant.priority import audio_first

RATE = 8000
"""Hz of the conference bridge, so that G.711 passes through it untouched. G.722 is folded down to
it: its upper band is lost, in exchange callers on G.722-only phones get through."""

FRAME = RATE * FRAME_MS // 1000
"""Samples in a frame."""

AHEAD = 3
"""Frames queued for the wire at most (60 ms): more of it delays a stop, less of it breaks up the
voice when the event loop is late."""

FADE = RATE * 10 // 1000
"""Samples in which a voice that is cut off fades: cut at once it clicks."""

Tick = Callable[[Pcm, Pcm], None]
"""Takes the frame heard and the frame sent in the same 20 ms."""

_SILENCE: Pcm = np.zeros(FRAME, np.int16)
_NOTHING: Pcm = np.zeros(0, np.int16)


class Playout:
    """Frames waiting for the wire. The loop puts, the clock thread takes.

    Each step is one atomic deque operation, so that neither side ever waits for the other.
    """

    def __init__(self) -> None:
        self._frames: deque[Pcm] = deque()
        self._tail: deque[Pcm] = deque()  # at most one piece, shorter than a frame
        self._fading: deque[Pcm] = deque()  # what is left of what was cleared

    @property
    def full(self) -> bool:
        """Whether as much is queued as may be."""
        return len(self._frames) >= AHEAD

    @property
    def empty(self) -> bool:
        """Whether all has been taken."""
        return not self._frames and not self._tail

    def put(self, frame: Pcm) -> None:
        """Queue one whole frame."""
        self._frames.append(frame)

    def put_tail(self, piece: Pcm) -> None:
        """Keep a piece shorter than a frame: the next audio completes it, else silence does."""
        if piece.size:
            self._tail.append(piece)

    def take_tail(self) -> Pcm:
        """The piece that waits to be completed, perhaps empty."""
        return _pop(self._tail)

    def take(self) -> Pcm:
        """The next frame for the wire: queued audio, or silence."""
        piece = _pop(self._fading)
        for queue in (self._frames, self._tail):
            piece = piece if piece.size else _pop(queue)
        return piece if piece.size == FRAME else np.concatenate([piece, _SILENCE[piece.size :]])

    def clear(self) -> int:
        """Drop all that is queued; returns how many samples. The first ones still leave, fading."""
        pieces: list[Pcm] = []
        for queue in (self._frames, self._tail):
            while (piece := _pop(queue)).size:
                pieces.append(piece)
        if pieces:
            last = pieces[0][:FADE]
            self._fading.append((last * np.linspace(1, 0, last.size)).astype(np.int16))
        return sum(piece.size for piece in pieces)


def _pop(queue: deque[Pcm]) -> Pcm:
    try:
        return queue.popleft()
    except IndexError:
        return _NOTHING


class ClockWatch:
    """How late the 20 ms clock came: packets leave as late, and voices break up.

    The clock thread writes, the event loop reads.
    """

    def __init__(self) -> None:
        self._last = 0.0
        self._worst_ms = 0.0
        self.thread = 0
        """The clock's thread, once it has been told that it goes first."""

    def rest(self) -> None:
        """The clock may have stood still until now: nobody needed it."""
        self._last = 0.0

    def tick(self, now: float) -> None:
        """The clock has called, at `now` in seconds of a monotonic clock."""
        late_ms = (now - self._last) * 1000 - FRAME_MS if self._last else 0.0
        self._last, self._worst_ms = now, max(self._worst_ms, late_ms)

    def take_worst_ms(self) -> float:
        """The longest delay since this was asked last."""
        worst, self._worst_ms = self._worst_ms, 0.0
        return worst


class MediaPort(pj.AudioMediaPort):  # type: ignore[misc]
    """A port of the bridge. In each tick the bridge asks for a frame, then brings one.

    Ports are reused from call to call and live as long as the endpoint: the bridge forgets a port
    only some ticks after it was told to, and a tick into a destroyed port ends the process.
    """

    def __init__(self, loop: AbstractEventLoop, clock: ClockWatch) -> None:
        super().__init__()
        form = pj.MediaFormatAudio()
        form.type = pj.PJMEDIA_TYPE_AUDIO
        form.clockRate, form.channelCount, form.bitsPerSample = RATE, 1, 16
        form.frameTimeUsec = FRAME_MS * 1000
        self.createPort("hotline", form)
        self.held = False
        """The peer has put us on hold: playout rests, and what comes is not the peer's voice. The
        bridge brings frames to a port without a stream too, so the call's clock goes on."""
        self._loop = loop
        self._clock = clock
        self._call: tuple[Playout, Tick] | None = None
        self._sent = _SILENCE

    def attach(self, playout: Playout, on_tick: Tick) -> None:
        """Serve one call: `on_tick` is called on the event loop every 20 ms of it."""
        self._clock.rest()
        self.held = False
        self._call = playout, on_tick

    def connect(self, wire: pj.AudioMedia) -> None:
        """Exchange frames with the call's stream from now on."""
        self.held = False
        wire.startTransmit(self)
        self.startTransmit(wire)

    def detach(self) -> None:
        """The call is over, and its stream gone: report nothing."""
        self._call = None

    def onFrameRequested(self, frame: pj.MediaFrame) -> None:
        """Clock thread: hand over the next frame for the wire."""
        call = self._call
        if self._clock.thread != threading.get_ident():
            self._clock.thread = threading.get_ident()
            audio_first()
        self._clock.tick(time.monotonic())
        self._sent = call[0].take() if call and not self.held else _SILENCE
        frame.type = pj.PJMEDIA_FRAME_TYPE_AUDIO
        frame.buf = pj.ByteVector(self._sent.tobytes())
        frame.size = self._sent.nbytes

    def onFrameReceived(self, frame: pj.MediaFrame) -> None:
        """Clock thread: post what was heard, beside what was sent, to the event loop."""
        call, sent, self._sent = self._call, self._sent, _SILENCE
        if call is None:
            return
        heard = _SILENCE
        if frame.type == pj.PJMEDIA_FRAME_TYPE_AUDIO and not self.held:
            heard = np.frombuffer(bytes(frame.buf), np.int16)
        if heard.size != FRAME:  # nothing has arrived
            heard = _SILENCE
        try:
            self._loop.call_soon_threadsafe(call[1], heard, sent)
        except RuntimeError:  # the loop was closed before the endpoint
            self._call = None
