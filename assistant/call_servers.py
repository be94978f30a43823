"""How many call-server processes carry the calls, and what each of them gets."""

from assistant.settings import CALLS_PER_PROCESS, Metrics, Settings, Sip

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


def metrics_of(settings: Settings, name: str) -> Metrics:
    """Where the call server `name` shows its metrics: each one port further than the one before.

    The only one (an empty name), and any of them where the system chooses the port, has what is
    configured. Raises ValueError for a name that is not one of names().
    """
    metrics = settings.metrics
    if not name or not metrics.port:
        return metrics
    place = names(settings.sip).index(name)
    return metrics.model_copy(update={"port": metrics.port + place})
