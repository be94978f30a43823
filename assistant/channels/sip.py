"""The hotline on the telephone network: answers SIP calls, and can place them.

    async with SipListener(settings.sip, on_call) as sip:     # on_call(channel: SipChannel)
        print(sip.address)                                    # "127.0.0.1:5060"
        channel = await sip.dial("sip:12333@10.0.0.1")        # a SipChannel, answered

Every call is 180 Ringing, then 200 OK, then a task of `on_call(channel)`; when that returns, the
call is hung up. pjsua (PJSIP's user agent library) exists once a process: one listener at a time.

Its worker threads are switched off: a task polls it, so that all its events arrive on the event
loop's thread and every object of it lives and dies there. Only the 20 ms audio clock is a thread.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Self

import pjsua2 as pj

from assistant.channels import sip_pjsua
from assistant.channels.channel import ChannelClosed, ChannelError
from assistant.channels.sip_call import SipChannel
from assistant.channels.sip_headers import caller_number
from assistant.channels.sip_media import ClockWatch, MediaPort
from assistant.settings import Sip

log = logging.getLogger(__name__)

POLL_S = 0.01
"""SIP's own timers start at 500 ms; answering within 10 ms is soon, and 100 polls a second cost
nothing that can be measured."""

STOP_TIMEOUT_S = 5.0
"""Calls that were hung up end their tasks within this, or are cancelled."""

LOOPBACK = "127.0.0.1"

OnCall = Callable[[SipChannel], Awaitable[object]]


async def refuse(channel: SipChannel) -> None:
    """An `on_call` for those who only dial: hangs up."""
    await channel.hangup()


class SipListener:
    """SIP over UDP and TCP on one port. Use as an async context manager, or start() and stop()."""

    def __init__(
        self, settings: Sip, on_call: OnCall = refuse, *, behind_front: bool = False
    ) -> None:
        """`behind_front`: SIP on loopback alone, where the front door is; audio as configured."""
        self.port = settings.port
        """The port actually bound, once started."""
        self.channels: set[SipChannel] = set()
        """Calls in progress, the not yet answered among them."""
        self.accepting = True
        """False: a new caller gets 503, for the time in which the others hear a goodbye."""
        self.admits: Callable[[], bool] = lambda: True
        """Asked for each new caller; False: the machine is beyond its limit, and they get 486."""
        self.on_change: Callable[[], None] = lambda: None
        """Told when a call has come or gone."""
        self.on_refused: Callable[[], None] = lambda: None
        """Told of each new caller who gets 486."""
        self.refused = 0
        """New callers told 486 since the start."""
        self.clock = ClockWatch()
        self._settings = settings
        self._bind_address = self._host = LOOPBACK if behind_front else settings.bind
        self._advertise = "" if behind_front else settings.advertise
        self._on_call = on_call
        self._endpoint: pj.Endpoint | None = None
        self._account: _Account | None = None
        self._idle_ports: list[MediaPort] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        """host:port that phones reach: what is advertised, else what is bound; bound to 0.0.0.0,
        the machine's address towards its default route."""
        return f"{self._advertise or self._host}:{self.port}"

    @property
    def uri(self) -> str:
        """What a phone dials."""
        return f"sip:{self._settings.user}@{self.address}"

    async def start(self) -> None:
        """Bind and listen. Raises ChannelError naming the setting to change."""
        sip_pjsua.library().pj_log_set_level(0)  # it prints before libInit can tell it not to
        self._endpoint = pj.Endpoint()
        try:
            self._endpoint.libCreate()
            self._endpoint.libInit(sip_pjsua.endpoint_config(self._settings))
            self._check_max_calls()
            self._prefer_codecs()
            self._bind()
            self._endpoint.libStart()
            self._endpoint.audDevManager().setNullDev()  # no sound card, but a 20 ms clock
            self._account = _Account(self)
            self._account.create(sip_pjsua.account_config(self._settings, self.uri))
        except pj.Error as error:
            self._destroy()
            raise ChannelError(f"SIP cannot start: {error.reason}") from None
        except ChannelError:
            self._destroy()
            raise
        self._pump = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Hang up all calls and free the port; safe to call twice."""
        if self._endpoint is None:
            return
        self.accepting = False
        await asyncio.gather(*(channel.hangup() for channel in list(self.channels)))
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_S)
            for task in late:
                log.warning("a call's task did not end with its call and is cancelled")
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._pump:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._destroy()

    async def dial(self, uri: str) -> SipChannel:
        """Place a call; returns when it is answered. Raises CallFailed with the SIP status."""
        channel = self._new_channel(pj.PJSUA_INVALID_ID, caller=uri)
        try:
            channel.make(uri)
            await channel.answered()
        except BaseException:
            await channel.hangup()
            raise
        return channel

    # -- calls -----------------------------------------------------------------------------------

    def _incoming(self, call_id: int, message: str) -> None:
        if not self.accepting:
            self._reject(call_id, pj.PJSIP_SC_SERVICE_UNAVAILABLE)
        elif len(self.channels) >= self._settings.max_calls:
            self._refuse(call_id, f"all {self._settings.max_calls} lines are busy")
        elif not self.admits():
            self._refuse(call_id, "the machine is at its limit")
        else:
            channel = self._new_channel(call_id, caller_number(message))
            channel.answer(pj.PJSIP_SC_RINGING)
            channel.answer(pj.PJSIP_SC_OK)
            task = asyncio.create_task(self._serve(channel))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _refuse(self, call_id: int, why: str) -> None:
        self.refused += 1
        self.on_refused()
        log.warning("%s: a caller got 486, %d since the start", why, self.refused)
        self._reject(call_id, pj.PJSIP_SC_BUSY_HERE)

    def _reject(self, call_id: int, status: int) -> None:
        prm = pj.CallOpParam()
        prm.statusCode = status
        pj.Call(self._account, call_id).hangup(prm)

    def _new_channel(self, call_id: int, caller: str) -> SipChannel:
        port = (
            self._idle_ports.pop()
            if self._idle_ports
            else MediaPort(asyncio.get_running_loop(), self.clock)
        )
        channel = SipChannel(self._account, port, call_id, caller, self._ended)
        self.channels.add(channel)
        self.on_change()
        return channel

    def _ended(self, channel: SipChannel, port: MediaPort) -> None:
        self.channels.discard(channel)
        self._idle_ports.append(port)
        self.on_change()

    async def _serve(self, channel: SipChannel) -> None:
        try:
            await channel.answered()
            await channel.first_packet()
            await self._on_call(channel)
        except ChannelClosed:
            log.info("the caller hung up")
        except ChannelError as error:
            log.warning("%s", error)
        except Exception:  # a boundary: one call's fault must not end the other calls
            log.exception("a call failed")
        finally:
            await channel.hangup()

    # -- pjsua -----------------------------------------------------------------------------------

    async def _poll(self) -> None:
        assert self._endpoint
        while True:
            try:
                self._endpoint.libHandleEvents(0)
            except pj.Error as error:  # one bad event must not deafen the hotline
                log.error("SIP event: %s", error.reason)
            await asyncio.sleep(POLL_S)

    def _check_max_calls(self) -> None:
        """PJSIP's own limit is compiled into it (PJSUA_MAX_CALLS) and would apply silently."""
        most = sip_pjsua.library().pjsua_call_get_max_count()
        if self._settings.max_calls > most:
            raise ChannelError(
                f"sip.max_calls = {self._settings.max_calls}: one process carries at most {most} "
                f"calls; `hotline serve` starts several, alone set sip.max_calls to {most}"
            )

    def _prefer_codecs(self) -> None:
        assert self._endpoint
        known = [codec.codecId for codec in self._endpoint.codecEnum2()]
        for codec in known:
            self._endpoint.codecSetPriority(codec, 0)
        for place, name in enumerate(self._settings.codecs):
            if not any(codec.startswith(f"{name}/") for codec in known):
                offered = ", ".join(codec.rpartition("/")[0] for codec in known)
                raise ChannelError(f"sip.codecs: {name} is not known; choose from {offered}")
            self._endpoint.codecSetPriority(name, 255 - place)

    def _bind(self) -> None:
        """Listen on UDP and TCP. Port 0 is chosen by UDP; TCP may find the same one taken."""
        for last_try in (False, False, True):
            udp = self._listen(pj.PJSIP_TRANSPORT_UDP, self._settings.port)
            assert self._endpoint
            self._host, _, port = self._endpoint.transportGetInfo(udp).localName.rpartition(":")
            self.port = int(port)
            try:
                self._listen(pj.PJSIP_TRANSPORT_TCP, self.port)
                return
            except ChannelError:
                if last_try or self._settings.port:
                    raise
                self._endpoint.transportClose(udp)

    def _listen(self, kind: int, port: int) -> int:
        bind, config = self._bind_address, pj.TransportConfig()
        config.port, config.boundAddress = port, bind
        config.publicAddress = self._advertise
        assert self._endpoint
        try:
            return int(self._endpoint.transportCreate(kind, config))
        except pj.Error as error:
            if "in use" in error.reason:
                raise ChannelError(
                    f"sip.port {port} on {bind} is in use; stop the other program or set sip.port"
                ) from None
            raise ChannelError(
                f"cannot listen on sip.bind {bind}, sip.port {port}: {error.reason}; "
                "set sip.bind to an address of this machine"
            ) from None

    def _destroy(self) -> None:
        """End the library. Ports go when their clock stands and before their bridge does."""
        assert self._endpoint
        if self._endpoint.libGetState() >= pj.PJSUA_STATE_INIT:
            self._endpoint.audDevManager().setNoDev()
        for port in self._idle_ports:
            sip_pjsua.destroy(port)
        self._idle_ports.clear()
        if self._account:
            sip_pjsua.destroy(self._account)
        self._endpoint.libDestroy(pj.PJSUA_DESTROY_NO_RX_MSG)
        sip_pjsua.destroy(self._endpoint)
        self._account = self._endpoint = None


class _Account(pj.Account):  # type: ignore[misc]
    """pjsua's side of the listener: hands its events over."""

    def __init__(self, listener: SipListener) -> None:
        super().__init__()
        self._listener = listener

    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:
        self._listener._incoming(prm.callId, prm.rdata.wholeMsg)

    def onRegState(self, prm: pj.OnRegStateParam) -> None:
        if prm.code // 100 == 2:
            log.info("registered with the PBX")
        else:
            log.warning(
                "the PBX refused to register us: %d %s; check sip.registrar, "
                "sip.registrar_user and the password's environment variable",
                prm.code,
                prm.reason,
            )
