"""The front door's decisions: what comes in from one side goes out at which other, and how changed.

A stateless proxy (RFC 3261, 16.11) between phones outside and call servers on loopback: it adds
and takes its Via, stays in the path of a call by Record-Route (twice, since the two sides differ:
RFC 5658), keeps a call at its call server, and answers by itself what no call server should see.
Audio never comes here. Pure: fed with messages and times, returns what is to be sent.
"""

import hashlib
import hmac
import logging
import re
from dataclasses import dataclass, replace
from typing import Literal

from assistant.channels.sip_lines import Address, Line, Lines, NoLine, Server
from assistant.channels.sip_message import Malformed, Message, Uri, Via

log = logging.getLogger(__name__)

DEFAULT_PORT = 5060
COOKIE = "z9hG4bK"
"""Begins every branch that tells transactions apart (RFC 3261, 8.1.1.7)."""

METHODS = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, REFER, NOTIFY, PRACK"
MAX_FORWARDS = 70

LAST_CSEQ = 2**30
"""Above every number that a call server has used in the call."""

Transport = Literal["udp", "tcp"]


@dataclass(frozen=True, slots=True)
class Hop:
    """A neighbour outside: where a message came from, or goes to."""

    transport: Transport
    host: str
    port: int
    connection: int = 0
    """Number of the TCP connection that is there already; 0: none is known."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message and where it goes: to a call server, or outside."""

    message: Message
    to: Address | Hop


class Proxy:
    """Routes between phones and call servers."""

    def __init__(self, lines: Lines, outside: Address, inside: Address, secret: bytes) -> None:
        """`outside` is the address that phones know, `inside` the one that call servers do."""
        self._lines = lines
        self._outside, self._inside = (outside[0].lower(), outside[1]), inside
        self._secret = secret
        self.refused = 0
        """New calls turned away since the start."""

    # -- from outside ----------------------------------------------------------------------------

    def from_outside(self, message: Message, came: Hop, now: float) -> list[Sent]:
        """A phone or a PBX has sent this. Raises Malformed where it cannot be understood."""
        if message.status:
            return self._response_inwards(message)
        self._mark_source(message, came)
        try:
            return self._request_inwards(message, came, now)
        except NoLine as refusal:
            self.refused += 1
            log.warning(
                "%s: a caller got %d, %d since the start", refusal, refusal.status, self.refused
            )
            return self._answer(message, came, refusal.status, refusal.reason)

    def _request_inwards(self, message: Message, came: Hop, now: float) -> list[Sent]:
        received = replace(message, headers=list(message.headers))
        while self._is_ours(message.first("route")):
            message.pop("route")
        fault = self._count_hop(message)
        if fault:
            return self._answer(message, came, *fault)
        server = self._server_for(message, now)
        if server is None:
            return self._answer(message, came, *self._own_answer(message))
        if line := self._lines.find(message.call_id):
            line.connection = came.connection
            line.invite = line.invite or received
        if message.method == "BYE":
            self._lines.ended(message.call_id, now)
        if message.method == "INVITE":
            host, port = _written(self._outside)
            inner_host, inner_port = _written(self._inside)
            outer = f"<sip:{host}:{port};transport={came.transport};lr>"
            message.push("Record-Route", outer)
            message.push("Record-Route", f"<sip:{inner_host}:{inner_port};lr>")
        via = Via("udp", *self._inside, {"branch": self._branch(message)})
        if came.connection:
            via.params["flow"] = str(came.connection)
        message.push("Via", str(via))
        return [Sent(message, server)]

    def _server_for(self, message: Message, now: float) -> Address | None:
        """Where a request belongs; None: nowhere. Raises NoLine for a new call."""
        line = self._lines.find(message.call_id)
        if message.to_tag:
            return line.server.address if line else self._routed_to(message)
        if message.method == "INVITE":
            branch = Via.parse(message.first("via")).params.get("branch", "")
            return self._lines.take(message.call_id, branch, now).address
        return line.server.address if line and message.method != "OPTIONS" else None

    def _routed_to(self, message: Message) -> Address | None:
        """The call server that the request names itself: we have been started anew meanwhile."""
        try:
            target = Uri.parse(message.first("route") or message.uri)
        except Malformed:
            return None
        address = (target.host, target.port)
        known = any(server.address == address for server in self._lines.servers)
        return address if known else None

    def _own_answer(self, message: Message) -> tuple[int, str]:
        if message.to_tag or message.method in ("CANCEL", "BYE"):
            return 481, "Call/Transaction Does Not Exist"
        if message.method == "OPTIONS":  # how a PBX asks whether we are there
            there = any(not server.closing for server in self._lines.servers)
            return (200, "OK") if there else (503, "Service Unavailable")
        return 405, "Method Not Allowed"

    def _response_inwards(self, message: Message) -> list[Sent]:
        """To a request of a call server, for example to its BYE."""
        if not self._take_via(message, self._outside):
            return []
        via = Via.parse(message.first("via"))
        return [Sent(message, (via.host, int(via.params.get("rport") or via.port)))]

    # -- from a call server ----------------------------------------------------------------------

    def from_inside(self, message: Message, now: float) -> list[Sent]:
        """A call server has sent this. Raises Malformed where it cannot be understood."""
        if message.status:
            return self._response_outwards(message, now)
        transport: Transport = "udp"
        while self._is_ours(route := message.first("route")):
            if Uri.parse(route).params.get("transport", "").lower() == "tcp":
                transport = "tcp"
            message.pop("route")
        if self._count_hop(message):
            return []
        if message.method == "BYE":
            self._lines.ended(message.call_id, now)
        target = Uri.parse(message.first("route") or message.uri)
        if target.params.get("transport", "").lower() == "tcp":
            transport = "tcp"
        message.push("Via", str(Via(transport, *self._outside, {"branch": self._branch(message)})))
        line = self._lines.find(message.call_id)
        connection = line.connection if line else 0
        hop = Hop(transport, target.host, target.port or DEFAULT_PORT, connection)
        return [Sent(message, hop)]

    def _response_outwards(self, message: Message, now: float) -> list[Sent]:
        flow = Via.parse(message.first("via")).params.get("flow", "0")
        if not self._take_via(message, self._inside):
            return []
        if message.cseq_method == "INVITE" and message.status >= 300:
            self._lines.refused(message.call_id, now)
        elif message.cseq_method == "INVITE" and message.status >= 200:
            self._lines.answered(message.call_id, message.first("to"))
        return [Sent(message, _reply_to(Via.parse(message.first("via")), int(flow)))]

    def server_gone(self, server: Server) -> list[Sent]:
        """A call server has died: its callers get the BYE that it cannot send any more."""
        return [bye for line in self._lines.leave(server) for bye in self._farewell(line)]

    def _farewell(self, line: Line) -> list[Sent]:
        invite = line.invite
        contact = re.search(r"<(.*?)>", invite.first("contact")) if invite else None
        if invite is None or contact is None:
            return []
        came = Via.parse(invite.first("via"))
        transport: Transport = "tcp" if came.transport == "tcp" else "udp"
        routes = invite.all("record-route")
        branch = COOKIE + self._hash(f"bye {invite.call_id}")
        bye = Message(
            f"BYE {contact[1]} SIP/2.0",
            [
                ("Via", str(Via(transport, *self._outside, {"branch": branch}))),
                *(("Route", route) for route in routes),
                ("Max-Forwards", str(MAX_FORWARDS)),
                ("From", line.answered_to),
                ("To", invite.first("from")),
                ("Call-ID", invite.call_id),
                ("CSeq", f"{LAST_CSEQ} BYE"),
                ("Content-Length", "0"),
            ],
            method="BYE",
        )
        target = Uri.parse(routes[0] if routes else contact[1])
        hop = Hop(transport, target.host, target.port or DEFAULT_PORT, line.connection)
        return [Sent(bye, hop)]

    # -- both ways -------------------------------------------------------------------------------

    def bad_request(self, message: Message, came: Hop) -> list[Sent]:
        """The answer to a request that breaks a rule."""
        if message.status or message.method == "ACK":
            return []
        self._mark_source(message, came)
        return self._answer(message, came, 400, "Bad Request")

    def _answer(self, message: Message, came: Hop, status: int, reason: str) -> list[Sent]:
        """Answer by ourselves, the same each time it is asked (RFC 3261, 8.2.7)."""
        if message.method == "ACK":
            return []
        kept = ("via", "from", "to", "call-id", "cseq")
        headers = [(name, value) for name in kept for value in message.all(name)]
        answer = Message(f"SIP/2.0 {status} {reason}", headers, status=status)
        if not message.to_tag:
            answer.put("to", f"{message.first('to')};tag={self._hash(message.call_id)}")
        answer.headers += [("Allow", METHODS), ("Content-Length", "0")]
        return [Sent(answer, _reply_to(Via.parse(message.first("via")), came.connection))]

    def _mark_source(self, message: Message, came: Hop) -> None:
        """Note in the top Via where the request really came from (RFC 3581, 4)."""
        via = Via.parse(message.first("via"))
        via.params["received"] = came.host
        if "rport" in via.params:
            via.params["rport"] = str(came.port)
        message.put("via", str(via))

    def _count_hop(self, message: Message) -> tuple[int, str] | None:
        left = int(message.first("max-forwards") or MAX_FORWARDS)
        if left == 0:
            return 483, "Too Many Hops"
        message.put("Max-Forwards", str(min(left, 255) - 1))
        return None

    def _take_via(self, message: Message, side: Address) -> bool:
        """Take our own Via off a response; False: it answers nothing that we have sent."""
        ours = Via.parse(message.pop("via"))
        below = message.first("via")
        genuine = below and hmac.compare_digest(
            ours.params.get("branch", "").encode(), self._branch(message).encode()
        )
        return bool(genuine) and (ours.host, ours.port) == side

    def _branch(self, message: Message) -> str:
        """Of our Via above the present top one: the same for a repetition, an ACK and a CANCEL.

        Keyed, so that nobody outside can make up a response that we would pass on.
        """
        via = Via.parse(message.first("via"))
        branch = via.params.get("branch", "")
        if not branch.startswith(COOKIE):  # before RFC 3261: no two requests share the CSeq
            branch = message.first("cseq").split()[0]
        return COOKIE + self._hash(f"{via.host} {via.port} {branch} {message.call_id}")

    def _hash(self, text: str) -> str:
        data = text.encode("utf-8", "surrogateescape")
        return hmac.new(self._secret, data, hashlib.sha256).hexdigest()[:24]

    def _is_ours(self, route: str) -> bool:
        if not route:
            return False
        uri = Uri.parse(route)
        return (uri.host, uri.port or DEFAULT_PORT) in (self._outside, self._inside)


def _reply_to(via: Via, connection: int) -> Hop:
    """Where the sender of a request waits for its response (RFC 3261, 18.2.2; RFC 3581)."""
    transport: Transport = "tcp" if via.transport == "tcp" else "udp"
    host = via.params.get("received") or via.host
    port = int(via.params.get("rport") or 0) or via.port or DEFAULT_PORT
    return Hop(transport, host, port, connection)


def _written(address: Address) -> Address:
    host, port = address
    return (f"[{host}]" if ":" in host else host), port
