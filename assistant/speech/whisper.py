"""Whisper behind the recogniser's seam: CTranslate2 encodes the utterance alone, and a decoder of
our own on ONNX Runtime finds the words (whisper_decoder.py).

faster-whisper always encodes 30 s, of which a caller's turn fills three; here the encoder gets
the utterance and a little silence, which takes a third of the time at the same accuracy. What
the cut costs is that now and then the decoder loops; the guards see that and look once more
with the full 30 s.
"""

import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from assistant.channels.channel import Pcm
from assistant.completeness import DIGIT_ANSWERS, NUMBER_LENGTH, digits_in, is_whole
from assistant.speech.chinese import normalise
from assistant.speech.guards import SHORTEST_VOICE_S, implausible
from assistant.speech.pieces import Piece, Pieces
from assistant.speech.recognizer import Alternative, Expecting, Partial, Transcript
from assistant.speech.repair import Repair, change_cost
from assistant.speech.resample import Resampler
from assistant.speech.vad import RATE
from assistant.speech.whisper_adapter import ADAPTER, adapt
from assistant.speech.whisper_decoder import BeamSearch, Decoded
from assistant.speech.whisper_digits import DigitGrammar
from assistant.speech.whisper_graph import Weights, read_weights
from assistant.speech.whisper_vocabulary import vocabulary

log = logging.getLogger(__name__)

BEAM = 5
"""Hypotheses searched and returned: the repair chooses among them."""
PADDING_S = 2.0
"""Silence after the utterance; without any the decoder does not find the end."""
FULL_S = 30.0
"""The context that Whisper was trained on."""
LANGUAGE_WEIGHT = 0.5
"""Of the language model's logarithm beside the recogniser's own; found on recorded callers."""
CHARACTER_WEIGHT = 1.5
"""Nats for each character written: about what it costs in the language model, weighed so, which
would else prefer half a sentence to a whole one."""
QUANTITIES: frozenset[Expecting] = frozenset(("date", "amount"))
"""Answers in which nothing is put right, as in a number: what was meant is not guessed."""
NUMBER_BEAM = 12
"""Hypotheses searched among numbers: the right one is seldom further down."""
LONGEST_NUMBER = 18
"""Digits: an ID number's."""
MOST_DIGIT_TOKENS = 3 * LONGEST_NUMBER
CERTAIN_NUMBER = -0.4
"""Nats a token: a whole number so well heard leaves no room for words."""
LESS_SURE = 0.5
"""Nats a token: where words fit so much better, no number was said …"""
WHOLE_LESS_SURE = 1.2
"""… unless it has just the digits that are awaited."""
WHOLE_BEHIND = 6.0
"""Nats: what a right length and check digit outweigh. One number in eleven has it by chance."""
SHAPES_KEPT = 16
"""For which oneDNN keeps the code that it has compiled. No two utterances are equally long: with
its usual 1,024 it held 200 MB after 400 lengths, and saved a millisecond an utterance."""
_TOKENS_PER_S, _TOKENS_MORE = 14, 12
"""Cap on what is decoded: a rare character takes three tokens. A loop is cut off by it."""

PROMPTS: dict[Expecting, str] = {
    "free": "身份证号是三七零八二五一九八四一一零六。我想查一下养老金账户余额。工伤认定要多久？"
    "失业金怎么领？社保卡丢了要挂失。公司没给我交社保。几岁退休？",
    "digits": "号码是三七零八二五一九八四一一零六。",
    "id_number": "我的身份证号是三七零八二五一九八四一一零六五三九二。",
    "pin": "我的密码是三七零八二五一九四六。",
    "case_number": "办件编号是二零二五零七一九零零三八。",
    "yes_no": "是的，对。不对，不是这样的。好的，没错。不用了。转人工。",
    "date": "一九七八年十一月二十三号。上个月。今天。",
    "amount": "四千二百块。三万六千五百元。",
    "choice": "第一个。第二个。",
}
"""What came before, as the decoder is told: it sets the script, the subject and the spelling.

Digits stand as words: told 440103 the decoder writes Arabic digits and drops one in twenty, told
四四零一零三 it keeps them all.
"""


@dataclass(frozen=True, slots=True)
class _Hypothesis:
    text: str
    log_probability: float
    """Sum over the tokens, natural logarithm."""
    tokens: int
    """The end of the text included."""
    loops: bool
    """The token cap ended it, not the decoder."""
    whole: bool = False
    """A number that has all its digits."""

    @property
    def certainty(self) -> float:
        """Logarithm of the probability of a token, in the mean."""
        return self.log_probability / self.tokens


class WhisperRecognizer:
    """The loaded model. Calls share it: CTranslate2 queues what comes at once."""

    name = "whisper"
    streaming = False

    def __init__(
        self,
        folder: Path,
        threads: int = 2,
        repair: Repair | None = None,
        adapter: Path | None = ADAPTER,
    ) -> None:
        """`folder` holds model.bin, config.json, tokenizer.json and vocabulary.txt; `adapter` is
        what the model has learned for this hotline, None for the model as it came.

        Raises RuntimeError when the model cannot be read.
        """
        files, weights = _read(folder, adapter)
        # Read when the first shape is compiled; CTranslate2 has no setting of its own for it.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(SHAPES_KEPT))
        self._model = ctranslate2.models.Whisper(
            str(folder),
            device="cpu",
            compute_type="int8",
            inter_threads=1,
            intra_threads=threads,
            files=files,
        )
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._features = FeatureExtractor()
        self._repair = repair
        self._prompts = {kind: self._prompt(text) for kind, text in PROMPTS.items()}
        self._search = self._decoder(files["config.json"], weights, threads)
        size, end = len(self._search.place), self._search.end
        self._grammars: dict[Expecting, DigitGrammar] = {
            kind: DigitGrammar(self._places, size, end, NUMBER_LENGTH.get(kind, LONGEST_NUMBER))
            for kind in DIGIT_ANSWERS
        }

    def open(self, rate: int, expecting: Expecting = "free") -> "WhisperStream":
        """A stream for one utterance of audio at `rate` Hz."""
        return WhisperStream(self, rate, expecting)

    def transcribe(
        self, piece: Piece, expecting: Expecting, abandoned: Callable[[], bool] = lambda: False
    ) -> Transcript:
        """The words of one piece; empty where nobody spoke, and perhaps once it is `abandoned`."""
        if piece.voiced_s < SHORTEST_VOICE_S:
            return Transcript("")
        audio = piece.trimmed()
        for padding_s in (PADDING_S, FULL_S - len(audio) / RATE):
            if abandoned():
                break
            hypotheses = self._decode(audio, padding_s, expecting, piece.voiced_s, abandoned)
            good = [h for h in hypotheses if not self._refused(h, piece, expecting)]
            if good:
                return self._transcript(good, expecting)
        return Transcript("")

    def _decode(
        self,
        audio: Pcm,
        padding_s: float,
        expecting: Expecting,
        voiced_s: float,
        abandoned: Callable[[], bool],
    ) -> list[_Hypothesis]:
        samples = audio.astype(np.float32) / 32768
        features: NDArray[np.float32] = self._features(samples, padding=int(padding_s * RATE))
        encoded = self._encoded(features[None])
        grammar = self._grammars.get(expecting)
        numbers = self._numbers(encoded, expecting, grammar, (), abandoned) if grammar else []
        if numbers and numbers[0].whole and numbers[0].certainty >= CERTAIN_NUMBER:
            return numbers
        most = int(voiced_s * _TOKENS_PER_S) + _TOKENS_MORE
        found = self._search(encoded, self._prompts[expecting], most, BEAM, abandoned)
        words = [self._hypothesis(each) for each in found]
        if not grammar or not words or not _is_number(words[0].text):
            return words
        if before := self._before_digits(found[0].tokens):
            numbers = self._numbers(encoded, expecting, grammar, before, abandoned)
        sure = words[0].certainty
        margins = [WHOLE_LESS_SURE if each.whole else LESS_SURE for each in numbers]
        fit = zip(numbers, margins, strict=True)
        return [each for each, margin in fit if each.certainty >= sure - margin] + words

    def _encoded(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """[1, 80, frames] → [1, frames / 2, width]."""
        view = ctranslate2.StorageView.from_array(np.ascontiguousarray(features))
        return np.asarray(self._model.encode(view))

    def _numbers(
        self,
        encoded: NDArray[np.float32],
        expecting: Expecting,
        grammar: DigitGrammar,
        before: Sequence[int],
        abandoned: Callable[[], bool],
    ) -> list[_Hypothesis]:
        """The audio heard as digits, after the tokens `before`: whole numbers first."""
        prompt = [*self._prompts[expecting], *before]
        found = self._search(encoded, prompt, MOST_DIGIT_TOKENS, NUMBER_BEAM, abandoned, grammar)
        likeliest = max((each.log_probability for each in found), default=0.0)
        numbers: dict[str, _Hypothesis] = {}
        for each in found:
            digits = grammar.read([self._search.place[token] for token in each.tokens])
            whole = is_whole(digits_in(digits), expecting)
            numbers.setdefault(
                digits,
                _Hypothesis(
                    digits,
                    each.log_probability,
                    len(each.tokens) + 1,
                    loops=not each.ended,
                    whole=whole and each.log_probability >= likeliest - WHOLE_BEHIND,
                ),
            )
        return sorted(numbers.values(), key=lambda each: (not each.whole, -each.certainty))

    def _before_digits(self, tokens: Sequence[int]) -> list[int]:
        """The tokens of the words in front of the first digits: 我的身份证号是."""
        before = 0
        for place in range(1, len(tokens) + 1):
            text = self._tokenizer.decode(tokens[:place])
            if digits_in(text):
                return list(tokens[:before])
            if not text.endswith("\ufffd"):  # between two characters, not inside one
                before = place
        return []

    def _places(self, text: str) -> list[int]:
        """How a text is written; empty where the decoder's vocabulary has not got it."""
        tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
        places = self._search.place
        return [places[token] for token in tokens] if all(t in places for t in tokens) else []

    def _hypothesis(self, found: Decoded) -> _Hypothesis:
        return _Hypothesis(
            normalise(self._tokenizer.decode(found.tokens)),
            found.log_probability,
            len(found.tokens) + 1,
            loops=not found.ended,
        )

    def _refused(self, hypothesis: _Hypothesis, piece: Piece, expecting: Expecting) -> bool:
        why = implausible(hypothesis.text, piece.voiced_s)
        if hypothesis.loops:
            why = "it did not end"
        elif hypothesis.text == normalise(PROMPTS[expecting]):
            why = "it is the prompt"
        if why:
            log.debug("hypothesis refused: %s", why)
        return bool(why)

    def _transcript(self, hypotheses: list[_Hypothesis], expecting: Expecting) -> Transcript:
        """Ranks by what was heard and by what is said on this hotline, the same words once."""
        if expecting in DIGIT_ANSWERS and _is_number(hypotheses[0].text):
            return _number_transcript(hypotheses)
        ranked: dict[str, tuple[float, _Hypothesis]] = {}
        likeliest = hypotheses[0]
        change = change_cost(math.exp(likeliest.log_probability / likeliest.tokens))
        for heard in hypotheses:
            text, score = heard.text, heard.log_probability
            if self._repair and expecting not in QUANTITIES:
                repaired = self._repair(text, change)
                text = repaired.text
                score += LANGUAGE_WEIGHT * repaired.score + CHARACTER_WEIGHT * len(text)
            if text not in ranked or score > ranked[text][0]:
                ranked[text] = (score, heard)
        best_first = sorted(ranked.items(), key=lambda item: -item[1][0])
        top, heard = best_first[0][1]
        certainty = heard.log_probability / heard.tokens
        alternatives = tuple(
            Alternative(text, math.exp(certainty + (score - top) / heard.tokens))
            for text, (score, _) in best_first
        )
        best = alternatives[0]
        return Transcript(best.text, best.confidence, alternatives, likeliest.text)

    def _prompt(self, text: str) -> list[int]:
        """Tokens that come before the decoder's own; their order is Whisper's."""
        before = self._tokenizer.encode(" " + text, add_special_tokens=False).ids
        start = "<|startofprev|>", "<|startoftranscript|>", "<|zh|>", "<|transcribe|>"
        marks = [self._mark(mark) for mark in (*start, "<|notimestamps|>")]
        return [marks[0], *before, *marks[1:]]

    def _decoder(self, description: bytes, weights: Weights, threads: int) -> BeamSearch:
        """Raises RuntimeError when the model's files are damaged."""
        try:
            config = json.loads(description)
            suppressed, never_first = config["suppress_ids"], config["suppress_ids_begin"]
        except (ValueError, KeyError) as error:
            raise RuntimeError(f"config.json: {error}") from None
        end = self._mark("<|endoftext|>")
        told = {token for prompt in self._prompts.values() for token in prompt}
        kept, silent = vocabulary(self._tokenizer, {end, *told}, suppressed)
        return BeamSearch(weights, kept, silent, end, never_first, threads)

    def _mark(self, name: str) -> int:
        token = self._tokenizer.token_to_id(name)
        if token is None:
            raise RuntimeError(f"tokenizer.json has no {name}: not a multilingual Whisper model")
        return token


def _read(folder: Path, adapter: Path | None) -> tuple[dict[str, bytes], Weights]:
    """The model's files for CTranslate2 and the weights in them, both adapted."""
    try:
        files = {name: (folder / name).read_bytes() for name in ("config.json", "vocabulary.txt")}
        model = bytearray((folder / "model.bin").read_bytes())
    except OSError as error:
        raise RuntimeError(str(error)) from None
    weights = read_weights(model, str(folder / "model.bin"))
    if adapter:
        adapt(weights, adapter)
    return files | {"model.bin": bytes(model)}, weights


def _number_transcript(hypotheses: Sequence[_Hypothesis]) -> Transcript:
    """In the order given: none is surer than the one before."""
    texts: dict[str, float] = {}
    surest = 1.0
    for each in hypotheses:
        surest = min(surest, math.exp(each.certainty))
        texts.setdefault(each.text, surest)
    alternatives = tuple(Alternative(text, confidence) for text, confidence in texts.items())
    best = alternatives[0]
    return Transcript(best.text, best.confidence, alternatives, hypotheses[0].text)


def _is_number(text: str) -> bool:
    return len(digits_in(text)) * 3 >= len(text) > 0


class WhisperStream:
    """One utterance. accept() only collects, unless more than a piece has come together."""

    def __init__(self, recognizer: WhisperRecognizer, rate: int, expecting: Expecting) -> None:
        self._recognizer = recognizer
        self._expecting = expecting
        self._resampler = Resampler(rate, RATE)
        self._pieces = Pieces()
        self._heard: list[Transcript] = []
        self._abandoned = False

    def accept(self, pcm: Pcm) -> Partial | None:
        """Take the next audio; words come only at the end."""
        for piece in self._pieces.accept(self._resampler.accept(pcm)):
            self._hear(piece)
        return None

    def finish(self) -> Transcript:
        """Decode what was collected."""
        for piece in self._pieces.accept(self._resampler.finish()):
            self._hear(piece)
        self._hear(self._pieces.finish())
        if len(self._heard) <= 1:
            return self._heard[0] if self._heard else Transcript("")
        text = "，".join(transcript.text for transcript in self._heard)
        confidence = min(transcript.confidence for transcript in self._heard)
        heard = "，".join(transcript.heard for transcript in self._heard)
        return Transcript(text, confidence, (Alternative(text, confidence),), heard)

    def abandon(self) -> None:
        """A decoding under way stops within a tenth of a second or two: the encoder's time."""
        self._abandoned = True

    def _hear(self, piece: Piece) -> None:
        transcript = self._recognizer.transcribe(piece, self._expecting, lambda: self._abandoned)
        if transcript.text:
            self._heard.append(transcript)
