"""Which processes make a hotline: their commands, ports and signs of being ready."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from assistant import call_servers
from assistant.dialogue import serving, training
from assistant.ports import Port
from assistant.settings import CONFIG_FILE, Settings
from assistant.supervisor import Service

RASA_START_S = 240.0
"""Loading TensorFlow and the model takes half a minute on a free machine, minutes on a busy one."""

SPEECH_START_S = 120.0
"""It loads a recogniser and a synthesiser first."""

CALL_SERVER_START_S = 120.0
"""It waits for the speech server."""

THINKING = 5
"""Niceness of what answers the call servers, whose audio has to leave in time: a thread that is
made to wait while it holds Python's lock holds up the audio's clock."""

COMPUTING = 10
"""Niceness of what fills the processors for tenths of a second: an answer goes before it."""

GOODBYE_S = 15.0
"""Callers in the middle of a call hear a goodbye before the call server ends."""


def stages(
    settings: Settings, model: Path, config: Sequence[str], *, call_server: bool = True
) -> list[list[Service]]:
    """The services in the order of their start; for Supervisor.

    `model` is the trained dialogue model, `config` what `config_arguments` gives. Without
    `call_server` no phone is answered: what a console needs.
    """
    behind = [_actions(settings), _rasa(settings, model)]
    if not settings.backend.url:  # a bureau's own backend is not ours to start
        behind.insert(0, _backend(settings, config))
    if not call_server:
        return [behind]
    return [[*behind, speech_server(settings, config)], *_answering(settings, config)]


def config_arguments(file: Path = CONFIG_FILE, overrides: Sequence[str] = ()) -> list[str]:
    """The arguments that give a child `hotline` the same configuration as ours."""
    chosen = ["--config", str(file.resolve())]
    for override in overrides:
        chosen += ["--set", override]
    return chosen


def ports(settings: Settings) -> list[Port]:
    """Every port that a whole hotline listens on, RTP aside."""
    ours = [_rasa_port(settings), _actions_port(settings), _speech_port(settings)]
    ours += _sip_ports(settings)
    ours += _metrics_ports(settings)
    return ours if settings.backend.url else [_backend_port(settings), *ours]


def _backend(settings: Settings, config: Sequence[str]) -> Service:
    return Service(
        name="backend",
        argv=_hotline(config, "backend"),
        env=os.environ,
        health=f"{settings.backend_url}/health",
        ports=[_backend_port(settings)],
        niceness=THINKING,
    )


def _actions(settings: Settings) -> Service:
    command = serving.actions_command(settings, training.spoken_file())
    return Service(
        name="actions",
        argv=command.argv,
        env=command.env,
        cwd=command.cwd,
        health=serving.actions_health(settings),
        ports=[_actions_port(settings)],
        niceness=THINKING,
    )


def _rasa(settings: Settings, model: Path) -> Service:
    command = serving.rasa_command(settings, model)
    return Service(
        name="rasa",
        argv=command.argv,
        env=command.env,
        cwd=command.cwd,
        health=serving.rasa_health(settings),
        ports=[_rasa_port(settings)],
        start_s=RASA_START_S,
        niceness=THINKING,
    )


def speech_server(settings: Settings, config: Sequence[str]) -> Service:
    """What hears and speaks for the call servers."""
    return Service(
        name="speech",
        argv=_hotline(config, "speech"),
        env=os.environ,
        health=f"{settings.speech.server_url}/engines",
        ports=[_speech_port(settings)],
        start_s=SPEECH_START_S,
        niceness=COMPUTING,
    )


def _answering(settings: Settings, config: Sequence[str]) -> list[list[Service]]:
    """What answers phones; "answer" announces the address that they dial."""
    servers = call_servers.names(settings.sip)
    if not servers:
        ports = [*_sip_ports(settings), *_metrics_ports(settings)]
        return [[_call_server("answer", config, "answer", ports=ports)]]
    front = Service(
        name="answer",
        argv=_hotline(config, "front"),
        env=os.environ,
        ports=_sip_ports(settings),
    )
    metrics = _metrics_ports(settings)
    behind = [
        _call_server(
            name, config, "answer", "--behind-front-as", name, ports=metrics[place : place + 1]
        )
        for place, name in enumerate(servers)
    ]
    return [[front], behind]


def _call_server(
    name: str, config: Sequence[str], *command: str, ports: Sequence[Port] = ()
) -> Service:
    return Service(
        name=name,
        argv=_hotline(config, *command),
        env=os.environ,
        ports=ports,
        start_s=CALL_SERVER_START_S,
        stop_s=GOODBYE_S,
    )


def _sip_ports(settings: Settings) -> list[Port]:
    sip = settings.sip
    ours = [Port(sip.bind, sip.port, "sip.port", udp=True)]
    if call_servers.names(sip):
        inner = (sip.workers_port, sip.workers_port + 1)
        ours += [Port("127.0.0.1", port, "sip.workers_port", udp=True) for port in inner]
    return ours


def _hotline(config: Sequence[str], *command: str) -> list[str]:
    return [sys.executable, "-m", "assistant.cli", *config, *command]


def _backend_port(settings: Settings) -> Port:
    return Port(settings.backend.bind, settings.backend.port, "backend.port")


def _actions_port(settings: Settings) -> Port:
    return Port("127.0.0.1", settings.dialogue.actions_port, "dialogue.actions_port")


def _metrics_ports(settings: Settings) -> list[Port]:
    """One for each call server."""
    names = call_servers.names(settings.sip) or [""]
    chosen = [call_servers.metrics_of(settings, name) for name in names]
    return [Port(each.bind, each.port, "metrics.port") for each in chosen if each.enabled]


def _speech_port(settings: Settings) -> Port:
    return Port("127.0.0.1", settings.speech.port, "speech.port")


def _rasa_port(settings: Settings) -> Port:
    return Port("127.0.0.1", settings.dialogue.rasa_port, "dialogue.rasa_port")
