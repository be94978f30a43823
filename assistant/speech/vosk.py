"""Vosk behind the recogniser's seam: streaming, with partial results and grammars.

A model whose graph is kept in two parts (HCLr.fst, Gr.fst) takes a list of phrases per question
and hears nothing else; one compiled into HCLG.fst ignores such a list with a mere warning of the
library. Which way is used is said once, when the model is loaded.
"""

import itertools
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import vosk

from assistant.channels.channel import Pcm
from assistant.speech.chinese import normalise
from assistant.speech.recognizer import Alternative, Expecting, Partial, Transcript
from assistant.speech.resample import Resampler

log = logging.getLogger(__name__)

ALTERNATIVES = 5
UNKNOWN = "[unk]"
"""The model's word for what the grammar does not hold; without it every cough becomes a word."""
USUAL_RATE = 16000
"""Hz, where the model's conf/mfcc.conf does not say."""

_DIGITS = "零 一 二 三 四 五 六 七 八 九 幺 两 洞 拐 勾"
_NUMBERS = _DIGITS + " 十 百 千 万 半"
_ANYTIME = "人工 转人工 再说一遍 没听清 慢一点 等一下 不知道 忘记了 再见"
_ANSWERS: dict[Expecting, str] = {
    "digits": _DIGITS,
    "id_number": _DIGITS + " 叉 艾克斯 身份证号是",
    "pin": _DIGITS + " 密码是",
    "case_number": _DIGITS + " 编号是",
    "yes_no": "是 是的 对 对的 没错 好 好的 可以 行 要 确定 同意 嗯"
    " 不 不是 不对 不要 不用 不行 错了",
    "date": _NUMBERS + " 年 月 日 号 今天 昨天 前天 今年 去年 前年 上个月",
    "amount": _NUMBERS + " 块 元 角 毛 分 点",
    "choice": "第一个 第二个 第三个 第四个 一 二 三 四",
}
GRAMMARS: Mapping[Expecting, Sequence[str]] = {
    kind: [*answers.split(), *_ANYTIME.split()] for kind, answers in _ANSWERS.items()
}
"""What may be answered to each kind of question, and what a caller may say at any time."""


class VoskError(RuntimeError):
    """The model cannot be loaded, or the engine refused the audio."""


class VoskRecognizer:
    """The loaded model, shared by all calls; each stream has its own decoder."""

    name = "vosk"
    streaming = True

    def __init__(
        self, folder: Path, grammars: Mapping[Expecting, Sequence[str]] = GRAMMARS
    ) -> None:
        """`folder` holds am/, conf/, graph/ as published; `grammars` is in the model's language.

        Raises VoskError when the folder is no Vosk model.
        """
        vosk.SetLogLevel(-1)
        try:
            self._model = vosk.Model(str(folder))
        except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
            raise VoskError(f"{folder}: not a Vosk model that can be loaded: {error}") from None
        self.rate = _rate(folder / "conf" / "mfcc.conf")
        graph = folder / "graph"
        self.takes_grammar = (graph / "HCLr.fst").exists() and (graph / "Gr.fst").exists()
        self._grammars: dict[Expecting, str] = {}
        if self.takes_grammar:
            self._grammars = {kind: self._grammar(phrases) for kind, phrases in grammars.items()}
        log.info(
            "Vosk model %s at %d Hz: %s",
            folder.name,
            self.rate,
            "grammar by question"
            if self.takes_grammar
            else "static graph, every question is heard with the whole vocabulary",
        )

    def open(self, rate: int, expecting: Expecting = "free") -> "VoskStream":
        """A stream for one utterance of audio at `rate` Hz."""
        grammar = self._grammars.get(expecting)
        extra = [grammar] if grammar else []
        decoder = vosk.KaldiRecognizer(self._model, float(self.rate), *extra)
        decoder.SetMaxAlternatives(ALTERNATIVES)
        return VoskStream(decoder, Resampler(rate, self.rate))

    def _grammar(self, phrases: Sequence[str]) -> str:
        """The phrases in the model's own words: 转人工 is 转 人工 where it knows only these."""
        known = [" ".join(words) for phrase in phrases if (words := self._words(phrase))]
        if self._knows(UNKNOWN):
            known.append(UNKNOWN)
        return json.dumps(known, ensure_ascii=False)

    def _words(self, phrase: str) -> list[str]:
        """Longest known words from the left; empty when a part is unknown to the model."""
        words = []
        for part in phrase.split():
            while part:
                length = next((n for n in range(len(part), 0, -1) if self._knows(part[:n])), 0)
                if not length:
                    log.debug("not in the model's vocabulary: %s", part)
                    return []
                words.append(part[:length])
                part = part[length:]
        return words

    def _knows(self, word: str) -> bool:
        known: int = self._model.vosk_model_find_word(word)
        return known >= 0


class VoskStream:
    """One utterance; words arrive while the caller still speaks."""

    def __init__(self, decoder: vosk.KaldiRecognizer, resampler: Resampler) -> None:
        self._decoder = decoder
        self._resampler = resampler
        self._segments: list[list[Alternative]] = []

    def accept(self, pcm: Pcm) -> Partial | None:
        """Decode the next audio. Raises VoskError when the engine fails."""
        self._decode(self._resampler.accept(pcm))
        partial = json.loads(self._decoder.PartialResult()).get(
            "partial", ""
        )  # absent before speech
        text = "".join(segment[0].text for segment in self._segments) + _clean(partial)
        return Partial(text) if text else None

    def finish(self) -> Transcript:
        """Decode what is left."""
        self._decode(self._resampler.finish())
        self._keep(self._decoder.FinalResult())
        alternatives = _combine(self._segments)
        if not alternatives:
            return Transcript("")
        return Transcript(alternatives[0].text, alternatives[0].confidence, alternatives)

    def abandon(self) -> None:
        """Nothing is left to be saved: the audio was decoded as it came."""

    def _decode(self, pcm: Pcm) -> None:
        # The library ends a segment at each pause; the turn goes on until finish().
        if len(pcm) and self._decoder.AcceptWaveform(pcm.tobytes()):
            self._keep(self._decoder.Result())

    def _keep(self, result: str) -> None:
        if segment := _normalised(json.loads(result).get("alternatives", [])):
            self._segments.append(segment)


def _normalised(raw: list[dict[str, float | str]]) -> list[Alternative]:
    """Kaldi's log scores as shares of one, best first, the same words once, silence left out."""
    best = max((float(entry["confidence"]) for entry in raw), default=0.0)
    weights: dict[str, float] = {}
    for entry in raw:
        text = _clean(str(entry["text"]))
        weights[text] = weights.get(text, 0.0) + math.exp(float(entry["confidence"]) - best)
    total = sum(weights.values())
    ranked = sorted(weights.items(), key=lambda item: -item[1])
    return [Alternative(text, weight / total) for text, weight in ranked if text]


def _combine(segments: list[list[Alternative]]) -> tuple[Alternative, ...]:
    """The likeliest joins of the segments of one turn, best first; only the last two vary."""
    if not segments:
        return ()
    choices = [segment[:1] for segment in segments[:-2]] + segments[-2:]
    joins = [
        Alternative(
            normalise(" ".join(part.text for part in parts)),
            math.prod(part.confidence for part in parts),
        )
        for parts in itertools.product(*choices)
    ]
    return tuple(sorted(joins, key=lambda join: -join.confidence)[:ALTERNATIVES])


def _clean(text: str) -> str:
    return normalise(text.replace(UNKNOWN, " "))


def _rate(mfcc: Path) -> int:
    """The rate the acoustic model was trained on, in Hz."""
    options = mfcc.read_text(encoding="utf-8") if mfcc.exists() else ""
    stated = re.search(r"--sample-frequency=(\d+)", options)
    return int(stated[1]) if stated else USUAL_RATE
