"""Guards what may silence the hotline: a caller's voice at once, and nothing else that sounds."""

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from assistant.barge_in import (
    ECHO_MS,
    HUM_MS,
    WINDOW_MS,
    BargeInGate,
    Sound,
    sound,
)
from assistant.channels.channel import Pcm
from assistant.settings import ROOT
from assistant.telephone_line import carried

RATE = 8000
WINDOW = RATE * WINDOW_MS // 1000
PAST = RATE * (WINDOW_MS + ECHO_MS) // 1000
NOTHING: Pcm = np.zeros(PAST, np.int16)


def recorded(number: int) -> Pcm:
    pcm, rate = soundfile.read(ROOT / "audio" / "callers" / f"{number:02d}.wav", dtype="int16")
    assert rate == RATE
    voice: Pcm = pcm
    return voice


def loud_windows(pcm: Pcm) -> list[int]:
    """Where the windows end in which somebody speaks aloud."""
    ends = range(PAST, len(pcm), WINDOW)
    power = {end: float(np.mean(pcm[end - WINDOW : end].astype(np.float64) ** 2)) for end in ends}
    return [end for end in ends if power[end] > max(power.values()) / 10]


def line(samples: NDArray[np.float64]) -> Pcm:
    return carried(samples / 32768, RATE, "alaw")


@pytest.mark.parametrize("number", [1, 3, 12, 21, 30])
def test_a_caller_is_a_voice_also_over_a_prompt_and_its_echo(number: int) -> None:
    caller, prompt = recorded(number), np.resize(recorded(14), 200_000)
    ends = loud_windows(caller)
    sounds = []
    for end in ends:
        echo = prompt[end - WINDOW : end] * 0.1
        heard = line(caller[end - WINDOW : end] + echo)
        sounds.append(sound(heard, prompt[end - PAST + 800 : end + 800], RATE))
    assert len(ends) > 5
    words = sum(each.words > 0 for each in sounds)
    assert words >= 0.6 * len(ends)
    assert sum(each.echo for each in sounds) <= 0.15 * len(ends)


@pytest.mark.parametrize("level_db", [-10, -14, -20, -30])
@pytest.mark.parametrize("delay_ms", [20, 150, 400])
def test_what_comes_back_from_the_line_is_an_echo(level_db: int, delay_ms: int) -> None:
    prompt, delay = recorded(21), RATE * delay_ms // 1000
    returned = np.concatenate([np.zeros(delay), prompt[: len(prompt) - delay]])
    returned = returned * 10 ** (level_db / 20)
    noise = np.random.default_rng(3).normal(size=len(prompt)) * 15
    heard = line(returned + noise)
    sounds = [
        sound(heard[end - WINDOW : end], prompt[end - PAST : end], RATE)
        for end in loud_windows(prompt)
    ]
    assert len(sounds) > 5
    assert sum(not each.echo for each in sounds) <= len(sounds) // 20


@pytest.mark.parametrize("seed", range(20))
def test_a_cough_has_no_pitch_and_is_no_word(seed: int) -> None:
    random = np.random.default_rng(seed)
    spectrum = np.fft.rfft(random.normal(size=WINDOW))
    hz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    burst = np.fft.irfft(spectrum / (1 + ((hz - random.uniform(400, 1500)) / 600) ** 2), WINDOW)
    heard = sound(line(burst / np.abs(burst).max() * 15000), NOTHING, RATE)
    assert not heard.pitched
    assert heard.words < 0


@pytest.mark.parametrize("pitch_hz", [110, 160, 230])
def test_a_hum_has_a_pitch_and_is_no_word(pitch_hz: int) -> None:
    time = np.arange(WINDOW) / RATE
    partials = [np.sin(2 * np.pi * pitch_hz * k * time) * 4.0**-k for k in range(1, 8)]
    hum = (np.sum(partials, axis=0) * 20000).astype(np.int16)
    heard = sound(hum, NOTHING, RATE)
    assert heard.pitched
    assert heard.words < 0


def test_silence_is_no_voice() -> None:
    for samples in (np.zeros(WINDOW, np.int16), np.zeros(0, np.int16)):
        assert not BargeInGate().accept(sound(samples, NOTHING[: len(samples)], RATE), 32)


WORDS = Sound(echo=False, pitched=True, words=3.0)
HUM = Sound(echo=False, pitched=True, words=-2.0)
COUGH = Sound(echo=False, pitched=False, words=-2.0)
ECHO = Sound(echo=True)


@pytest.mark.parametrize(
    ("heard", "passes"),
    [
        ([WORDS], True),
        ([ECHO], False),
        ([COUGH], False),
        ([COUGH] * 30, False),
        ([HUM] * (HUM_MS // 32), False),
        ([HUM] * (HUM_MS // 32 + 1), True),
        ([WORDS, COUGH], False),
        ([WORDS, WORDS, COUGH], True),
        ([HUM, HUM, WORDS], False),
        ([HUM, HUM, WORDS, WORDS], True),
        ([WORDS, ECHO], False),
    ],
)
def test_what_passes_the_gate(heard: list[Sound], passes: bool) -> None:
    gate = BargeInGate()
    assert [gate.accept(each, 32) for each in heard][-1] is passes


def test_one_hum_after_the_other_is_no_long_one() -> None:
    gate = BargeInGate()
    for _ in range(5):
        assert not any(gate.accept(HUM, 32) for _ in range(10))
        for _ in range(10):
            gate.rest(32)
