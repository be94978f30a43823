"""Guards that calls hear and speak through the speech server as if its engines were their own.

Real sockets on loopback; the engines are stand-ins, as what they say must be known and they must
fail and hang when told to. test_served_call.py has the real ones.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from assistant.channels.channel import Pcm
from assistant.hearing import Utterance
from assistant.ports import free_ports
from assistant.settings import Speech, load
from assistant.speech import client, prompts, server
from assistant.speech.client import SpeechServerError
from assistant.speech.engines import Engines
from assistant.speech.prompts import PromptCache
from assistant.speech.recognizer import Alternative, Expecting, Partial, Transcript
from assistant.speech.synthesizer import SynthesisError
from assistant.speech.urgency import NEVER, UrgencyPool, needed_by

WORDS = Transcript(
    "查养老金", 0.9, (Alternative("查养老金", 0.9), Alternative("茶养老金", 0.1)), "茶养老金"
)

SOUND = np.arange(2400, dtype=np.int16)

SOON_S = 5.0
"""Far more than anything here takes, and less than any timeout of the code's own."""


class Ears:
    """Hears always the same; hangs until `released` where told to."""

    name = "ears"

    def __init__(self, *, streaming: bool = False, fails: bool = False) -> None:
        self.streaming = streaming
        self.fails = fails
        self.opened: list[tuple[int, Expecting]] = []
        self.heard: list[int] = []
        """Samples of each piece of audio."""
        self.released = threading.Event()
        self.released.set()
        self.begun = threading.Event()
        self.abandoned = threading.Event()

    def open(self, rate: int, expecting: Expecting = "free") -> "Ears":
        self.opened.append((rate, expecting))
        return self

    def accept(self, pcm: Pcm) -> Partial | None:
        self.heard.append(len(pcm))
        return Partial(f"第{len(self.heard)}") if self.streaming else None

    def finish(self) -> Transcript:
        self.begun.set()
        self.released.wait()
        if self.fails:
            self.fails = False
            raise RuntimeError("out of memory")
        return WORDS

    def abandon(self) -> None:
        self.abandoned.set()
        self.released.set()


class Voice:
    """Speaks two chunks, the second once it is `released`."""

    name = "voice"
    voice = "test"
    rate = 24_000

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.spoken: list[tuple[str, float]] = []
        self.needed: list[float] = []
        """By when each chunk was needed."""
        self.released = asyncio.Event()
        self.begun = asyncio.Event()
        self.stopped = asyncio.Event()

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        self.spoken.append((text, speed))
        self.needed.append(needed_by.get())
        try:
            yield SOUND
            self.begun.set()
            self.needed.append(needed_by.get())
            await self.released.wait()
            if self.fails:
                raise SynthesisError("no memory")
            yield SOUND
        finally:
            self.stopped.set()


@pytest.fixture
def speech() -> Speech:
    return load(overrides=[*free_ports(), "speech.prompt_cache=false"]).speech


@asynccontextmanager
async def served(speech: Speech, ears: Ears, voice: Voice | None = None) -> AsyncIterator[Engines]:
    async with server.serve(speech, ears, voice), client.connect(speech, SOON_S) as engines:
        yield engines


async def _words(engines: Engines, pieces: Sequence[int] = (160, 320)) -> Transcript:
    pool = UrgencyPool(2, "calls")
    utterance = Utterance(engines.recognizer, 8000, "id_number", pool)
    for samples in pieces:
        utterance.add(np.ones(samples, np.int16))
    try:
        return await asyncio.wait_for(utterance.finish(), SOON_S)
    finally:
        pool.shutdown(wait=False)


async def _sound(engines: Engines, speed: float = 1.0) -> list[Pcm]:
    speaking = engines.synthesizers[0].speak("您好，请讲。", speed)
    return [pcm async for pcm in speaking]


async def test_an_utterance_comes_back_as_words_with_all_their_alternatives(speech: Speech) -> None:
    ears = Ears()
    async with served(speech, ears) as engines:
        assert engines.recognizer.name == "ears"
        assert await _words(engines) == WORDS
    assert ears.opened == [(8000, "id_number")]
    assert sum(ears.heard) == 480


async def test_a_streaming_recogniser_is_believed_while_the_caller_speaks(speech: Speech) -> None:
    ears = Ears(streaming=True)
    async with served(speech, ears) as engines:
        stream = engines.recognizer.open(8000)
        believed: set[str] = set()
        async with asyncio.timeout(SOON_S):
            while "第2" not in believed:
                if partial := stream.accept(np.ones(160, np.int16)):
                    believed.add(partial.text)
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(stream.finish) == WORDS


async def test_what_is_given_up_is_given_up_in_the_server_too(speech: Speech) -> None:
    ears = Ears()
    ears.released.clear()
    async with served(speech, ears) as engines:
        stream = engines.recognizer.open(8000)
        finishing = asyncio.create_task(asyncio.to_thread(stream.finish))
        assert await asyncio.to_thread(ears.begun.wait, SOON_S)
        stream.abandon()
        assert await asyncio.wait_for(finishing, SOON_S) == Transcript("")
        assert await asyncio.to_thread(ears.abandoned.wait, SOON_S)
        assert await _words(engines) == WORDS, "the next one is heard"


async def test_what_was_given_up_before_it_began_is_never_sent(speech: Speech) -> None:
    ears = Ears()
    async with served(speech, ears) as engines:
        stream = engines.recognizer.open(8000)
        stream.abandon()
        assert await asyncio.to_thread(stream.finish) == Transcript("")
        assert await _words(engines) == WORDS
    assert len(ears.opened) == 1


async def test_a_recogniser_that_raises_costs_one_turn(
    speech: Speech, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(speech, Ears(fails=True)) as engines:
        assert await _words(engines) == Transcript("")
        assert "out of memory" in caplog.text
        assert await _words(engines) == WORDS


async def test_a_recogniser_that_hangs_is_not_waited_for(
    speech: Speech, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "REPLY_S", 0.2)
    ears = Ears()
    ears.released.clear()
    async with served(speech, ears) as engines:
        stream = engines.recognizer.open(8000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(stream.finish), SOON_S)
        ears.released.set()
        assert await _words(engines) == WORDS


async def test_a_dead_server_fails_at_once_and_is_found_again(speech: Speech) -> None:
    ears, voice = Ears(), Voice()
    voice.released.set()
    async with server.serve(speech, ears, voice):
        connection = client.connect(speech, SOON_S)
        engines = await connection.__aenter__()
    try:
        with pytest.raises(SpeechServerError, match="does not answer"):
            await asyncio.to_thread(engines.recognizer.open(8000).finish)
        assert await _words(engines) == Transcript(""), "the caller is asked again"
        with pytest.raises(SynthesisError, match="does not answer"):
            await _sound(engines)
        async with server.serve(speech, ears, voice):
            assert await _words(engines) == WORDS
            assert len(await _sound(engines)) == 2
    finally:
        await connection.__aexit__(None, None, None)


async def test_who_waits_for_words_is_told_when_the_server_dies(speech: Speech) -> None:
    ears = Ears()
    ears.released.clear()
    async with asyncio.timeout(SOON_S):
        serving = server.serve(speech, ears, None)
        await serving.__aenter__()
        async with client.connect(speech) as engines:
            finishing = asyncio.create_task(asyncio.to_thread(engines.recognizer.open(8000).finish))
            assert await asyncio.to_thread(ears.begun.wait, SOON_S)
            await serving.__aexit__(None, None, None)
            with pytest.raises(SpeechServerError):
                await finishing


async def test_without_a_server_it_is_said_who_starts_one(speech: Speech) -> None:
    with pytest.raises(SpeechServerError, match=r"hotline serve.*speech\.port"):
        async with client.connect(speech, patience_s=0.0):
            pass


async def test_the_first_chunk_plays_before_the_second_is_there(speech: Speech) -> None:
    voice = Voice()
    async with served(speech, Ears(), voice) as engines:
        speaking = engines.synthesizers[0].speak("您好，请讲。", 0.8)
        async with asyncio.timeout(SOON_S):
            assert np.array_equal(await anext(speaking), SOUND)
            voice.released.set()
            assert np.array_equal(await anext(speaking), SOUND)
            with pytest.raises(StopAsyncIteration):
                await anext(speaking)
    assert voice.spoken == [("您好，请讲。", 0.8)]


async def test_a_caller_who_cuts_in_stops_the_synthesis(speech: Speech) -> None:
    voice = Voice()
    async with served(speech, Ears(), voice) as engines, asyncio.timeout(SOON_S):
        speaking = asyncio.create_task(_sound(engines))
        await voice.begun.wait()
        speaking.cancel()
        await voice.stopped.wait()


async def test_a_voice_that_fails_leaves_the_sentence_to_the_next_one(speech: Speech) -> None:
    voice = Voice(fails=True)
    voice.released.set()
    async with served(speech, Ears(), voice) as engines:
        with pytest.raises(SynthesisError, match="no memory"):
            await _sound(engines)
        assert [each.name for each in engines.synthesizers] == ["voice", "pyttsx3"]


async def test_without_a_voice_in_the_server_this_process_speaks(speech: Speech) -> None:
    async with served(speech, Ears()) as engines:
        assert [each.name for each in engines.synthesizers] == ["pyttsx3"]


async def test_urgency_is_the_same_on_both_sides(speech: Speech) -> None:
    voice = Voice()
    voice.released.set()
    async with served(speech, Ears(), voice) as engines:
        await _sound(engines)
        at_once, after_it = voice.needed
        assert after_it - at_once == pytest.approx(len(SOUND) / voice.rate, abs=0.05)
        needed_by.set(at_once + 100)
        await _sound(engines)
        assert voice.needed[2] == pytest.approx(at_once + 100, abs=0.05)
        needed_by.set(NEVER)
        await _sound(engines)
        assert voice.needed[-1] == NEVER


async def test_prompts_rendered_by_the_engine_itself_are_found(
    speech: Speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "folder", lambda: tmp_path)
    voice = Voice()
    voice.released.set()
    await PromptCache(voice).render(["您好，请讲。"])
    voice.spoken.clear()
    cached = speech.model_copy(update={"prompt_cache": True})
    async with served(cached, Ears(), voice) as engines:
        assert sum(map(len, await _sound(engines))) == 2 * len(SOUND)
    assert not voice.spoken
