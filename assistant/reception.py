"""Where calls arrive: the engines that all calls share, and one Call for each channel."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import numpy as np

from assistant.call import BRIDGES, STILL, Call, Outcome
from assistant.channels.channel import Channel, Pcm
from assistant.dialogue.dialogue import CallStarted, Dialogue
from assistant.dialogue.rasa import RasaDialogue
from assistant.dialogue.resilient import ResilientDialogue
from assistant.dialogue.rewriting import with_language_model
from assistant.hearing import Hearing
from assistant.journal import Event, Journal
from assistant.metrics import MeasuredSynthesizer, Metrics
from assistant.observers import CallObserver, Observers
from assistant.playback import NO_BRIDGES, Bridges, Playback
from assistant.recording import Recording
from assistant.records import CallRecords
from assistant.resident import keep_loaded
from assistant.settings import Settings, project_path
from assistant.setup import card_sentences
from assistant.speech.engines import Engines
from assistant.speech.prompts import PromptCache
from assistant.speech.recognizer import LIMIT_S, Recognizer, Transcript
from assistant.speech.synthesizer import SynthesisError, Synthesizer
from assistant.speech.urgency import NEVER, UrgencyPool, needed_by
from assistant.tracing import open_tracing

log = logging.getLogger(__name__)


def new_call_id() -> str:
    """A name for a call: sortable by time, and not to be guessed."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


class Reception:
    """Takes calls, several at a time."""

    def __init__(
        self,
        settings: Settings,
        recognizer: Recognizer,
        synthesizers: Sequence[Synthesizer],
        dialogue: Dialogue,
        records: CallObserver,
        emit: Callable[[Event], None],
    ) -> None:
        """`synthesizers` in order of preference: the next one speaks where one fails."""
        self._settings = settings
        self._recognizer = recognizer
        self._synthesizers = synthesizers
        self._dialogue = dialogue
        self._records = records
        self._emit = emit
        # One decode at a time fills the cores; the second worker keeps a slow one from blocking.
        self._workers = UrgencyPool(2, "recognition", limit_s=LIMIT_S)
        self._calls: dict[Call, asyncio.Task[Outcome]] = {}
        self._calls_elsewhere = 0
        self._bridges = NO_BRIDGES
        self._idle = asyncio.Event()
        self._idle.set()

    async def take(self, channel: Channel) -> Outcome:
        """Serve one caller from greeting to goodbye; returns how the call ended."""
        call_id = new_call_id()
        recording = self._recording(call_id, channel)
        journal = Journal(
            call_id,
            channel.kind,
            channel.caller,
            self._emit,
            self._records,
            self._settings.privacy,
            recording,
        )
        call = Call(
            call_id,
            channel,
            Hearing(channel, self._recognizer, self._settings.turns, self._workers),
            Playback(channel, self._synthesizers, self._settings.speech.speed, self._bridges),
            self._dialogue,
            journal,
            self._settings,
            notice=self._settings.recording.notice if recording else "",
        )
        task = asyncio.create_task(call.run())
        self._calls[call] = task
        self._see_whether_idle()
        try:
            return await task
        finally:
            del self._calls[call]
            self._see_whether_idle()
            if recording:
                await asyncio.to_thread(recording.close)
            await self._dialogue.forget(call_id)

    def elsewhere(self, calls: int) -> None:
        """So many calls are in progress in all call servers of this machine together."""
        self._calls_elsewhere = calls
        self._see_whether_idle()

    def oldest_wait_s(self) -> float:
        """How long the oldest utterance has been waiting to be recognised."""
        return self._workers.oldest_wait_s()

    def _see_whether_idle(self) -> None:
        if self._calls or self._calls_elsewhere:
            self._idle.clear()
        else:
            self._idle.set()

    async def warm_up(self) -> None:
        """Think once, and have ready what bridges a synthesis: no caller should wait for that."""
        self._bridges = Bridges(
            [await self._sound(words) for words in BRIDGES],
            [await self._sound(STILL)],
            self._synthesizers[0].rate,
        )
        call_id = new_call_id()
        for said in (CallStarted(), Transcript("养老金")):
            await self._dialogue.respond(call_id, said)
        await self._dialogue.forget(call_id)

    async def _sound(self, words: str) -> Pcm:
        """Raises SynthesisError."""
        speed = self._settings.speech.speed
        sound = [pcm async for pcm in self._synthesizers[0].speak(words, speed)]
        return np.concatenate([np.zeros(0, np.int16), *sound])

    async def render_when_idle(
        self, cache: PromptCache, sentences: Sequence[str], speed: float
    ) -> None:
        """Render `sentences` one by one, only while nobody calls. Never raises."""
        needed_by.set(NEVER)
        rendered = 0
        for sentence in sentences:
            await self._idle.wait()
            try:
                rendered += await cache.render([sentence], speed=speed)
            except SynthesisError as error:
                log.warning("a policy answer cannot be rendered ahead: %s", error)
        log.info("all policy answers are rendered, %d of them now", rendered)

    async def close(self) -> None:
        """Say goodbye to every caller and wait until they have heard it."""
        for call in self._calls:
            call.close()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _recording(self, call_id: str, channel: Channel) -> Recording | None:
        if not self._settings.recording.enabled:
            return None
        folder = project_path(self._settings.recording.folder)
        recording = Recording(folder / f"{call_id}.wav", channel.rate)
        channel.tap = recording.add
        return recording


@asynccontextmanager
async def open_reception(
    settings: Settings,
    engines: Engines,
    emit: Callable[[Event], None],
    metrics: Metrics | None = None,
    *,
    renders: bool = True,
) -> AsyncIterator[Reception]:
    """A reception that hears and speaks with these engines. Raises ConfigError.

    What happens in its calls is counted in `metrics`. `renders`: whether this one obeys
    speech.render_when_idle.
    """
    metrics = metrics or Metrics()
    async with (
        open_tracing(settings.tracing) as tracing,  # closed last: spans matter least
        RasaDialogue(settings, engine=engines.recognizer.name) as rasa,
        CallRecords(settings) as records,
    ):
        reception = Reception(
            settings,
            engines.recognizer,
            [MeasuredSynthesizer(each, metrics) for each in engines.synthesizers],
            ResilientDialogue(with_language_model(rasa, settings.llm), settings),
            Observers(records, metrics, *tracing),
            emit,
        )
        await reception.warm_up()
        keep_loaded()
        rendering: asyncio.Task[None] | None = None
        if renders and engines.cache and settings.speech.render_when_idle:
            rendering = asyncio.create_task(
                reception.render_when_idle(engines.cache, card_sentences(), settings.speech.speed)
            )
        yield reception
        if rendering:
            rendering.cancel()
        await reception.close()
