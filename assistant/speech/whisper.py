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
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from assistant.channels.channel import Pcm
from assistant.speech.chinese import normalise
from assistant.speech.guards import SHORTEST_VOICE_S, implausible
from assistant.speech.pieces import Piece, Pieces
from assistant.speech.recognizer import Alternative, Expecting, Partial, Transcript
from assistant.speech.repair import Repair, change_cost
from assistant.speech.resample import Resampler
from assistant.speech.vad import RATE
from assistant.speech.whisper_decoder import BeamSearch
from assistant.speech.whisper_graph import read_weights
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
REPAIRED: frozenset[Expecting] = frozenset(("free", "yes_no", "choice"))
"""Answers made of words. Where digits are awaited nothing is put right: a digit is not guessed."""
_TOKENS_PER_S, _TOKENS_MORE = 14, 12
"""Cap on what is decoded: a rare character takes three tokens. A loop is cut off by it."""

PROMPTS: dict[Expecting, str] = {
    "free": "身份证号是三七零八二五一九八四一一零六。我想查一下养老金账户余额。工伤认定要多久？"
    "失业金怎么领？社保卡丢了要挂失。公司没给我交社保。几岁退休？",
    "digits": "号码是三七零八二五一九八四一一零六。",
    "id_number": "我的身份证号是三七零八二五一九八四一一零六五三九二。",
    "pin": "我的密码是三七零八二五一九四六。",
    "case_number": "办件编号是二零二五零七一九三八。",
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


class WhisperRecognizer:
    """The loaded model. Calls share it: CTranslate2 queues what comes at once."""

    name = "whisper"
    streaming = False

    def __init__(self, folder: Path, threads: int = 2, repair: Repair | None = None) -> None:
        """`folder` holds model.bin, config.json, tokenizer.json and vocabulary.txt.

        Raises RuntimeError when the model cannot be read.
        """
        self._model = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads
        )
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._features = FeatureExtractor()
        self._repair = repair
        self._prompts = {kind: self._prompt(text) for kind, text in PROMPTS.items()}
        self._search = self._decoder(folder, threads)

    def open(self, rate: int, expecting: Expecting = "free") -> "WhisperStream":
        """A stream for one utterance of audio at `rate` Hz."""
        return WhisperStream(self, rate, expecting)

    def transcribe(self, piece: Piece, expecting: Expecting) -> Transcript:
        """The words of one piece; empty where nobody spoke."""
        if piece.voiced_s < SHORTEST_VOICE_S:
            return Transcript("")
        audio = piece.trimmed()
        for padding_s in (PADDING_S, FULL_S - len(audio) / RATE):
            hypotheses = self._decode(audio, padding_s, expecting, piece.voiced_s)
            good = [h for h in hypotheses if not self._refused(h, piece, expecting)]
            if good:
                return self._transcript(good, expecting)
        return Transcript("")

    def _decode(
        self, audio: Pcm, padding_s: float, expecting: Expecting, voiced_s: float
    ) -> list[_Hypothesis]:
        samples = audio.astype(np.float32) / 32768
        features: NDArray[np.float32] = self._features(samples, padding=int(padding_s * RATE))
        encoded = self._model.encode(
            ctranslate2.StorageView.from_array(np.ascontiguousarray(features[None]))
        )
        most = int(voiced_s * _TOKENS_PER_S) + _TOKENS_MORE
        found = self._search(np.asarray(encoded), self._prompts[expecting], most, BEAM)
        return [
            _Hypothesis(
                normalise(self._tokenizer.decode(each.tokens)),
                each.log_probability,
                len(each.tokens) + 1,
                loops=not each.ended,
            )
            for each in found
        ]

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
        ranked: dict[str, tuple[float, _Hypothesis]] = {}
        likeliest = hypotheses[0]
        change = change_cost(math.exp(likeliest.log_probability / likeliest.tokens))
        for heard in hypotheses:
            text, score = heard.text, heard.log_probability
            if self._repair and expecting in REPAIRED:
                repaired = self._repair(text, change)
                text, score = repaired.text, score + LANGUAGE_WEIGHT * repaired.score
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

    def _decoder(self, folder: Path, threads: int) -> BeamSearch:
        """Raises RuntimeError when the model's files are damaged."""
        try:
            config = json.loads((folder / "config.json").read_text("utf-8"))
            suppressed, never_first = config["suppress_ids"], config["suppress_ids_begin"]
        except (OSError, ValueError, KeyError) as error:
            raise RuntimeError(f"config.json: {error}") from None
        end = self._mark("<|endoftext|>")
        told = {token for prompt in self._prompts.values() for token in prompt}
        kept, silent = vocabulary(self._tokenizer, {end, *told}, suppressed)
        weights = read_weights(folder / "model.bin")
        return BeamSearch(weights, kept, silent, end, never_first, threads)

    def _mark(self, name: str) -> int:
        token = self._tokenizer.token_to_id(name)
        if token is None:
            raise RuntimeError(f"tokenizer.json has no {name}: not a multilingual Whisper model")
        return token


class WhisperStream:
    """One utterance. accept() only collects, unless more than a piece has come together."""

    def __init__(self, recognizer: WhisperRecognizer, rate: int, expecting: Expecting) -> None:
        self._recognizer = recognizer
        self._expecting = expecting
        self._resampler = Resampler(rate, RATE)
        self._pieces = Pieces()
        self._heard: list[Transcript] = []

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

    def _hear(self, piece: Piece) -> None:
        transcript = self._recognizer.transcribe(piece, self._expecting)
        if transcript.text:
            self._heard.append(transcript)
