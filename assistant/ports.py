"""Are the ports free that the configuration names? Asked before anything is started."""

import errno
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from assistant.supervision import StartError


@dataclass(frozen=True)
class Port:
    """A port that a service will listen on."""

    host: str
    number: int
    """0 lets the system choose, so it is always free."""
    key: str
    """The key of the configuration that sets it."""
    udp: bool = False
    """Whether it is needed for UDP besides TCP."""


def require_free(ports: Iterable[Port]) -> None:
    """Raise StartError for the first port that cannot be listened on."""
    for port in ports:
        fault = trouble(port)
        if fault:
            raise StartError(fault)


def trouble(port: Port) -> str:
    """Why `port` cannot be listened on and what to do; empty if it can."""
    try:
        _try_to_listen(port)
    except OSError as error:
        return explain(port, error)
    return ""


def explain(port: Port, error: OSError) -> str:
    """What `error` means for who wanted to listen on `port`, and what to do."""
    section = port.key.partition(".")[0]
    where = f"port {port.number} ({port.key})"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use; is another hotline running? stop it or set {port.key}"
    if error.errno == errno.EACCES:
        return f"{where} is reserved for root; set {port.key} above 1023"
    reason = error.strerror or error
    return f"cannot listen on {port.host} ({section}.bind), {where}: {reason}"


def free_ports() -> list[str]:
    """Overrides of the configuration that let one more hotline run beside others.

    The ports of SIP and of the metrics are left to the system; the call server's ready line
    names them.
    """
    keys = (
        *("backend.port", "dialogue.actions_port", "dialogue.rasa_port", "speech.port"),
        "sip.workers_port",
    )
    with ExitStack() as held:  # all at once, so that no number comes twice
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in keys[1:]]
        numbers = [each.getsockname()[1] for each in sockets]
        numbers.append(_free_pair())
    return [
        *(f"{key}={number}" for key, number in zip(keys, numbers, strict=True)),
        "sip.port=0",
        "metrics.port=0",
    ]


def _free_pair() -> int:
    """A number that is free like the one above it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            number: int = server.getsockname()[1]
            if number < 65_535 and not trouble(Port("127.0.0.1", number + 1, "", udp=True)):
                return number


def _try_to_listen(port: Port) -> None:
    family, _, _, _, address = socket.getaddrinfo(port.host, port.number)[0]
    with socket.socket(family, socket.SOCK_STREAM) as tcp:
        # a connection of an earlier run that lingers in TIME_WAIT is no obstacle
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(address)
        tcp.listen()
    if port.udp:
        with socket.socket(family, socket.SOCK_DGRAM) as udp:
            udp.bind(address)
