"""Whose RTP is it? A call's RTP socket, closed to everybody but the caller.

pjsua drops packets from a second address while the first one sends, but ten of them between two of
the caller's turn it round: then a stranger is heard, and the hotline's words go to the stranger.
A connected UDP socket is deaf to all but its peer (udp(7)); pjsua's binding has no option for it.
"""

import ctypes
import logging
import os
import socket
import stat
import struct

log = logging.getLogger(__name__)

OPEN_AGAIN_S = 5
"""Without a packet for so long the socket is opened: the caller may send from elsewhere now, since
phones change from one network to another and PBXs from one relay to another."""


class SourceLock:
    """Decides when the socket is tied to the caller. Pure: asked once a second."""

    def __init__(self) -> None:
        self.source = ""
        """Whom the socket is tied to, as host:port; empty: it is open."""
        self._seen = ""
        self._silent_s = 0

    def second(self, source: str, new_packets: bool) -> str:
        """A second has passed, the last packet came from `source`; returns whom to tie it to.

        An address is trusted once it has sent for a whole second: behind NAT it is not the one in
        the SDP, and nobody knows it before.
        """
        self._silent_s = 0 if new_packets else self._silent_s + 1
        if self._silent_s >= OPEN_AGAIN_S:
            self.source = self._seen = ""
        elif not self.source and new_packets:
            self.source = source if source == self._seen else ""
            self._seen = source
        return self.source

    def reset(self) -> None:
        """A new offer was made: the peer's address may be another one."""
        self.source = self._seen = ""


def tie(local: str, source: str) -> None:
    """Let the UDP socket bound to `local` hear `source` only; an empty one: hear everybody.

    Both are "host:port". Where it cannot be done, a line in the log says so and the call goes on.
    """
    try:
        with _bound_to(int(local.rpartition(":")[2])) as rtp:
            if source:
                host, _, port = source.rpartition(":")
                rtp.connect((host, int(port)))
            elif _libc.connect(rtp.fileno(), _NOBODY, len(_NOBODY)):
                raise OSError(ctypes.get_errno(), "it cannot be opened again")
    except (OSError, ValueError) as error:
        log.warning("the RTP socket %s stays as it is: %s", local, error)


_libc = ctypes.CDLL(None, use_errno=True)
_NOBODY = struct.pack("H14x", socket.AF_UNSPEC)
"""A sockaddr that dissolves a connection (connect(2)); Python's own connect() takes none."""


def _bound_to(port: int) -> socket.socket:
    for name in os.listdir("/dev/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            candidate = socket.socket(fileno=os.dup(int(name)))
        except OSError:  # it was closed meanwhile
            continue
        is_udp = (candidate.family, candidate.type) == (socket.AF_INET, socket.SOCK_DGRAM)
        if is_udp and candidate.getsockname()[1] == port:
            return candidate
        candidate.close()
    raise OSError("no such socket in this process")
