"""SIP messages as text: a start line, headers in their order, a body (RFC 3261, 7 and 25).

Strict where a proxy decides by what it reads, and blind to everything else: headers that it does
not know pass through as they came.
"""

import re
from dataclasses import dataclass
from typing import Self

LONGEST = 65_535
"""Bytes of a message; no more fits into a UDP datagram."""

MOST_HEADERS = 200

COMPACT = {
    "v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length",
    "c": "content-type", "k": "supported", "s": "subject", "e": "content-encoding",
}  # fmt: skip
"""One-letter names (RFC 3261, 7.3.3)."""

LISTS = frozenset(("via", "route", "record-route"))
"""Headers whose values a proxy adds and removes one by one: each is kept in a line of its own."""

NEEDED = ("via", "from", "to", "call-id", "cseq")

_TOKEN = r"[A-Za-z0-9.!%*_+`'~-]+"
_REQUEST = re.compile(rf"({_TOKEN}) ([^\s<>\"]+) SIP/2\.0", re.IGNORECASE)
_RESPONSE = re.compile(r"SIP/2\.0 ([1-6]\d\d)(?: (.*))?", re.IGNORECASE)
_HEADER = re.compile(rf"({_TOKEN})[ \t]*:(.*)")
_CSEQ = re.compile(rf"(\d{{1,10}})[ \t]+({_TOKEN})")
_HOST = r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+"
_VIA = re.compile(
    rf"SIP\s*/\s*2\.0\s*/\s*({_TOKEN})\s+({_HOST})(?:\s*:\s*(\d{{1,5}}))?\s*((?:;.*)?)",
    re.IGNORECASE,
)
_URI = re.compile(rf"sips?:(?:[^@<>\s]*@)?({_HOST})(?::(\d{{1,5}}))?((?:;[^>?]*)?)(?:\?.*)?", re.I)


class Malformed(ValueError):
    """No SIP message, or one that breaks a rule; `message` holds what could be read of it."""

    def __init__(self, reason: str, message: "Message | None" = None) -> None:
        super().__init__(reason)
        self.message = message
        """Present where there is enough to answer 400."""


@dataclass(frozen=True, slots=True)
class Uri:
    """Where a SIP URI points to."""

    host: str
    port: int
    """0 where none is given."""
    params: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sip:…`, `<sip:…>` or `"Name" <sip:…>;tag=…`. Raises Malformed."""
        inside = re.search(r"<([^<>]*)>", text)
        found = _URI.fullmatch((inside[1] if inside else text.partition(";")[0]).strip())
        if not found:
            raise Malformed("no SIP URI")
        return cls(found[1].strip("[]").lower(), _port(found[2]), params(found[3]))


@dataclass(frozen=True, slots=True)
class Via:
    """One hop that a request has taken (RFC 3261, 20.42)."""

    transport: str
    host: str
    port: int
    """0 where none is given."""
    params: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one value. Raises Malformed."""
        found = _VIA.fullmatch(text.strip())
        if not found:
            raise Malformed("no Via")
        host = found[2].strip("[]").lower()
        return cls(found[1].lower(), host, _port(found[3]), params(found[4]))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        rest = "".join(f";{k}={v}" if v else f";{k}" for k, v in self.params.items())
        return f"SIP/2.0/{self.transport.upper()} {host}{port}{rest}"


@dataclass(slots=True)
class Message:
    """A request or a response; its headers may be changed, the rest is as it came."""

    start: str
    headers: list[tuple[str, str]]
    """Names as they came, values without surrounding space."""
    body: bytes = b""
    method: str = ""
    """Of a request; empty for a response."""
    uri: str = ""
    """Of a request."""
    status: int = 0
    """Of a response; 0 for a request."""

    def all(self, name: str) -> list[str]:
        """The values of a header (its long name in lower case), top first."""
        return [value for each, value in self.headers if _long(each) == name]

    def first(self, name: str) -> str:
        """The top value of a header; empty where there is none."""
        return next((value for each, value in self.headers if _long(each) == name), "")

    def push(self, name: str, value: str) -> None:
        """Put a value on top of the others of its name."""
        names = [_long(each) for each, _ in self.headers]
        place = names.index(name.lower()) if name.lower() in names else len(names)
        self.headers.insert(place, (name, value))

    def pop(self, name: str) -> str:
        """Take the top value of a header away; empty where there was none."""
        for place, (each, value) in enumerate(self.headers):
            if _long(each) == name:
                del self.headers[place]
                return value
        return ""

    def put(self, name: str, value: str) -> None:
        """Replace the top value of a header, or add it."""
        for place, (each, _) in enumerate(self.headers):
            if _long(each) == name.lower():
                self.headers[place] = (each, value)
                return
        self.headers.append((name, value))

    @property
    def call_id(self) -> str:
        """What the requests and responses of one call share."""
        return self.first("call-id")

    @property
    def cseq_method(self) -> str:
        """The method of a request, or of the request that a response answers."""
        return self.first("cseq").split()[-1]

    @property
    def to_tag(self) -> str:
        """Present in what belongs to a dialog already."""
        return params(self.first("to").rpartition(">")[2]).get("tag", "")

    def __bytes__(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + self.body


def parse(data: bytes, *, stream: bool = False) -> Message:
    """Read one whole message; of a datagram, what follows the body is dropped.

    Raises Malformed, with the message where its sender can be told.
    """
    if len(data) > LONGEST:
        raise Malformed("too long")
    head, blank, body = data.partition(b"\r\n\r\n")
    if not blank:
        raise Malformed("no end of the headers")
    message = _head(head.lstrip(b"\r\n"))
    for name in NEEDED:
        if not message.first(name):
            raise Malformed(f"no {name}")
    Via.parse(message.first("via"))
    _check(message)
    length = _content_length(message, default=0 if stream else len(body))
    if length > len(body):
        raise Malformed("the body is shorter than Content-Length", message)
    message.body = body[:length]
    return message


def length_of(data: bytes) -> int | None:
    """Bytes of the first message in a stream; None: its headers are not complete yet.

    Raises Malformed where no length can be told, so that nothing after it can be read either.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > LONGEST:
            raise Malformed("endless headers")
        return None
    length = end + 4 + _content_length(_head(data[:end]), default=None)
    if length > LONGEST:
        raise Malformed("too long")
    return length


def params(text: str) -> dict[str, str]:
    """`;name=value;flag` as a dictionary with names in lower case."""
    pairs = (part.partition("=") for part in _split(text, ";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _head(head: bytes) -> Message:
    text = head.decode("utf-8", "surrogateescape")
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n", text):
        raise Malformed("control characters")
    start, *lines = re.sub(r"\r\n[ \t]+", " ", text).split("\r\n")  # folded lines are one
    if len(lines) > MOST_HEADERS:
        raise Malformed("too many headers")
    message = Message(start, [])
    if found := _REQUEST.fullmatch(start):
        message.method, message.uri = found[1].upper(), found[2]
    elif found := _RESPONSE.fullmatch(start):
        message.status = int(found[1])
    else:
        raise Malformed("no start line")
    for line in lines:
        found = _HEADER.fullmatch(line)
        if not found:
            raise Malformed("no header")
        name, value = found[1], found[2].strip(" \t")
        values = _split(value, ",") if _long(name) in LISTS else [value]
        message.headers += [(name, each) for each in values]
    return message


def _check(message: Message) -> None:
    """Raise Malformed for what a proxy could not route."""
    cseq = _CSEQ.fullmatch(message.first("cseq"))
    if not cseq or int(cseq[1]) >= 2**31:
        raise Malformed("CSeq is no number and method", message)
    if message.method and cseq[2].upper() != message.method:
        raise Malformed("CSeq names another method", message)
    if not re.fullmatch(r"\d{0,3}", message.first("max-forwards")):
        raise Malformed("Max-Forwards is no number", message)
    for name in ("call-id", "from", "to", "cseq", "max-forwards", "content-length"):
        if len(message.all(name)) > 1:
            raise Malformed(f"{name} twice", message)
    if re.search(r"\s", message.call_id):
        raise Malformed("Call-ID with spaces", message)


def _content_length(message: Message, default: int | None) -> int:
    text = message.first("content-length")
    if not text and default is not None:
        return default
    if not re.fullmatch(r"\d{1,6}", text):
        raise Malformed("Content-Length is no number", message)
    return int(text)


def _split(value: str, mark: str) -> list[str]:
    """The parts between marks that stand outside of quotes and angle brackets."""
    parts, start, quoted, bracketed, escaped = [], 0, False, False, False
    for place, character in enumerate(value):
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = character == "\\", character != '"'
        elif character == '"':
            quoted = True
        elif character in "<>":
            bracketed = character == "<"
        elif character == mark and not bracketed:
            parts.append(value[start:place].strip())
            start = place + 1
    parts.append(value[start:].strip())
    return [part for part in parts if part]


def _long(name: str) -> str:
    name = name.lower()
    return COMPACT.get(name, name)


def _port(text: str | None) -> int:
    port = int(text or 0)
    if port > 65_535:
        raise Malformed("no such port")
    return port
