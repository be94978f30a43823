"""One SIP call as a Channel: pjsua's call on one side, the event loop on the other.

    async for item in channel.frames(): ...      # Audio(pcm) every 20 ms, Key(digit) when pressed
    await channel.play(pcm)                      # int16, channel.rate Hz; at most 60 ms ahead
    unheard = channel.clear()                    # samples given to play() and not sent
    channel.tap = recorder.write                 # (heard, sent) of every 20 ms, sample-aligned
    await channel.transfer("sip:desk@pbx"); await channel.hangup()

All of it, pjsua's events included, runs on the event loop's thread (sip.py polls pjsua from
there); only the audio frames of sip_media.py come from another one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Literal

import numpy as np
import pjsua2 as pj

from assistant.channels import sip_pjsua
from assistant.channels.channel import FRAME_MS, Audio, ChannelClosed, ChannelError, Key, Pcm
from assistant.channels.sip_keys import KeyPresses, Method
from assistant.channels.sip_media import FRAME, RATE, MediaPort, Playout, Tick
from assistant.channels.sip_source import SourceLock, tie

log = logging.getLogger(__name__)

INBOX_FRAMES = 1500
"""Frames (30 s) kept for a reader that is busy; then the oldest go, so that memory stays flat."""

RTP_TIMEOUT_S = 60
"""A peer that vanished without BYE would hold its line for ever. Phones that suppress silence send
nothing while their user listens, so this is longer than any prompt; hold does not count at all."""

HANGUP_TIMEOUT_S = 2.0
"""The answer to a BYE comes within milliseconds or not at all; nobody waits for SIP's 32 s."""

TRANSFER_TIMEOUT_S = 60.0
"""The desk may ring this long before the caller is told that nobody answers."""

FIRST_PACKET_S = 0.3
"""Wait this long for the peer's first packet before speaking: where the peer sits behind NAT or is
still setting up its media, what is said earlier is lost and the greeting is clipped."""

KEY_MS, KEY_PAUSE_MS = 100, 60
"""A key press as a quick finger makes it; exchanges want at least 40 ms of each (ITU-T Q.24)."""

_DTMF_UPDATE = 1
"""PJMEDIA_STREAM_DTMF_IS_UPDATE: one more packet of a press already reported."""


class CallFailed(ChannelError):
    """An outgoing call was not answered; `status` is the SIP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the call was not answered: {status} {reason}")
        self.status = status


class SipChannel:
    """One call's wire; implements Channel. Made by SipListener, for incoming and dialled calls."""

    kind = "sip"
    rate = RATE

    def __init__(
        self, account: pj.Account, port: MediaPort, call_id: int, caller: str, on_ended: "OnEnded"
    ) -> None:
        self.caller = caller
        self.codec = ""
        """Negotiated codec, such as "PCMA/8000"."""
        self.telephone_event = False
        """Whether RFC 4733 key events were negotiated."""
        self.tap: Tick | None = None
        """Called on the event loop for every 20 ms of the call with (heard, sent) frames."""
        self.status = 0
        """Last SIP status of the call; 200 once answered."""
        self.ended_by: Literal["", "us", "peer"] = ""
        self._on_ended = on_ended
        self._leg: _Leg | None = _Leg(account, call_id, self)
        self._port: MediaPort | None = port
        self._loop = asyncio.get_running_loop()
        self._playout = Playout()
        port.attach(self._playout, self._on_tick)
        self._unqueued = 0  # samples inside a waiting play()
        self._clears = 0
        self._inbox: deque[Audio | Key] = deque(maxlen=INBOX_FRAMES)
        self._presses = KeyPresses()
        self._pulse = asyncio.Event()  # wakes all who wait for the next tick, key or end
        self._answered: asyncio.Future[None] = self._loop.create_future()
        self._transferred: asyncio.Future[tuple[int, str]] | None = None
        self._media_index = -1
        self._guard: asyncio.Task[None] | None = None
        self._source = SourceLock()

    # -- Channel ---------------------------------------------------------------------------------

    async def frames(self) -> AsyncIterator[Audio | Key]:
        """The peer's 20 ms frames and keys in order; ends when the line drops."""
        while True:
            while self._inbox:
                yield self._inbox.popleft()
            if self.closed:
                return
            await self._pulse.wait()

    async def play(self, pcm: Pcm) -> None:
        """Queue audio (one player at a time); returns when at most 60 ms of it is still queued.

        Returns early when clear() drops it. Raises ChannelClosed when the peer has hung up.
        """
        clears = self._clears
        rest = np.concatenate([self._playout.take_tail(), pcm])
        while not self.closed:
            if rest.size < FRAME:
                self._unqueued = 0
                self._playout.put_tail(rest)
                return
            if not self._playout.full:
                self._playout.put(rest[:FRAME])
                rest = rest[FRAME:]
                continue
            self._unqueued = rest.size
            await self._pulse.wait()
            if self._clears != clears and not self.closed:
                return
        raise ChannelClosed("the caller has hung up")

    async def drain(self) -> None:
        """Wait until everything queued has left for the wire, was cleared, or the line dropped."""
        while not self._playout.empty and not self.closed:
            await self._pulse.wait()

    def clear(self) -> int:
        """Drop what is queued or waits in play(); returns how many samples were never sent."""
        dropped = self._playout.clear() + self._unqueued
        self._unqueued = 0
        self._clears += 1
        return dropped

    async def transfer(self, target: str) -> None:
        """Send the peer to `target` (a SIP URI) by REFER, follow it to its end, then hang up.

        Raises ChannelError when the transfer fails; the call then goes on.
        """
        leg = self._open_leg()
        self._transferred = self._loop.create_future()
        try:
            leg.xfer(target, pj.CallOpParam())
        except pj.Error as error:
            raise ChannelError(f"{target} cannot be called: {error.reason}") from None
        try:
            status, reason = await asyncio.wait_for(self._transferred, TRANSFER_TIMEOUT_S)
        except TimeoutError:
            status, reason = 408, "no answer"
        finally:
            self._transferred = None
        if status // 100 != 2:
            raise ChannelError(f"the transfer to {target} failed: {status} {reason}")
        await self.hangup()

    async def hangup(self) -> None:
        """End the call; safe to call twice."""
        if self._leg and not self._leg.isActive():  # it never began, or is over already
            self._end()
        elif self._leg and not self.ended_by:
            self.ended_by = "us"
            self._leg.hangup(pj.CallOpParam())
        try:
            async with asyncio.timeout(HANGUP_TIMEOUT_S):
                while not self.closed:
                    await self._pulse.wait()
        except TimeoutError:
            log.warning("the peer did not confirm the hang-up")
            self._end()

    # -- more than a Channel ---------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Whether the peer has put us on hold."""
        return self._port is not None and self._port.held

    @property
    def closed(self) -> bool:
        """Whether the line has dropped."""
        return self._leg is None

    async def answered(self) -> None:
        """Wait until the call stands. Raises CallFailed when it never will."""
        await asyncio.shield(self._answered)

    async def first_packet(self) -> None:
        """Wait for the peer's first RTP packet, 300 ms at most."""
        deadline = self._loop.time() + FIRST_PACKET_S
        while not self.closed and not self._packets() and self._loop.time() < deadline:
            await self._pulse.wait()

    async def press(self, keys: str) -> None:
        """Key digits to the peer as RFC 4733 events; returns when the last is released."""
        for key in keys:
            prm = pj.CallSendDtmfParam()
            prm.method, prm.digits, prm.duration = pj.PJSUA_DTMF_METHOD_RFC2833, key, KEY_MS
            try:
                self._open_leg().sendDtmf(prm)
            except pj.Error as error:
                raise ChannelError(f"the peer takes no keys: {error.reason}") from None
            for _ in range((KEY_MS + KEY_PAUSE_MS) // FRAME_MS):
                await self._pulse.wait()

    def answer(self, status: int) -> None:
        """Send a provisional or final answer to an incoming call."""
        prm = pj.CallOpParam()
        prm.statusCode = status
        self._open_leg().answer(prm)

    def make(self, uri: str) -> None:
        """Send the INVITE of an outgoing call. Raises ChannelError for a malformed URI."""
        try:
            self._open_leg().makeCall(uri, pj.CallOpParam(True))
        except pj.Error as error:
            raise ChannelError(f"{uri} cannot be called: {error.reason}") from None

    # -- what pjsua tells ------------------------------------------------------------------------

    def _state_changed(self, info: pj.CallInfo) -> None:
        self.status = info.lastStatusCode or self.status
        if info.state == pj.PJSIP_INV_STATE_CONFIRMED and not self._answered.done():
            self._answered.set_result(None)
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            if not self._answered.done():
                self._answered.set_exception(CallFailed(info.lastStatusCode, info.lastReason))
                self._answered.exception()  # nobody may be waiting: an incoming call was cancelled
            # pjsua is still inside this call: it must not be destroyed from here
            self._loop.call_soon(self._end)

    def _media_changed(self, leg: pj.Call, info: pj.CallInfo) -> None:
        if self._port is None:
            return
        for media in info.media:
            if media.type != pj.PJMEDIA_TYPE_AUDIO:
                continue
            if media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                self._connect(leg, media.index)
            elif media.status == pj.PJSUA_CALL_MEDIA_REMOTE_HOLD:
                self._port.held = True

    def _connect(self, leg: pj.Call, index: int) -> None:
        assert self._port
        self._port.connect(leg.getAudioMedia(index))
        self._media_index = index
        if self._source.source:  # the answer may name another address
            self._source.reset()
            tie(leg.getMedTransportInfo(index).localRtpName, "")
        stream = leg.getStreamInfo(index)
        self.codec = f"{stream.codecName}/{stream.codecClockRate}"
        self.telephone_event = stream.audRxEventPt > 0
        if self._guard is None:
            self._guard = asyncio.create_task(self._watch_rtp())
            if not self.telephone_event:
                log.warning("the phone offers no telephone-event: keys arrive by SIP INFO only")

    def _key(self, digit: str, method: Method) -> None:
        if self._presses.accept(digit, method, self._loop.time() * 1000):
            self._inbox.append(Key(digit))
            self._wake()
        elif self._presses.flooded:
            log.warning("a flood of keys is dropped")
            self._presses.flooded = False

    def _transfer_progress(self, status: int, reason: str, final: bool) -> None:
        if final and self._transferred and not self._transferred.done():
            self._transferred.set_result((status, reason))

    def _on_tick(self, heard: Pcm, sent: Pcm) -> None:
        if self.closed:
            return
        self._inbox.append(Audio(heard, sent))
        if self.tap:
            self.tap(heard, sent)
        self._wake()

    # -- inside ----------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._pulse.set()
        self._pulse.clear()

    def _open_leg(self) -> "_Leg":
        if self._leg is None:
            raise ChannelClosed("the caller has hung up")
        return self._leg

    def _packets(self) -> int:
        if self._leg is None or self._media_index < 0:
            return 0
        try:
            return int(self._leg.getStreamStat(self._media_index).rtcp.rxStat.pkt)
        except pj.Error:  # the stream is being replaced
            return 0

    async def _watch_rtp(self) -> None:
        silent_s, before = 0, -1
        while silent_s < RTP_TIMEOUT_S:
            await asyncio.sleep(1)
            now = self._packets()
            silent_s = silent_s + 1 if now == before and not self.held else 0
            self._tie_source(now != before)
            before = now
        log.warning("no RTP for %d s: the caller is gone, hanging up", RTP_TIMEOUT_S)
        await self.hangup()

    def _tie_source(self, new_packets: bool) -> None:
        if self._leg is None or self._media_index < 0:
            return
        try:
            wire = self._leg.getMedTransportInfo(self._media_index)
        except pj.Error:  # the stream is being replaced
            return
        before = self._source.source
        source = self._source.second(wire.srcRtpName, new_packets)
        if source != before:
            tie(wire.localRtpName, source)

    def _end(self) -> None:
        if self._leg is None or self._port is None:
            return
        self.ended_by = self.ended_by or "peer"
        leg, port, self._leg, self._port = self._leg, self._port, None, None
        sip_pjsua.destroy(leg)
        port.detach()
        self.clear()
        if self._guard:
            self._guard.cancel()
        if self._transferred and not self._transferred.done():
            self._transferred.set_result((487, "the caller has hung up"))
        self._wake()
        self._on_ended(self, port)


OnEnded = Callable[[SipChannel, MediaPort], None]
"""Told once that a call is over, and given its port back."""


class _Leg(pj.Call):  # type: ignore[misc]
    """pjsua's side of the call: hands its events to the channel."""

    def __init__(self, account: pj.Account, call_id: int, channel: SipChannel) -> None:
        super().__init__(account, call_id)
        self._channel = channel

    def onCallState(self, prm: pj.OnCallStateParam) -> None:
        self._channel._state_changed(self.getInfo())

    def onCallMediaState(self, prm: pj.OnCallMediaStateParam) -> None:
        self._channel._media_changed(self, self.getInfo())

    def onDtmfEvent(self, prm: pj.OnDtmfEventParam) -> None:
        if not prm.flags & _DTMF_UPDATE:
            method: Method = "info" if prm.method == pj.PJSUA_DTMF_METHOD_SIP_INFO else "rtp"
            self._channel._key(prm.digit, method)

    def onCallTransferStatus(self, prm: pj.OnCallTransferStatusParam) -> None:
        self._channel._transfer_progress(prm.statusCode, prm.reason, prm.finalNotify)
