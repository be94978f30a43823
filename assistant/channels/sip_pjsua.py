"""How we set up pjsua, and what its Python binding leaves out."""

import ctypes
import logging
import os
from typing import Any

import pjsua2 as pj

from assistant.channels.sip_media import RATE
from assistant.settings import Sip

log = logging.getLogger(__name__)

PORTS_PER_CALL = 4
"""RTP and RTCP, twice: another program may sit on some of them."""


def endpoint_config(settings: Sip) -> pj.EpConfig:
    """One clock thread, events by polling, no sound card, nothing logged."""
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0  # its messages carry numbers
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
    config.uaConfig.maxCalls = settings.max_calls + 1  # one more, to be told 486
    config.uaConfig.userAgent = "hotline"
    media = config.medConfig
    media.clockRate = media.sndClockRate = RATE
    media.noVad = True  # a packet every 20 ms, silence too: peers hang up on a line gone quiet
    media.ecTailLen = 0
    media.sndAutoCloseTime = -1  # the clock runs on between calls
    return config


def account_config(settings: Sip, uri: str) -> pj.AccountConfig:
    """Who we are, where RTP is bound, and the PBX to register with, if any."""
    config = pj.AccountConfig()
    config.idUri = uri
    rtp = config.mediaConfig.transportConfig  # unbound, RTP would take the machine's first address
    rtp.boundAddress, rtp.publicAddress = settings.bind, settings.advertise
    rtp.port, rtp.portRange = settings.rtp_port, PORTS_PER_CALL * settings.max_calls
    if settings.registrar:
        user = settings.registrar_user or settings.user
        password = os.environ.get(settings.registrar_password_env, "")
        if not password:
            log.warning("%s is not set: no PBX password", settings.registrar_password_env)
        config.idUri = f"sip:{user}@{settings.registrar.partition(':')[2]}"
        config.regConfig.registrarUri = settings.registrar
        config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", user, 0, password))
    return config


def library() -> ctypes.CDLL:
    """pjsua itself, for the few functions that its binding leaves out."""
    return ctypes.CDLL(pj._pjsua2.__file__)


def destroy(thing: Any) -> None:
    """Destroy the C++ object behind a proxy now. Left to Python, any reference that lingers, in
    a traceback for one, puts it off until the library is gone, and that ends the process."""
    type(thing).__swig_destroy__(thing)
