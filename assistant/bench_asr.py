"""How much of what callers say the recogniser gets wrong, by engine, codec, noise and voice."""

import itertools
import time
import uuid
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from assistant.asr_corpus import Utterance
from assistant.bench import Distribution
from assistant.bench_nlu import meaning_of
from assistant.channels.channel import Pcm
from assistant.completeness import NUMBER_LENGTH
from assistant.dialogue.hypotheses import candidates
from assistant.dialogue.rasa import RasaDialogue
from assistant.dialogue.surety import EXACT
from assistant.model_sources import Progress
from assistant.settings import Settings
from assistant.speech.error_rate import character_error_rate, characters, syllable_error_rate
from assistant.speech.recognizer import Expecting, Recognizer, Transcript
from assistant.telephone_line import CODECS, NOISES, RATES, Codec, carried

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Condition:
    """Who listens, and through what."""

    engine: str
    codec: Codec
    noise: str
    """A key of NOISES."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One utterance under one condition."""

    condition: Condition
    utterance: Utterance
    transcript: Transcript
    audio_s: float
    decode_s: float
    """Computing, from the first sample to the words; resampling and voice detection included."""
    understood: bool | None = None
    """None where nobody can tell: no meaning is known, or the dialogue was not asked."""
    after_yes: bool | None = None
    """The same where a card that was asked about (您是想问…，对吗) counts, after a yes."""

    @property
    def before(self) -> tuple[str, str]:
        """What was said and what the engine wrote before it was repaired."""
        return self.utterance.text, self.transcript.heard or self.transcript.text

    @property
    def after(self) -> tuple[str, str]:
        """What was said and what the dialogue gets."""
        return self.utterance.text, self.transcript.text


def hear(
    engines: Sequence[Recognizer],
    utterances: Sequence[Utterance],
    codecs: Sequence[Codec] = CODECS,
    noises: Sequence[str] = tuple(NOISES),
    progress: Progress = print,
) -> list[Heard]:
    """Every utterance over every line, recognised by every engine.

    The noise is pink behind one utterance and the babble of the others behind the next. Raises
    ConfigError for audio that cannot be read.
    """
    found = []
    for codec in codecs:
        rate = RATES[codec]
        sounds = [each.samples(rate) for each in utterances]
        for noise in noises:
            for number, (utterance, speech) in enumerate(zip(utterances, sounds, strict=True)):
                others = sounds[:number] + sounds[number + 1 :] if number % 2 else []
                pcm = carried(speech, rate, codec, NOISES[noise], others, number)
                for engine in engines:
                    condition = Condition(engine.name, codec, noise)
                    transcript, seconds = _recognised(engine, pcm, rate, utterance.expecting)
                    found.append(Heard(condition, utterance, transcript, len(pcm) / rate, seconds))
            progress(f"{codec}, {noise}: {len(utterances)} utterances heard")
    return found


def _recognised(
    engine: Recognizer, pcm: Pcm, rate: int, expecting: Expecting
) -> tuple[Transcript, float]:
    began = time.perf_counter()
    stream = engine.open(rate, expecting)
    for start in range(0, len(pcm), rate):
        stream.accept(pcm[start : start + rate])
    return stream.finish(), time.perf_counter() - began


async def understand(settings: Settings, heard: Sequence[Heard]) -> list[Heard]:
    """The same with `understood` set: the served dialogue is asked what the transcripts mean.

    A number is understood when its digits are right. Raises DialogueUnavailable.
    """
    found = []
    async with RasaDialogue(settings) as dialogue:
        for each in heard:
            right = after_yes = None
            if each.utterance.expecting in EXACT:
                right = after_yes = digits_right(each)
            elif each.utterance.meaning:
                taken = await _taken(dialogue, each.transcript)
                right = each.utterance.is_meant(taken[0])
                after_yes = right or each.utterance.is_meant(taken[-1])
            found.append(replace(each, understood=right, after_yes=after_yes))
    return found


async def _taken(dialogue: RasaDialogue, transcript: Transcript) -> list[str]:
    """What the dialogue takes the words for; where it asks about that, after a yes too."""
    call_id = f"bench-{uuid.uuid4().hex}"
    response = await dialogue.respond(call_id, transcript)
    taken = [meaning_of(response)]
    if response.decision == "confirmed":
        taken.append(meaning_of(await dialogue.respond(call_id, Transcript("对", 1.0))))
    await dialogue.forget(call_id)
    return taken


def digits_right(heard: Heard) -> bool:
    """Whether the digits are those that were said, in the hypothesis the dialogue would take.

    That is the first one of the awaited length, else the first one.
    """
    read = [_digits(each.text) for each in candidates(heard.transcript)] or [""]
    awaited = NUMBER_LENGTH.get(heard.utterance.expecting)
    taken = next((digits for digits in read if len(digits) == awaited), read[0])
    return taken == _digits(heard.utterance.text)


def _digits(text: str) -> str:
    return "".join(character for character in characters(text) if character.isdecimal())


def report(heard: Sequence[Heard]) -> dict[str, Any]:
    """The figures, for --json and the table."""
    return {
        "conditions": [
            {"engine": condition.engine, "codec": condition.codec, "noise": condition.noise}
            | _figures(group)
            for condition, group in _grouped(heard, lambda each: each.condition)
        ],
        "voices": [
            {"engine": engine, "voice": voice, "noise": noise} | _figures(group)
            for (engine, voice, noise), group in _grouped(heard, _voice)
        ],
    }


def _voice(heard: Heard) -> tuple[str, str, str]:
    return heard.condition.engine, heard.utterance.voice or "unknown", heard.condition.noise


def _grouped(heard: Iterable[Heard], key: Callable[[Heard], Key]) -> list[tuple[Key, list[Heard]]]:
    groups: dict[Key, list[Heard]] = {}
    for each in heard:
        groups.setdefault(key(each), []).append(each)
    return list(groups.items())


def _figures(heard: Sequence[Heard]) -> dict[str, Any]:
    asked = [each for each in heard if each.understood is not None]
    decoding = Distribution(tuple(each.decode_s * 1000 for each in heard))
    return {
        "n": len(heard),
        "cer_before": round(character_error_rate([each.before for each in heard]), 4),
        "cer": round(character_error_rate([each.after for each in heard]), 4),
        "ser": round(syllable_error_rate([each.after for each in heard]), 4),
        "understood": _share_of([each.understood for each in asked]),
        "after_yes": _share_of([each.after_yes for each in asked]),
        "asked": len(asked),
        "rtf": round(sum(each.decode_s for each in heard) / sum(each.audio_s for each in heard), 3),
        "decode": decoding.as_json(),
    }


def _share_of(told: Sequence[bool | None]) -> float | None:
    return round(sum(map(bool, told)) / len(told), 4) if told else None


def table(found: dict[str, Any]) -> str:
    """The figures for a person."""
    lines = [
        f"{'engine':8} {'codec':6} {'noise':6} {'n':>5} {'CER before':>11} {'after':>7}"
        f" {'syllables':>10} {'understood':>11} {'after yes':>10}"
        f" {'p50 ms':>7} {'p95 ms':>7} {'RTF':>6}"
    ]
    for row in found["conditions"]:
        lines.append(
            f"{row['engine']:8} {row['codec']:6} {row['noise']:6} {row['n']:5}"
            f" {row['cer_before']:11.1%} {row['cer']:7.1%} {row['ser']:10.1%}"
            f" {_share(row['understood']):>11} {_share(row['after_yes']):>10}"
            f" {row['decode']['p50_ms']:7} {row['decode']['p95_ms']:7} {row['rtf']:6.3f}"
        )
    noises = list(dict.fromkeys(row["noise"] for row in found["voices"]))
    lines += ["", f"{'CER by voice':22}" + "".join(f"{noise:>8}" for noise in noises)]
    for (engine, voice), rows in itertools.groupby(
        sorted(found["voices"], key=lambda row: (row["engine"], row["voice"])),
        key=lambda row: (row["engine"], row["voice"]),
    ):
        cer = {row["noise"]: row["cer"] for row in rows}
        values = "".join(f"{cer[noise]:8.1%}" for noise in noises)
        lines.append(f"{engine:8} {voice:13}{values}")
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def draw(found: dict[str, Any], file: Path) -> None:
    """Error rates by condition and by voice, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (top, bottom) = pyplot.subplots(2, 1, figsize=(14, 9), layout="constrained")
    rows = found["conditions"]
    places = np.arange(len(rows))
    before = top.bar(places - 0.2, [row["cer_before"] * 100 for row in rows], 0.4)
    after = top.bar(places + 0.2, [row["cer"] * 100 for row in rows], 0.4)
    for bars in (before, after):
        top.bar_label(bars, fmt="%.1f", fontsize=7)
    before.set_label("before the repair")
    after.set_label("after it")
    names = [f"{row['engine']}\n{row['codec']}\n{row['noise']}" for row in rows]
    top.set_xticks(places, names, fontsize=8)
    top.set_ylabel("character errors, %")
    top.set_title("by engine, codec and noise")
    top.legend(loc="upper left", bbox_to_anchor=(1, 1))
    voices = sorted({(row["engine"], row["voice"]) for row in found["voices"]})
    noises = list(dict.fromkeys(row["noise"] for row in found["voices"]))
    width = 0.8 / len(noises)
    for number, noise in enumerate(noises):
        cer = {
            (row["engine"], row["voice"]): row["cer"] * 100
            for row in found["voices"]
            if row["noise"] == noise
        }
        beside = np.arange(len(voices)) + (number - (len(noises) - 1) / 2) * width
        bottom.bar(beside, [cer.get(each, 0.0) for each in voices], width, label=noise)
    bottom.set_xticks(range(len(voices)), [f"{v}\n{e}" for e, v in voices], fontsize=8)
    bottom.set_ylabel("character errors after the repair, %")
    bottom.set_title("by voice, all codecs together")
    bottom.legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
