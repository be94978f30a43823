"""One call from ring to hang-up. Whoever reads one file reads this one."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial

from assistant.channels.channel import Channel, ChannelClosed, ChannelError
from assistant.completeness import is_backchannel
from assistant.dialogue.dialogue import (
    CallStarted,
    Dialogue,
    HangUp,
    Keys,
    ListenFor,
    Reply,
    Response,
    Said,
    Silence,
    Speed,
    Told,
    Transfer,
    Volume,
)
from assistant.hearing import Heard, Hearing
from assistant.journal import Journal
from assistant.line_trouble import LineTrouble
from assistant.patience import Patience
from assistant.playback import Playback
from assistant.settings import Settings
from assistant.speech.recognizer import Expecting, Transcript
from assistant.speech.spoken import sentences

log = logging.getLogger(__name__)

LEAD_IN_S = 0.2
"""Silence before the greeting: the path opens late on many lines and clips the first word."""

FILLER_AFTER_S = 1.5
"""An answer that takes longer than this is announced; dead air makes callers hang up."""

FILLER_AGAIN_S = 5.0
"""… and is announced again after this long."""

SILENCE_S = 5.5
"""Nobody thinks in silence beyond this, whatever has gone before."""

STILL_THERE_AFTER_S = 0.2
"""Who has been silent is asked by then, even where the dialogue takes longer."""

THINKING_LIMIT_S = 40.0
"""A dialogue that has not answered by then never will, whatever its own timeout."""

LOOK_S = 0.1
"""How often it is looked whether silence has lasted too long."""

NOISE_MS = 400
"""Voice shorter than this in which no word was recognised is a cough or a knock, not a turn."""

FILLER = "请您稍等。"
STILL = "还在为您处理，请再稍等一下。"
STILL_THERE = "您还在吗？"
FAREWELL = "不好意思，系统马上要维护，这次通话先到这里。请您过几分钟再拨，再见。"
TOO_LONG = "不好意思，这次通话已经到最长时间了。还有问题请您再拨过来，再见。"
BROKEN = "不好意思，系统出了点问题，您办的事情没有丢。请您稍后再拨，再见。"
BRIDGES = "好的，我看一下。", "好，您稍等一下。"
"""Said before an answer that is not rendered ahead, in turn."""
FIXED_PROMPTS = (FILLER, STILL, STILL_THERE, FAREWELL, TOO_LONG, BROKEN, *BRIDGES)
"""What this module itself says; rendered at set-up, so that it can be said whatever dies."""


class Outcome(StrEnum):
    """How a call ended."""

    COMPLETED = "completed"
    CALLER_HUNG_UP = "caller_hung_up"
    TRANSFERRED = "transferred"
    CLOSED = "closed"
    """We ended it: shutdown, or the limit on the length of a call."""
    FAILED = "failed"


class Telling:
    """What is said in one go, and how far the caller has heard it."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.unsaid = replies
        """What is left of it: after an interruption from the sentence on in which it came."""
        self._text = _joined(replies)
        self._part = 0
        """Characters heard of the sentence in which it was interrupted."""

    def cut(self, heard: str) -> None:
        """The caller cut in; this was heard of the first reply unsaid."""
        reply, *others = self.unsaid
        rest = _unheard(reply.text, heard)
        self._part = max(0, len(rest) - len(reply.text) + len(heard))
        self.unsaid = [replace(reply, text=rest), *others]

    @property
    def told(self) -> Told:
        """For the dialogue."""
        unsaid = len(_joined(self.unsaid))
        part = self._part if unsaid else 0
        return Told(self._text, len(self._text) - unsaid + part)


def _joined(replies: Sequence[Reply]) -> str:
    return "".join(reply.text for reply in replies)


class Call:
    """The conversation with one caller."""

    def __init__(
        self,
        call_id: str,
        channel: Channel,
        hearing: Hearing,
        playback: Playback,
        dialogue: Dialogue,
        journal: Journal,
        settings: Settings,
        notice: str = "",
    ) -> None:
        """`notice`: what must be heard before the greeting."""
        self.call_id = call_id
        self._channel = channel
        self._hearing = hearing
        self._playback = playback
        self._dialogue = dialogue
        self._journal = journal
        self._settings = settings
        self._notice = [Reply(notice, protected=True)] if notice else []
        self._silences = 0
        self._saying = Telling(())
        """What is being said, or was said last."""
        self._answered: Telling | None = None
        """The dialogue's last response; None before the first."""
        self._expecting: Expecting = "free"
        self._trouble = LineTrouble(settings.call)
        self._spoke_at = asyncio.get_running_loop().time()
        self._over_voice = False
        """Whether what is said now goes on over the caller's voice: only a key stops it."""
        self._outcome: Outcome | None = None
        self._closing = asyncio.Event()
        hearing.on_likely = partial(dialogue.anticipate, call_id)

    async def run(self) -> Outcome:
        """Greet, listen, understand, answer … say goodbye. Never raises; says how it ended."""
        hearing = asyncio.create_task(self._hearing.run())
        conversation = asyncio.create_task(self._converse())
        closing = asyncio.create_task(self._closing.wait())
        tasks = {hearing, conversation, closing}
        try:
            await asyncio.wait(
                tasks,
                timeout=self._settings.call.longest_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if conversation.done():
                outcome = conversation.result()
            elif hearing.done():
                hearing.result()
                outcome = Outcome.CALLER_HUNG_UP
            else:
                conversation.cancel()
                outcome = await self._part(FAREWELL if closing.done() else TOO_LONG)
        except ChannelClosed:
            outcome = Outcome.CALLER_HUNG_UP
        except Exception:
            log.exception("call %s broke; the caller is told to call again", self.call_id)
            conversation.cancel()
            await self._part(BROKEN)
            outcome = Outcome.FAILED
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._channel.hangup()
        self._journal.ended(outcome)
        return outcome

    def close(self) -> None:
        """We are shutting down: say goodbye and hang up."""
        self._closing.set()

    async def _converse(self) -> Outcome:
        await asyncio.sleep(LEAD_IN_S)
        await self._answer(CallStarted())
        while self._outcome is None:
            said = await self._listen()
            if isinstance(said, Reply):
                self._journal.understood(Response([said], intent="line_trouble"))
                await self._say(Telling([said]))
            else:
                await self._answer(said)
        return self._outcome

    async def _listen(self) -> Said | Reply:
        """The caller's next turn; a Reply, where something is to be said of the line instead."""
        self._journal.listening()
        now = asyncio.get_running_loop().time
        patience = Patience(self._settings.turns.no_input_s, now())
        while True:
            try:
                heard = await asyncio.wait_for(self._hearing.turns.get(), LOOK_S)
            except TimeoutError:
                due = patience.tick(
                    now(),
                    busy=self._hearing.on_hold_or_active,
                    working=self._hearing.recognising,
                    silence_s=self._silence_s,
                )
                if due == "filler":
                    await self._speak(FILLER)
                elif due == "no_input":
                    return self._silence()
                continue
            if self._was_no_turn(heard.said, heard.voice_ms):
                if self._saying.unsaid:
                    await self._say(self._saying)
                    patience = Patience(self._settings.turns.no_input_s, now())
                continue
            self._silences = 0
            self._journal.heard(heard)
            return self._trouble_with(heard) or heard.said

    def _silence(self) -> Said | Reply:
        self._silences += 1
        self._over_voice = False
        self._journal.silent(self._silences)
        trouble = self._trouble.silence(
            self._silences,
            soundless_s=self._hearing.soundless_s,
            ever_heard=self._hearing.ever_heard,
        )
        return trouble or Silence(self._silences)

    def _trouble_with(self, heard: Heard) -> Reply | None:
        if isinstance(heard.said, Keys):
            self._trouble.keyed()
            trouble = None
        else:
            trouble = self._trouble.turn(words=bool(heard.said.text), cut=heard.cut)
        self._over_voice = heard.cut
        self._hearing.suspect_noise(self._trouble.suspected)
        return trouble

    def _was_no_turn(self, said: Transcript | Keys, voice_ms: float) -> bool:
        """A cough, or an 嗯 of somebody who listens: what it cut off is taken up again."""
        if not isinstance(said, Transcript):
            return False
        if not said.text:
            return voice_ms < NOISE_MS
        listens = is_backchannel(said.text) and self._expecting not in ("yes_no", "choice")
        return bool(self._saying.unsaid) and listens

    async def _answer(self, said: Said) -> None:
        told = self._answered.told if self._answered else None
        thinking = asyncio.create_task(
            self._dialogue.respond(self.call_id, said, self._channel.caller, told)
        )
        try:
            thought_aloud = await self._think_aloud(thinking, said)
            response: Response = await thinking
        finally:
            thinking.cancel()
        self._journal.understood(response)
        before = self._notice if isinstance(said, CallStarted) else []
        self._answered = Telling([*before, *response.replies])
        asked = isinstance(said, Transcript | Keys)
        await self._say(self._answered, bridge=asked and not thought_aloud)

    @property
    def _silence_s(self) -> float:
        """For how long neither side has been heard."""
        ours_s = asyncio.get_running_loop().time() - self._spoke_at
        return min(ours_s, self._hearing.silence_s)

    async def _think_aloud(self, thinking: asyncio.Task[Response], said: Said) -> bool:
        """Wait for the answer, and tell the caller so; returns whether it was told.

        Raises TimeoutError when none comes.
        """
        aloud = False
        words = STILL_THERE if isinstance(said, Silence) else FILLER
        patience_s = max(STILL_THERE_AFTER_S, min(FILLER_AFTER_S, SILENCE_S - self._silence_s))
        async with asyncio.timeout(THINKING_LIMIT_S):
            while not (await asyncio.wait({thinking}, timeout=patience_s))[0]:
                heard, aloud = await self._speak(words), True
                # Cut short it was hardly heard; who spoke over it waits in silence now.
                patience_s = FILLER_AGAIN_S if heard is None else FILLER_AFTER_S
                words = STILL
        return aloud

    async def _say(self, telling: Telling, *, bridge: bool = False) -> None:
        """Say it, or what an interruption has left of it; see Playback.say()."""
        self._saying = telling
        replies = telling.unsaid
        for reply in replies:  # known at once: the caller may answer before we have finished
            if isinstance(reply.control, ListenFor):
                self._expecting = reply.control.expecting
                self._hearing.expect(reply.control.expecting)
                self._journal.expect(reply.control.expecting)
        spoken_over = False
        for position, reply in enumerate(replies):
            telling.unsaid = replies[position:]
            if isinstance(reply.control, Speed):
                self._playback.pace = reply.control.factor
            if isinstance(reply.control, Volume):
                self._playback.volume_db = reply.control.db
            last_words = isinstance(reply.control, HangUp | Transfer)
            if spoken_over and not (last_words or reply.protected):
                self._journal.interrupted(reply.text, heard="")
                telling.cut("")
                return
            heard = await self._speak(
                reply.text,
                interruptible=not last_words,
                protected=reply.protected,
                bridge=bridge and position == 0 and not last_words,
            )
            if heard is not None:
                telling.cut(heard)
                return
            # Who has spoken over it waits for an answer, not for the rest.
            spoken_over = reply.protected and self._hearing.interrupted.is_set()
            if isinstance(reply.control, HangUp):
                self._outcome = Outcome.COMPLETED
                return
            if isinstance(reply.control, Transfer) and await self._transfer(reply.control.target):
                return
        telling.unsaid = ()

    async def _speak(
        self,
        text: str,
        *,
        interruptible: bool = True,
        protected: bool = False,
        bridge: bool = False,
    ) -> str | None:
        """Say `text`; returns what was heard of it when the caller interrupted it."""
        keys_only = protected or self._over_voice
        if interruptible and self._hearing.speaking and not keys_only:
            self._journal.interrupted(text, heard="")
            return ""
        self._hearing.interrupted.clear()
        self._hearing.keyed.clear()
        self._hearing.playing(True)
        saying = asyncio.create_task(
            self._playback.say(text, partial(self._journal.speaking, text), bridge=bridge)
        )
        stops = self._hearing.keyed if keys_only else self._hearing.interrupted
        interruption = asyncio.create_task(stops.wait())
        try:
            awaited = {saying, interruption} if interruptible else {saying}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if saying.done():
                saying.result()
                self._journal.spoken()
                return None
            saying.cancel()
            heard = self._playback.stop()
            self._journal.interrupted(text, heard)
            return heard
        finally:
            self._spoke_at = asyncio.get_running_loop().time()
            self._hearing.playing(False)
            saying.cancel()
            interruption.cancel()

    async def _transfer(self, target: str) -> bool:
        try:
            await self._channel.transfer(target)
        except (NotImplementedError, ChannelError) as error:
            log.warning("call %s: transfer failed: %s", self.call_id, error)
            number = self._settings.call.human_number
            await self._speak(f"人工暂时转不过去。您也可以直接拨打{number}找人工。")
            return False
        self._outcome = Outcome.TRANSFERRED
        return True

    async def _part(self, words: str) -> Outcome:
        """The last words, whatever state the call is in."""
        self._playback.stop()
        with contextlib.suppress(ChannelClosed, TimeoutError):
            await asyncio.wait_for(self._playback.say(words), timeout=12)
        return Outcome.CLOSED


def _unheard(text: str, heard: str) -> str:
    """The sentences of `text` from the one on at which the caller stopped hearing."""
    rest, length = sentences(text), len(heard)
    while rest and len(rest[0]) <= length:
        length -= len(rest.pop(0))
    return "".join(rest)
