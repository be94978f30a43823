"""How many call-server processes carry the calls, and what each of them gets."""

from assistant.settings import CALLS_PER_PROCESS, Sip

RTP_PORTS = 16
"""Ports of one process: RTP and RTCP of each call, and as many again in case some are taken."""


def names(sip: Sip) -> list[str]:
    """The call servers behind a front door; empty where one process is enough without one."""
    if sip.max_calls <= CALLS_PER_PROCESS:
        return []
    count = -(-sip.max_calls // CALLS_PER_PROCESS)
    return [f"answer-{number}" for number in range(1, count + 1)]


def share(sip: Sip, name: str) -> Sip:
    """What the call server `name` is given: its lines, its RTP ports, a SIP port of its own.

    Raises ValueError for a name that is not one of names().
    """
    all_names = names(sip)
    place = all_names.index(name)
    lines, more = divmod(sip.max_calls, len(all_names))
    return sip.model_copy(
        update={
            "port": 0,
            "max_calls": lines + (place < more),
            "rtp_port": sip.rtp_port + place * RTP_PORTS,
        }
    )
