"""Trains the network that tells words from all else that sounds (assistant/barge_in.npz).

Kokoro's Mandarin voices and mixtures of two say what callers cut in with, and 嗯; more hums are
made of pitch and nasal formants; coughs, breaths, knocks, tones, music and bursts of noise too.
Each is moved in pitch and level, half of them into the telephone band, over the line's noise and
most over something else behind it: babble, a machine, music, the hotline's own voice; then all go
through A-law. First a network is trained without two of the voices, to tell what it makes of those.

Half an hour of two cores, most of it speaking, which is kept; needs PyTorch beside the hotline's
own packages.

    uv pip install torch
    python audio/train_barge_in.py
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from voices import HELD_BACK, Voices, names, speak

from assistant import models
from assistant.barge_in import HEARD_MS, NETWORK, Network, features
from assistant.bench_interrupt import cough, from_onset
from assistant.channels.channel import FRAME_MS, Pcm
from assistant.speech.resample import resample
from assistant.speech.vad import CHUNK_MS, Vad
from assistant.speech.vad import RATE as VAD_RATE
from assistant.telephone_line import Samples, coded, telephone_band

RATE = 8000
SEED = 5
PHRASES = (
    *("我想问一下", "不是这个", "等一下", "转人工", "上下班路上", "领失业金", "那医保呢"),
    *("对不起我问的是养老金", "身份证号码", "你好", "没听清", "我要查余额", "能不能快一点", "什么"),
    *("停", "喂", "两千零一", "是的", "再说一遍", "农村老人", "公司不给我交", "六十岁以后"),
    *("哎你先听我说", "啊不对", "别说了", "好了好了", "为什么", "怎么办理", "请问", "可以吗"),
    *("退休", "生孩子", "工伤", "补缴", "查一下", "医疗", "户口", "他们", "去年", "二十", "四百"),
    *("九月", "七号", "八点", "五险", "网上", "没有", "不要", "行", "错了", "知道了", "帮我"),
    *("打断一下", "算了", "说慢点", "大声一点", "换一个", "有没有", "现在", "社保卡", "噢这样啊"),
    *("女的", "按月", "缴费", "人社局", "听不懂", "外地", "已经", "一共"),
    *("特殊工种", "密码", "四月"),
)
HUMS = "嗯。", "嗯嗯。", "嗯，嗯。", "嗯——。", "哼。"
WORDS_SPOKEN, HUMS_SPOKEN, HELD_BACK_SPOKEN = 1300, 900, 300
MADE_HUMS, MADE_SOUNDS = 800, 500
"""The latter of each kind."""
VERSIONS = 4
"""Of what was spoken: each over another line."""

BEFORE_S, LONGEST_S, CLIP_S = (0.5, 0.9), 1.0, 2.0
"""Line before a sound; how much is heard of it; and of both."""

UNCERTAIN_MS = 25
"""A word's first chunk may be left out or in."""

HIDDEN, EPOCHS, BATCH, RATE_OF_LEARNING, SMOOTHED = 48, 30, 128, 4e-3, 0.02
EARLY_MS, EARLY_WEIGHT = 300, 4.0
"""Later in a word it is no use to know it: what counts is how soon."""
HUM_WEIGHT = 2.0
"""They are what is taken for words most often."""


class Sound(NamedTuple):
    """One recording, full scale 1."""

    kind: str
    samples: Samples


class Clip(NamedTuple):
    """One sound as the hotline would hear it."""

    kind: str
    onset: int
    """The chunk that the sound begins in."""
    seen: Samples
    """[chunks, features]"""
    words: NDArray[np.int8]
    """[chunks]: 1 while words are spoken, 0 while not, -1 where nobody can tell."""


def main() -> None:
    """Train, report, store."""
    torch.manual_seed(SEED)
    held_back = list(clips(said(HELD_BACK, "held-back", HELD_BACK_SPOKEN), seed=1))
    others = set(names()) - set(HELD_BACK)
    known = list(clips(said(sorted(others), "known", WORDS_SPOKEN + HUMS_SPOKEN), seed=2))
    made = list(clips([*made_hums(), *made_sounds()], seed=3))
    print(f"{len(known)} spoken, {len(made)} made clips")
    network = trained([*known, *made])
    for threshold in (0.7, 0.8, 0.9):
        print(
            f"{threshold} without {' and '.join(HELD_BACK)}: {told(network, held_back, threshold)}"
        )
    network = trained([*known, *made, *held_back])
    stored = {name: each.astype(np.float32) for name, each in network._asdict().items()}
    np.savez_compressed(NETWORK, **stored)
    print(NETWORK)


def said(voices: Sequence[str], folder: str, most: int) -> Iterator[Sound]:
    """Words and hums of some voices."""
    chance = random.Random(SEED)
    share = WORDS_SPOKEN / (WORDS_SPOKEN + HUMS_SPOKEN)
    texts = [chance.choice(PHRASES if chance.random() < share else HUMS) for _ in range(most)]
    files = speak(Voices(voices), texts, models.cache() / "barge-in" / folder)
    for text, file in zip(texts, files, strict=True):
        kind = "hum" if text in HUMS else "words"
        yield from [Sound(kind, recorded(file))] * VERSIONS


def recorded(file: Path) -> Samples:
    """What was spoken, at RATE."""
    return resample(np.load(file), VAD_RATE, RATE) / 32768


def made_hums() -> Iterator[Sound]:
    """Of nobody's voice."""
    chance = np.random.default_rng(SEED)
    for _ in range(MADE_HUMS):
        yield Sound("hum", hum(chance))


def made_sounds() -> Iterator[Sound]:
    """What is no voice."""
    chance = np.random.default_rng(SEED)
    for make in (a_cough, coughs, a_throat, a_breath, knocks, tones, music, a_burst):
        for _ in range(MADE_SOUNDS):
            yield Sound(make.__name__, make(chance))


def hum(chance: np.random.Generator) -> Samples:
    """A closed mouth: pitch, one strong formant about 300 Hz and two faint ones."""
    length = int(RATE * chance.uniform(0.2, 0.7))
    drift = np.cumsum(chance.normal(0, 0.0006, length))
    glide = chance.uniform(-0.25, 0.25) * np.linspace(0, 1, length)
    phase = np.cumsum(chance.uniform(85, 280) * np.exp(drift + glide)) / RATE
    formants = (
        (chance.uniform(220, 350), 80, 0),
        (chance.uniform(900, 1200), 150, -chance.uniform(14, 30)),
        (chance.uniform(2000, 2600), 200, -chance.uniform(20, 38)),
    )
    pitch = np.gradient(phase) * RATE
    tilt = chance.uniform(0.4, 0.8)
    sound = np.zeros(length)
    for harmonic in range(1, 30):
        hz = pitch * harmonic
        gains = [10 ** (db / 20) / (1 + ((hz - at) / width) ** 2) for at, width, db in formants]
        audible = np.where(hz < 3800, np.sum(gains, axis=0) / harmonic**tilt, 0)
        sound += audible * np.sin(2 * np.pi * (harmonic * phase + chance.random()))
    return sound * faded(length, chance, (0.02, 0.08), (0.1, 0.1))


def a_cough(chance: np.random.Generator) -> Samples:
    """As the benchmark makes them."""
    return cough(int(chance.integers(1000, 1 << 31))) / 32768


def coughs(chance: np.random.Generator) -> Samples:
    """Others: one to three, some with a voice in the end."""
    sound: list[Samples] = []
    for _ in range(chance.integers(1, 4)):
        at = seconds(chance.uniform(0.12, 0.45))
        burst = coloured(len(at), chance)
        burst *= np.minimum(at / chance.uniform(0.003, 0.02), 1)
        burst *= np.exp(-at / chance.uniform(0.04, 0.2)) / np.abs(burst).max()
        if chance.random() < 0.5:
            pitch = chance.uniform(90, 350) * np.exp(np.cumsum(chance.normal(0, 0.01, len(at))))
            voice = 0.5 * np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / RATE))
            voice = np.convolve(voice + chance.normal(0, 0.4, len(at)), np.ones(5) / 5, "same")
            after = np.maximum(at - at[-1] * chance.uniform(0.2, 0.5), 0)
            fades = (after > 0) * np.exp(-after / chance.uniform(0.04, 0.12))
            burst += chance.uniform(0.1, 0.7) * voice * fades
        sound += [burst * chance.uniform(0.4, 1), np.zeros(int(RATE * chance.uniform(0.05, 0.25)))]
    return np.concatenate(sound)


def a_throat(chance: np.random.Generator) -> Samples:
    """Cleared: rough pulses through a low formant."""
    length = int(RATE * chance.uniform(0.2, 0.6))
    pitch = chance.uniform(60, 140) * np.exp(np.cumsum(chance.normal(0, 0.02, length)))
    pulses = (np.cumsum(pitch) / RATE % 1 < 0.1) * chance.uniform(0.5, 1.5, length)
    spectrum = np.fft.rfft(pulses + chance.normal(0, 0.3, length))
    hz = np.fft.rfftfreq(length, 1 / RATE)
    spectrum /= 1 + ((hz - chance.uniform(300, 700)) / 400) ** 2
    return np.fft.irfft(spectrum, length) * faded(length, chance, (0.002, 0.05), (0.01, 0.15))


def a_breath(chance: np.random.Generator) -> Samples:
    """Into the microphone."""
    length = int(RATE * chance.uniform(0.2, 0.9))
    return coloured(length, chance, (500, 3000)) * np.hanning(length)


def knocks(chance: np.random.Generator) -> Samples:
    """One to four, on something that rings."""
    sound: list[Samples] = []
    for _ in range(chance.integers(1, 5)):
        at = seconds(chance.uniform(0.03, 0.2))
        rings = [
            chance.uniform(0.2, 1) * np.sin(2 * np.pi * (chance.uniform(80, 2500) * at + phase))
            for phase in chance.random(4)
        ]
        knock = np.sum(rings, axis=0) * np.exp(-at / chance.uniform(0.005, 0.04))
        sound += [knock, np.zeros(int(RATE * chance.uniform(0.05, 0.3)))]
    return np.concatenate(sound)


def tones(chance: np.random.Generator) -> Samples:
    """Of keys, of ringing, of machines."""
    at = seconds(chance.uniform(0.1, 1.2))
    known = [350, 440, 450, 480, 620, 697, 770, 852, 941, 950, 1209, 1336, 1400, 1477, 1800, 2100]
    chosen = chance.choice(known, chance.integers(1, 3))
    return np.sum([np.sin(2 * np.pi * hz * at) for hz in chosen], axis=0) * np.minimum(
        at / 0.005, 1
    )


def music(chance: np.random.Generator, length_s: float = LONGEST_S) -> Samples:
    """One to three instruments in one key, some with a drum."""
    length = int(RATE * length_s)
    sound = np.zeros(length)
    lowest, beat_s = chance.uniform(100, 300), chance.uniform(0.12, 0.5)
    instruments, drum = chance.integers(1, 4), chance.random() < 0.4
    start = 0
    while start < length:
        for _ in range(instruments):
            step = chance.choice([0, 2, 4, 5, 7, 9, 11, 12, 14, 16, 19])
            hz = lowest * 2 ** (step / 12) * chance.choice([0.5, 1, 1, 2])
            at = seconds(min(chance.uniform(0.15, 1), (length - start) / RATE))
            vibrato = chance.uniform(0, 0.006) / 5.5 * np.sin(2 * np.pi * 5.5 * at)
            harmonics = np.arange(1, max(2, min(14, int(3800 / hz))))[:, None]
            partials = np.sin(2 * np.pi * hz * harmonics * (at + vibrato))
            tone = np.sum(partials / harmonics ** chance.uniform(0.6, 1.8), axis=0)
            tone *= np.minimum(at / chance.uniform(0.003, 0.03), 1)
            tone *= np.exp(-at / chance.uniform(0.1, 0.8)) * chance.uniform(0.3, 1)
            sound[start : start + len(at)] += tone
        if drum:
            at = seconds(min(0.08, (length - start) / RATE))
            beat = chance.normal(0, 0.6, len(at)) * np.exp(-at / 0.02)
            sound[start : start + len(at)] += beat
        start += int(RATE * beat_s * chance.choice([0.5, 1, 1, 2]))
    return sound


def a_burst(chance: np.random.Generator) -> Samples:
    """Of noise."""
    length = int(RATE * chance.uniform(0.1, 1.2))
    return coloured(length, chance, (100, 3500)) * faded(
        length, chance, (0.002, 0.05), (0.01, 0.15)
    )


def coloured(
    length: int, chance: np.random.Generator, peaks_hz: tuple[float, float] = (200, 3000)
) -> Samples:
    """Noise with one to three broad peaks."""
    hz = np.fft.rfftfreq(length, 1 / RATE)
    gain = np.zeros(len(hz))
    for _ in range(chance.integers(1, 4)):
        away = (hz - chance.uniform(*peaks_hz)) / chance.uniform(150, 900)
        gain += chance.uniform(0.2, 1) / (1 + away**2)
    noise: Samples = np.fft.irfft(np.fft.rfft(chance.normal(size=length)) * gain, length)
    return noise


def seconds(length_s: float) -> Samples:
    """The time of each sample."""
    return np.arange(max(1, int(RATE * length_s))) / RATE


def faded(
    length: int,
    chance: np.random.Generator,
    rises_s: tuple[float, float],
    falls_s: tuple[float, float],
) -> Samples:
    """A gain that rises and falls."""
    at = np.arange(length) / RATE
    gain: Samples = np.minimum(at / chance.uniform(*rises_s), 1)
    return gain * np.minimum(at[::-1] / chance.uniform(*falls_s), 1)


def clips(sounds: Iterator[Sound] | Sequence[Sound], seed: int) -> Iterator[Clip]:
    """Each over a line of its own."""
    chance = np.random.default_rng(seed)
    everything = list(sounds)
    talkers = [each.samples for each in everything if each.kind == "words"] or _talkers()
    for kind, samples in everything:
        heard, begins, ends = on_the_line(kind, samples, talkers, chance)
        seen = as_heard(heard)
        ended = (np.arange(len(seen)) + 1) * CHUNK_MS * RATE // 1000
        words = np.where((ended <= begins) | (ended > ends), -1, int(kind == "words"))
        words[ended <= begins] = 0
        if kind == "words":
            words[(ended > begins) & (ended < begins + UNCERTAIN_MS * RATE // 1000)] = -1
        onset = int(np.searchsorted(ended, begins, "right"))
        yield Clip(kind, onset, seen, words.astype(np.int8))


def _talkers() -> list[Samples]:
    """Voices for the background of what is no voice."""
    folder = models.cache() / "barge-in" / "known"
    files = sorted(folder.glob("*.npy"))[:200]
    return [recorded(file) for file in files]


def as_heard(pcm: Pcm) -> Samples:
    """The features of each chunk: the detector's chunks end within the line's frames."""
    chunk, frame, window = (RATE * ms // 1000 for ms in (CHUNK_MS, FRAME_MS, HEARD_MS))
    padded = np.pad(pcm, (window, frame))
    found = []
    for number, voice in enumerate(Vad(RATE).accept(pcm), 1):
        end = window + -(-number * chunk // frame) * frame
        found.append(features(padded[end - window : end], voice, RATE)[0])
    return np.array(found)


def on_the_line(
    kind: str, samples: Samples, talkers: Sequence[Samples], chance: np.random.Generator
) -> tuple[Pcm, int, int]:
    """The sound on a telephone line, and at which sample it begins and ends there."""
    is_voice = kind in ("words", "hum")
    if is_voice:
        at = np.arange(0, len(samples) - 1, chance.uniform(0.85, 1.2))
        samples = np.interp(at, np.arange(len(samples)), samples)
    if chance.random() < 0.5:
        samples = telephone_band(samples, RATE)
    peak = 10 ** (chance.uniform(-22 if is_voice else -30, -4) / 20)
    samples = samples / np.abs(samples).max() * peak
    samples = from_onset((samples * 32767).astype(np.int16))[: int(RATE * LONGEST_S)] / 32768
    before = int(RATE * chance.uniform(*BEFORE_S))
    heard = np.zeros(int(RATE * CLIP_S))
    heard[before : before + len(samples)] = samples
    heard += chance.normal(0, 10 ** chance.uniform(0.3, 2.0), len(heard)) / 32768
    heard += behind(len(heard), talkers, chance)
    return coded(heard.clip(-1, 1), RATE, "alaw"), before, before + len(samples)


def behind(length: int, talkers: Sequence[Samples], chance: np.random.Generator) -> Samples:
    """In the background: our own voice come back, babble, a machine, music, or nothing."""

    def turned(number: int) -> Samples:
        talker = np.resize(talkers[number], length)
        return np.roll(talker, int(chance.integers(length))) / np.abs(talker).max()

    kind = chance.random()
    if kind < 0.3:
        return turned(int(chance.integers(len(talkers)))) * chance.uniform(0.015, 0.06)
    if kind < 0.45:
        babble = np.sum(
            [turned(int(each)) for each in chance.integers(len(talkers), size=6)], axis=0
        )
        return babble / np.abs(babble).max() * chance.uniform(0.005, 0.03)
    if kind < 0.6:
        machine = coloured(length, chance, (50, 1500))
        return machine / np.abs(machine).max() * chance.uniform(0.003, 0.04)
    if kind < 0.66:
        tune = music(chance, length / RATE)
        return tune / np.abs(tune).max() * chance.uniform(0.003, 0.03)
    return np.zeros(length)


def trained(learned: Sequence[Clip]) -> Network:
    """AdamW on the cross-entropy, words and all else of the same weight."""
    seen = np.stack([each.seen for each in learned])
    words = np.stack([each.words for each in learned])
    weights = weights_of(learned, words)
    mean, deviation = seen.mean(axis=(0, 1)), seen.std(axis=(0, 1)) + 1e-3
    inputs = torch.from_numpy((seen - mean) / deviation).float()
    wanted = torch.from_numpy(words.clip(0) * (1 - 2 * SMOOTHED) + SMOOTHED).float()
    counts = torch.from_numpy(weights).float()
    units, out = nn.GRU(seen.shape[2], HIDDEN, batch_first=True), nn.Linear(HIDDEN, 1)
    learning = [*units.parameters(), *out.parameters()]
    optimizer = torch.optim.AdamW(learning, lr=RATE_OF_LEARNING, weight_decay=1e-2)
    steps = EPOCHS * -(-len(inputs) // BATCH)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, RATE_OF_LEARNING / 50)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(inputs)).split(BATCH):
            noisy = inputs[chosen] + 0.05 * torch.randn_like(inputs[chosen])
            odds = out(units(noisy)[0])[..., 0]
            losses = nn.functional.binary_cross_entropy_with_logits(
                odds, wanted[chosen], counts[chosen], reduction="sum"
            )
            optimizer.zero_grad()
            (losses / counts[chosen].sum()).backward()
            nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            rates.step()
    found = [each.detach().double().numpy() for each in learning]
    seen_weights, kept_weights, seen_bias, kept_bias, out_weights, out_bias = found
    return Network(
        mean, deviation, seen_weights, seen_bias, kept_weights, kept_bias, out_weights[0], out_bias
    )


def weights_of(learned: Sequence[Clip], words: NDArray[np.int8]) -> Samples:
    """[clips, chunks]: how much each chunk counts."""
    onsets = np.array([each.onset for each in learned])[:, None]
    since_ms = (np.arange(words.shape[1]) + 1 - onsets) * CHUNK_MS
    early = (since_ms > 0) & (since_ms <= EARLY_MS)
    weights = np.where(
        words == 1, np.where(early, EARLY_WEIGHT, 1.0), np.where(since_ms > 0, 1.0, 0.2)
    )
    weights *= words >= 0
    weights[words == 0] *= weights[words == 1].sum() / weights[words == 0].sum()
    hums = np.array([each.kind == "hum" for each in learned])
    weights[hums] *= HUM_WEIGHT
    return weights


def told(network: Network, tried: Sequence[Clip], threshold: float) -> str:
    """How soon words are known for words, and how often hums are taken for some."""
    enough = np.log(threshold / (1 - threshold))
    waits: dict[str, list[float]] = {"words": [], "hum": []}
    for clip in tried:
        state, wait = network.start(), np.inf
        for number, found in enumerate(clip.seen):
            state, odds = network.hear(state, found)
            if odds >= enough:
                wait = (number + 1 - clip.onset) * CHUNK_MS
                break
        waits[clip.kind].append(wait)
    soon, late = np.percentile(waits["words"], (50, 95), method="lower")
    hums = np.mean(np.isfinite(waits["hum"]))
    return f"words after {soon:.0f} ms, 95 % within {late:.0f} ms; {hums:.0%} of the hums pass"


if __name__ == "__main__":
    main()
