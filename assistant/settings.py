"""What the operator configures: configs/hotline.toml, checked before anything starts."""

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

ROOT = Path(__file__).resolve().parent.parent
"""The project folder; relative paths of the configuration start here."""

CONFIG_FILE = ROOT / "configs" / "hotline.toml"


CALLS_PER_PROCESS = 4
"""What PJSIP is compiled for in the package that is used (PJSUA_MAX_CALLS)."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the file, the key and the remedy."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sip(_Section):
    """How phones reach us."""

    bind: str = "127.0.0.1"
    port: int = Field(5060, ge=0, le=65535)
    """UDP and TCP port of SIP; 0 lets the system choose."""
    advertise: str = ""
    """The address told to peers in Contact and SDP when it differs from `bind` (behind NAT)."""
    rtp_port: int = Field(40000, ge=1024, le=65000)
    """First of the RTP ports; two per call are used, four are set aside."""
    user: str = "12333"
    max_calls: int = Field(4, ge=1, le=200)
    """One more caller than this gets 486 Busy Here. A process carries four calls: for more of them
    several are started, behind a front door on `port`."""
    workers_port: int = Field(5080, ge=1024, le=65534)
    """Loopback only: where front door and call servers meet, UDP; its neighbour above, TCP."""
    codecs: list[str] = ["PCMA/8000", "PCMU/8000", "G722/16000"]
    """In order of preference."""
    registrar: str = ""
    """sip:pbx.example to register there; empty: answer direct calls only. Needs max_calls of at
    most 4: a PBX reaches a front door as a trunk, without registration."""
    registrar_user: str = ""
    registrar_password_env: str = "HOTLINE_SIP_PASSWORD"
    """Name of the environment variable that holds the PBX password."""

    @field_validator("registrar")
    @classmethod
    def _one_process_registers(cls, registrar: str, info: ValidationInfo) -> str:
        if registrar and info.data.get("max_calls", 0) > CALLS_PER_PROCESS:
            raise ValueError(
                f"registering needs sip.max_calls of at most {CALLS_PER_PROCESS}; for more calls "
                "leave it empty and let the PBX send its calls to sip.port as a trunk"
            )
        return registrar


class Load(_Section):
    """When the machine carries no more: a new caller then gets 486, as if all lines were busy."""

    answer_ms: float = Field(2500, ge=500, le=20_000)
    """Half of the latest answers came later than this after the caller's last word."""
    late_ms: float = Field(60, ge=20, le=1000)
    """The 20 ms clock of the audio was later than this, again and again: voices break up."""


class Speech(_Section):
    """Which engines hear and speak."""

    recognizer: Literal["auto", "vosk", "whisper"] = "auto"
    adapted: bool = True
    """Whether Whisper hears with what it has learned for telephone lines and this hotline."""
    synthesizer: Literal["auto", "kokoro", "pyttsx3"] = "auto"
    voice: str = "zf_xiaoxiao"
    speed: float = Field(1.0, ge=0.5, le=2.0)
    prompt_cache: bool = True
    """Whether fixed sentences are played from those rendered ahead."""
    cards_at_setup: list[str] = [
        *("pension_conditions", "retirement_age", "benefit_formula", "benefit_raise"),
        *("unemployment_claim", "unemployment_duration", "unemployment_new_job", "certify_how"),
        *("injury_commute", "residents_over60", "rights_not_enrolled", "card_activate"),
        "medical_reimburse",
    ]
    """Ids of the policy cards whose answers are rendered at set-up; see render_when_idle."""
    render_when_idle: bool = True
    """Render the other cards' answers while nobody calls; it takes hours, once."""
    threads: int = Field(0, ge=0, le=64)
    """CPU threads of one inference; 0: two, or one where so many calls share the processors that
    they have several call servers. Settings puts the number in its place."""
    port: int = Field(5070, ge=0, le=65535)
    """Loopback only: where the speech server hears and speaks for the call servers."""

    @property
    def server_url(self) -> str:
        """Where the speech server answers."""
        return f"http://127.0.0.1:{self.port}"


class Turns(_Section):
    """When a caller has finished, and when they interrupt. Milliseconds unless said otherwise."""

    endpoint_silence_ms: int = Field(800, ge=200, le=3000)
    complete_silence_ms: int = Field(360, ge=200, le=3000)
    """Trailing silence after words that leave no more to say: a whole number, a yes, a question
    in a few words."""
    asked_silence_ms: int = Field(640, ge=200, le=3000)
    """Trailing silence after a longer question, or one with pauses: another may follow."""
    open_silence_ms: int = Field(1400, ge=200, le=5000)
    """Trailing silence after words that nobody stops at: a filler, a conjunction."""
    digits_silence_ms: int = Field(1500, ge=200, le=5000)
    """Trailing silence while a number is awaited: people pause between its groups."""
    longest_turn_s: float = Field(30, ge=5, le=120)
    no_input_s: float = Field(6, ge=2, le=60)
    key_timeout_s: float = Field(4, ge=1, le=30)
    """A number being keyed is complete after this long without another key, or at #."""
    barge_in_threshold: float = Field(0.85, ge=0.1, le=0.999)
    """The playback stops for what is words of the caller with this probability: more of it stops
    for less that is none, and later."""


class CallLimits(_Section):
    """Guards around one call."""

    longest_s: float = Field(900, ge=30, le=7200)
    human_number: str = "12333"
    """The number of the human desk that is told to callers."""
    human_target: str = ""
    """SIP URI of the human desk for transfers; empty: the number is told instead."""


class DialogueServer(_Section):
    """The served dialogue model."""

    rasa_port: int = 5005
    actions_port: int = 5055
    timeout_s: float = Field(5.0, ge=0.5, le=30)
    patience: int = Field(3, ge=1, le=10)
    """Failed turns in a row after which the caller is sent to the human desk."""


class Confidence(_Section):
    """From which probability of having understood rightly on a turn is acted on, and how."""

    accept: float = Field(0.85, ge=0, le=1)
    """An answer is given as it is."""
    imply: float = Field(0.6, ge=0, le=1)
    """An answer begins with the matter: 您问的是…。"""
    confirm: float = Field(0.25, ge=0, le=1)
    """It is asked first: 您是想问…，对吗？ Below this nothing is done: it is asked otherwise."""
    leave: float = Field(0.6, ge=0, le=1)
    """The call ends, or goes to a person, unasked."""
    effect: float = Field(0.75, ge=0, le=1)
    """A yes is enough to change something at the bureau."""
    digits: float = Field(0.5, ge=0, le=1)
    """A PIN is tried as heard; a wrong one counts against the caller."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.confirm <= self.imply <= self.accept:
            raise ValueError("write confirm, imply and accept so that none is above the next")
        return self


class LanguageModelServer(_Section):
    """An optional local language model behind an OpenAI-compatible API; off while url is empty."""

    url: str = ""
    """e.g. http://127.0.0.1:8080/v1"""
    model: str = "local"
    rewrite: bool = True
    """Smooth the words of policy answers; numbers and citations are checked afterwards."""
    route: bool = True
    """Let it name the card of a question that was not understood."""
    timeout_s: float = Field(1.5, ge=0.1, le=10)


class Backend(_Section):
    """The service API and the database."""

    bind: str = "127.0.0.1"
    port: int = 8333
    url: str = ""
    """A bureau's own backend with the same API; empty: ours is started on bind:port."""
    database: str = "sqlite+aiosqlite:///var/hotline.db"
    """SQLAlchemy URL: sqlite+aiosqlite:///… or postgresql+asyncpg://…"""


class Recording(_Section):
    """Stereo recordings: caller left, hotline right."""

    enabled: bool = True
    folder: str = "var/recordings"
    notice: str = "为了保证服务质量，本次通话会录音。"
    """Said before the greeting of a call that is recorded; the caller cannot talk over it."""


class Privacy(_Section):
    """What of a number may be kept."""

    caller_number: Literal["masked", "plain", "none"] = "masked"
    """masked keeps the last four digits."""


class Metrics(_Section):
    """What is counted and measured, for a Prometheus server to scrape."""

    enabled: bool = True
    bind: str = "127.0.0.1"
    port: int = Field(9464, ge=0, le=65535)
    """0 lets the system choose; `hotline serve` prints the address."""


class Tracing(_Section):
    """A span a call and a span a turn, for an OpenTelemetry collector; off while empty."""

    endpoint: str = ""
    """OTLP over HTTP, e.g. http://127.0.0.1:4318/v1/traces"""


class Settings(_Section):
    """The whole configuration; every key has a default."""

    sip: Sip = Sip()
    load: Load = Load()
    speech: Speech = Speech()
    turns: Turns = Turns()
    call: CallLimits = CallLimits()
    dialogue: DialogueServer = DialogueServer()
    confidence: Confidence = Confidence()
    llm: LanguageModelServer = LanguageModelServer()
    backend: Backend = Backend()
    recording: Recording = Recording()
    privacy: Privacy = Privacy()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()

    @model_validator(mode="after")
    def _choose_threads(self) -> Self:
        many = self.sip.max_calls > CALLS_PER_PROCESS
        threads = self.speech.threads or (1 if many else 2)
        speech = self.speech.model_copy(update={"threads": threads})
        object.__setattr__(self, "speech", speech)  # else it is frozen
        return self

    @property
    def backend_url(self) -> str:
        """Where the service API answers."""
        return self.backend.url or f"http://{self.backend.bind}:{self.backend.port}"

    @property
    def rasa_url(self) -> str:
        """Where the dialogue model answers; always loopback."""
        return f"http://127.0.0.1:{self.dialogue.rasa_port}"

    @property
    def actions_url(self) -> str:
        """Where the action server answers; always loopback."""
        return f"http://127.0.0.1:{self.dialogue.actions_port}/webhook"


def project_path(path: str | Path) -> Path:
    """A path of the configuration, seen from the project folder."""
    return ROOT / path


def load(file: Path = CONFIG_FILE, overrides: list[str] | None = None) -> Settings:
    """Read the configuration; `overrides` are `section.key=value` with TOML values.

    Raises ConfigError that names the file, the key and what to do.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; give --config FILE") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    for override in overrides or []:
        _apply(values, override)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(file, error)) from None


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and name):
        raise ConfigError(f"--set {override}: write it as section.key=value")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text
    table = values.setdefault(section, {})
    if isinstance(table, dict):  # else the check of the whole says what is wrong
        table[name] = value


def _explain(file: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{file}: {where} = {first['input']!r}: {first['msg']}"
    known = _known_keys()
    close = difflib.get_close_matches(where, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
    return f"{file}: unknown key {where}; {hint}"


def _known_keys() -> list[str]:
    keys = []
    for section, info in Settings.model_fields.items():
        keys.append(section)
        assert isinstance(info.default, BaseModel)
        keys += [f"{section}.{key}" for key in type(info.default).model_fields]
    return keys
