"""Which call server carries which call, and who gets the next: decisions alone, fed with times.

A call server joins when it can take calls and is left out from the moment on at which it is gone;
its other calls keep their place until they have ended.
"""

from dataclasses import dataclass, field

from assistant.channels.sip_message import Message

Address = tuple[str, int]

LINGER_S = 32.0
"""Messages of a call that has ended may be repeated for so long (RFC 3261, timers B, F and H)."""

FORGOTTEN_S = 4 * 3600.0
"""No call lasts as long; one that never said BYE is forgotten by then."""

LAG_S = 2.0
"""A call server's own count of its calls knows those that are older than this."""


class NoLine(Exception):
    """A new call cannot be taken; `status` and `reason` are SIP's."""

    def __init__(self, status: int, reason: str, why: str) -> None:
        super().__init__(why)
        self.status, self.reason = status, reason


@dataclass(eq=False, slots=True)
class Server:
    """One call server that is linked now."""

    name: str
    address: Address
    """Where it speaks SIP."""
    lines: int
    """Calls that it can carry."""
    calls: int = 0
    """Calls in progress, by its own count."""
    admits: bool = True
    """False: the machine is beyond its limit."""
    closing: bool = False
    """It says goodbye to its callers."""


@dataclass(eq=False, slots=True)
class Line:
    """One call's place."""

    server: Server
    since: float
    branch: str
    """Of the INVITE that began it: tells its repetition from the next attempt."""
    connection: int = 0
    """The TCP connection that its caller uses; 0: none."""
    invite: Message | None = None
    """As it came, for a BYE in the name of a call server that has died."""
    answered_to: str = ""
    """The To header of the answer, once the call stands."""
    ended: float | None = None


@dataclass
class Lines:
    """All call servers and calls; times are seconds of one monotonic clock."""

    servers: list[Server] = field(default_factory=list)
    _calls: dict[str, Line] = field(default_factory=dict)
    """By Call-ID."""

    def join(self, server: Server) -> None:
        """It takes calls from now on."""
        self.servers.append(server)

    def leave(self, server: Server) -> list[Line]:
        """It is gone; returns the answered calls that it has lost.

        A call that it had not answered yet may be tried again elsewhere.
        """
        self.servers.remove(server)
        mine = {key: line for key, line in self._calls.items() if line.server is server}
        for key in mine:
            del self._calls[key]
        return [line for line in mine.values() if line.answered_to and line.ended is None]

    def find(self, call_id: str) -> Line | None:
        """The place of a call in progress, or of one that has ended only just now."""
        return self._calls.get(call_id)

    def take(self, call_id: str, branch: str, now: float) -> Server:
        """The call server of a new call; of a repeated INVITE the same again. Raises NoLine."""
        known = self._calls.get(call_id)
        if known and (known.ended is None or known.branch == branch):
            return known.server
        self._forget(now)
        server = self._choose(now)
        self._calls[call_id] = Line(server, now, branch)
        return server

    def answered(self, call_id: str, to: str) -> None:
        """The call stands; `to` is the To header of the answer."""
        if line := self._calls.get(call_id):
            line.answered_to = to

    def refused(self, call_id: str, now: float) -> None:
        """The INVITE was answered with a failure; of a call that stands it changed nothing."""
        if (line := self._calls.get(call_id)) and not line.answered_to:
            line.ended = line.ended or now

    def ended(self, call_id: str, now: float) -> None:
        """Somebody has hung up."""
        if line := self._calls.get(call_id):
            line.ended = line.ended or now

    def calls(self, now: float) -> int:
        """Calls in progress on all servers."""
        return sum(self._used(server, now) for server in self.servers)

    def _choose(self, now: float) -> Server:
        """The server with the fewest calls, that no call takes from another."""
        willing = [server for server in self.servers if not server.closing]
        if not willing:
            raise NoLine(503, "Service Unavailable", "no call server is there")
        if not all(server.admits for server in self.servers) and self.calls(now):
            raise NoLine(486, "Busy Here", "the machine is at its limit")
        used = {id(server): self._used(server, now) for server in willing}
        free = [server for server in willing if used[id(server)] < server.lines]
        if not free:
            lines = sum(server.lines for server in willing)
            raise NoLine(486, "Busy Here", f"all {lines} lines are busy")
        return min(free, key=lambda server: used[id(server)] / server.lines)

    def _used(self, server: Server, now: float) -> int:
        """By both counts: ours misses a BYE and forgets at a restart, the server's comes late."""
        live = [c for c in self._calls.values() if c.server is server and c.ended is None]
        recent = sum(now - line.since < LAG_S for line in live)
        return min(max(len(live), server.calls), server.calls + recent)

    def _forget(self, now: float) -> None:
        for call_id, line in list(self._calls.items()):
            over = line.ended is not None and now - line.ended > LINGER_S
            if over or now - line.since > FORGOTTEN_S:
                del self._calls[call_id]
