"""Trains the network that tells words from hums and coughs (assistant/barge_in.npz).

All Mandarin voices of Kokoro say what callers cut in with, and 嗯; more hums are made of pitch and
nasal formants, coughs of noise. Each sound is moved in pitch and level, half of them into the
telephone band, most with noise, some over an echo of the hotline, all through A-law. For each voice
it first prints what a network trained without that voice makes of it. The same seed gives the same.

    python audio/train_barge_in.py
"""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from assistant import models
from assistant.barge_in import NETWORK, WINDOW_MS, Network, features, pitch_of_halves
from assistant.bench_interrupt import cough, from_onset
from assistant.channels.channel import Pcm
from assistant.speech.kokoro import Kokoro
from assistant.speech.resample import resample
from assistant.telephone_line import Samples, coded, telephone_band

RATE = 8000
SEED = 5
PHRASES = (
    "我想问一下", "不是这个", "等一下", "转人工", "上下班路上被车撞了", "领失业金的时候",
    "那医保呢", "对不起我问的是养老金", "身份证号码", "你好", "没听清", "我要查余额",
    "能不能快一点", "什么", "停", "喂", "嗯我想问的不是这个", "两千零一", "是的", "再说一遍",
    "农村老人没交过钱", "公司不给我交社保", "六十岁以后", "哎你先听我说", "啊不对",
)  # fmt: skip
HUMS = "嗯。", "嗯嗯。", "嗯，嗯。"
HUM_SPEEDS = 0.85, 1.0, 1.15
MADE_HUMS, MADE_COUGHS = 300, 60
VERSIONS = {"words": 4, "hum": 14, "made hum": 3, "cough": 3}
"""Of each sound: as many as make the kinds alike in weight."""

BEFORE, LONGEST = RATE // 4, RATE // 2
"""Samples of line before a sound, and of the sound itself: later nobody waits for a judgement."""

HIDDEN, EPOCHS, BATCH, DECAY = 24, 40, 256, 1e-3


class Sound(NamedTuple):
    """One recording, from its onset."""

    kind: str
    voice: str
    samples: Samples


class Windows(NamedTuple):
    """What the network learns from."""

    seen: Samples
    """[windows, features]"""
    words: NDArray[np.bool_]
    voice: NDArray[np.str_]

    def of(self, chosen: NDArray[np.bool_]) -> "Windows":
        """Some of them."""
        return Windows(*(each[chosen] for each in self))


def main() -> None:
    """Train, report, store."""
    sounds = [*spoken(), *made()]
    windows = judged(sounds)
    print(f"{len(sounds)} sounds, {len(windows.words)} windows")
    for voice in sorted({each.voice for each in sounds if each.voice}):
        others = trained(windows.of(windows.voice != voice))
        own = windows.of(windows.voice == voice)
        right = np.array([others.log_odds(each) for each in own.seen]) > 0
        print(f"{voice}: words {right[own.words].mean():.0%}, hums {right[~own.words].mean():.0%}")
    network = trained(windows)
    stored = {name: each.astype(np.float32) for name, each in network._asdict().items()}
    np.savez_compressed(NETWORK, **stored)
    print(NETWORK)


def spoken() -> Iterator[Sound]:
    """Words and hums of every voice."""
    kokoro = Kokoro()

    async def say(voice: str, text: str, speed: float) -> Samples:
        speaking = kokoro.with_voice(voice).speak(text, speed)
        return as_samples(np.concatenate([pcm async for pcm in speaking]), kokoro.rate)

    random = np.random.default_rng(SEED)
    for voice in sorted(each.stem for each in models.find("kokoro-voices-zh").glob("z*.bin")):
        for text in PHRASES:
            speed = float(random.uniform(0.9, 1.15))
            yield Sound("words", voice, asyncio.run(say(voice, text, speed)))
        for text in HUMS:
            for speed in HUM_SPEEDS:
                yield Sound("hum", voice, asyncio.run(say(voice, text, speed)))


def made() -> Iterator[Sound]:
    """Hums and coughs of nobody's voice."""
    random = np.random.default_rng(SEED)
    for _ in range(MADE_HUMS):
        yield Sound("made hum", "", hum(random))
    for seed in range(MADE_COUGHS):
        yield Sound("cough", "", as_samples(cough(1000 + seed), RATE))


def as_samples(pcm: Pcm, rate: int) -> Samples:
    """At RATE, full scale 1."""
    return resample(pcm, rate, RATE) / 32768


def hum(random: np.random.Generator) -> Samples:
    """A closed mouth: pitch, one strong formant about 300 Hz and two faint ones."""
    length = int(RATE * random.uniform(0.2, 0.7))
    drift = np.cumsum(random.normal(0, 0.0006, length))
    glide = random.uniform(-0.25, 0.25) * np.linspace(0, 1, length)
    phase = np.cumsum(random.uniform(85, 280) * np.exp(drift + glide)) / RATE
    formants = (
        (random.uniform(220, 350), 80, 0),
        (random.uniform(900, 1200), 150, -random.uniform(14, 30)),
        (random.uniform(2000, 2600), 200, -random.uniform(20, 38)),
    )
    pitch = np.gradient(phase) * RATE
    tilt = random.uniform(0.4, 0.8)
    sound = np.zeros(length)
    for harmonic in range(1, 30):
        hz = pitch * harmonic
        gains = [10 ** (db / 20) / (1 + ((hz - at) / width) ** 2) for at, width, db in formants]
        audible = np.where(hz < 3800, np.sum(gains, axis=0) / harmonic**tilt, 0)
        sound += audible * np.sin(2 * np.pi * (harmonic * phase + random.random()))
    seconds = np.arange(length) / RATE
    sound *= np.minimum(seconds / random.uniform(0.02, 0.08), 1)
    sound *= np.minimum(seconds[::-1] / 0.1, 1)
    return sound / np.abs(sound).max() * 0.5


def judged(sounds: list[Sound]) -> Windows:
    """Windows of several versions of each sound, as the hotline would hear them."""
    random = np.random.default_rng(SEED)
    prompt = np.concatenate([each.samples for each in sounds if each.voice == "zf_xiaoxiao"])
    size = RATE * WINDOW_MS // 1000
    seen: list[Samples] = []
    words: list[bool] = []
    voices: list[str] = []
    for kind, voice, samples in sounds:
        for version in range(VERSIONS[kind]):
            heard, length = on_the_line(samples, prompt, random, changed=version > 0)
            first = BEFORE + size * 2 // 5 + int(random.integers(size // 4))
            for end in range(first, BEFORE + length, size // 4):
                window = heard[end - size : end].astype(np.float64)
                seen.append(features(window, pitch_of_halves(window, RATE), RATE))
                words.append(kind == "words")
                voices.append(voice)
    return Windows(np.array(seen), np.array(words), np.array(voices))


def on_the_line(
    samples: Samples, prompt: Samples, random: np.random.Generator, *, changed: bool
) -> tuple[Pcm, int]:
    """The sound after BEFORE samples of line, and how long it is."""
    if changed:
        at = np.arange(0, len(samples) - 1, random.uniform(0.85, 1.2))
        samples = np.interp(at, np.arange(len(samples)), samples)
    if random.random() < 0.5:
        samples = telephone_band(samples, RATE)
    samples = samples / np.abs(samples).max() * random.uniform(0.09, 0.6)
    samples = from_onset((samples * 32767).astype(np.int16))[:LONGEST] / 32768
    heard = np.pad(samples, (BEFORE, RATE // 10))
    heard += random.normal(0, 10 ** random.uniform(0.5, 2.2), len(heard)) / 32768
    if random.random() < 0.4:
        start = int(random.integers(len(prompt) - len(heard)))
        heard += prompt[start : start + len(heard)] * random.uniform(0.03, 0.12)
    return coded(heard, RATE, "alaw"), len(samples)


def trained(windows: Windows) -> Network:
    """Adam (Kingma and Ba, 2015) on the cross-entropy, both classes of the same weight."""
    random = np.random.default_rng(SEED)
    mean, deviation = windows.seen.mean(axis=0), windows.seen.std(axis=0) + 1e-3
    inputs, wanted = (windows.seen - mean) / deviation, windows.words.astype(np.float64)
    share = wanted.mean()
    weights = np.where(windows.words, 0.5 / share, 0.5 / (1 - share))
    width = inputs.shape[1]
    layers = [
        random.normal(0, width**-0.5, (width, HIDDEN)),
        np.zeros(HIDDEN),
        random.normal(0, HIDDEN**-0.5, HIDDEN),
        np.zeros(1),
    ]
    first = [np.zeros_like(each) for each in layers]
    second = [np.zeros_like(each) for each in layers]
    step = 0
    for epoch in range(EPOCHS):
        order = random.permutation(len(inputs))
        rate = 1.5e-3 * (1 + np.cos(np.pi * epoch / EPOCHS)) + 1e-5
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            seen = inputs[chosen]
            units = np.tanh(seen @ layers[0] + layers[1])
            said = 1 / (1 + np.exp(-(units @ layers[2] + layers[3])))
            error = (said - wanted[chosen]) * weights[chosen] / len(chosen)
            back = np.outer(error, layers[2]) * (1 - units**2)
            slopes = (
                seen.T @ back + DECAY * layers[0],
                back.sum(axis=0),
                units.T @ error + DECAY * layers[2],
                np.array([error.sum()]),
            )
            step += 1
            for place, slope in enumerate(slopes):
                first[place] = 0.9 * first[place] + 0.1 * slope
                second[place] = 0.999 * second[place] + 0.001 * slope**2
                mean_slope = first[place] / (1 - 0.9**step)
                size = np.sqrt(second[place] / (1 - 0.999**step))
                layers[place] = layers[place] - rate * mean_slope / (size + 1e-8)
    return Network(mean, deviation, *layers)


if __name__ == "__main__":
    main()
