"""Guards what may silence the hotline: a caller's voice at once, and nothing else that sounds."""

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from assistant.barge_in import (
    ECHO_MS,
    HUM_MS,
    PITCH_HZ,
    WINDOW_MS,
    BargeInGate,
    features,
    is_echo,
    pitch,
)
from assistant.bench_interrupt import callers, cough, from_onset
from assistant.channels.channel import FRAME_MS, Pcm
from assistant.settings import ROOT, Turns
from assistant.speech.resample import resample
from assistant.speech.vad import CHUNK_MS, Vad
from assistant.telephone_line import carried

RATE = 8000
WINDOW = RATE * WINDOW_MS // 1000
PAST = RATE * (WINDOW_MS + ECHO_MS) // 1000
BEFORE = RATE * 3 // 4


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


def reaction_ms(
    heard: Pcm, sent: Pcm | None = None, rate: int = RATE, threshold: float | None = None
) -> float | None:
    """When the gate lets something through, fed as in a call; None: it never does.

    After BEFORE samples at RATE, in which there is only the line.
    """
    sent = np.zeros(len(heard), np.int16) if sent is None else sent
    gate = BargeInGate(rate, threshold or Turns().barge_in_threshold)
    detector, frame = Vad(rate), rate * FRAME_MS // 1000
    window, past = rate * WINDOW_MS // 1000, rate * (WINDOW_MS + ECHO_MS) // 1000
    chunks = 0
    for end in range(frame, len(heard) + 1, frame):
        for voice in detector.accept(heard[end - frame : end]):
            chunks += 1
            latest, before = heard[max(0, end - window) : end], sent[max(0, end - past) : end]
            if gate.accept(latest, before, voice):
                return chunks * CHUNK_MS - BEFORE * 1000 / RATE
    return None


def after_a_while(sound: Pcm, seed: int = 1) -> Pcm:
    """The sound on a line that was quiet before."""
    random = np.random.default_rng(seed)
    padded = np.pad(sound[: RATE * 3 // 2].astype(np.float64), (BEFORE, RATE // 4))
    return line(padded + random.normal(0, 12, len(padded)))


def test_a_caller_stops_the_hotline_within_a_syllable() -> None:
    reactions = [reaction_ms(after_a_while(caller)) for caller in callers()]
    assert len(reactions) > 20
    assert None not in reactions
    known = [each for each in reactions if each is not None]
    assert min(known) >= 0
    assert np.median(known) <= 100
    assert np.percentile(known, 90) <= 200


@pytest.mark.parametrize("number", [1, 3, 12, 21, 30])
def test_a_caller_stops_the_hotline_over_its_echo(number: int) -> None:
    caller, prompt = after_a_while(from_onset(recorded(number))), np.resize(recorded(14), 20_000)
    sent = prompt[: len(caller)]
    echo = np.concatenate([np.zeros(800), sent[:-800] * 0.1])
    reaction = reaction_ms(line(caller + echo), sent)
    assert reaction is not None
    assert 0 <= reaction <= 450


def test_a_caller_is_known_on_a_microphone_too() -> None:
    for number in (1, 12, 30):
        heard = resample(after_a_while(from_onset(recorded(number))), RATE, 16_000)
        reaction = reaction_ms(heard, rate=16_000)
        assert reaction is not None
        assert 0 <= reaction <= 200


@pytest.mark.parametrize("level_db", [-10, -14, -20, -30])
@pytest.mark.parametrize("delay_ms", [20, 150, 400])
def test_what_comes_back_from_the_line_is_an_echo(level_db: int, delay_ms: int) -> None:
    prompt, delay = recorded(21), RATE * delay_ms // 1000
    returned = np.concatenate([np.zeros(delay), prompt[: len(prompt) - delay]])
    returned = returned * 10 ** (level_db / 20)
    noise = np.random.default_rng(3).normal(size=len(prompt)) * 15
    heard = line(returned + noise)
    ends = loud_windows(prompt)
    echoes = [is_echo(heard[end - WINDOW : end], prompt[end - PAST : end]) for end in ends]
    assert len(ends) > 5
    assert sum(not each for each in echoes) <= len(ends) // 20
    assert reaction_ms(heard, prompt) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_cough_does_not_stop_the_hotline(seed: int) -> None:
    assert reaction_ms(after_a_while(cough(seed))) is None


def hum(pitch_hz: int, length_ms: int) -> Pcm:
    """A closed mouth."""
    time = np.arange(RATE * length_ms // 1000) / RATE
    partials = [np.sin(2 * np.pi * pitch_hz * k * time) * 4.0**-k for k in range(1, 8)]
    rises = np.minimum(time / 0.04, 1) * np.minimum(time[::-1] / 0.06, 1)
    sound: Pcm = (np.sum(partials, axis=0) * rises * 20000).astype(np.int16)
    return sound


@pytest.mark.parametrize("pitch_hz", [110, 160, 230])
def test_a_hum_does_not_stop_the_hotline(pitch_hz: int) -> None:
    assert reaction_ms(after_a_while(hum(pitch_hz, 350))) is None


def certain_hum(gate: BargeInGate, chunks: int) -> list[bool]:
    """What the gate makes of chunks of a steady tone that the detector takes for a voice."""
    tone = hum(160, 2000)
    window = tone[RATE // 2 : RATE // 2 + WINDOW]
    return [gate.accept(window, np.zeros(PAST, np.int16), 0.9) for _ in range(chunks)]


def test_who_hums_for_long_wants_the_floor() -> None:
    gate = BargeInGate(RATE, 0.999)
    passed = certain_hum(gate, HUM_MS // CHUNK_MS + 1)
    assert passed == [False] * (HUM_MS // CHUNK_MS) + [True]


def test_one_hum_after_the_other_is_no_long_one() -> None:
    gate = BargeInGate(RATE, 0.999)
    quiet = np.zeros(WINDOW, np.int16)
    for _ in range(5):
        assert not any(certain_hum(gate, 10))
        for _ in range(10):
            assert not gate.accept(quiet, np.zeros(PAST, np.int16), 0.0)


def test_what_was_before_the_prompt_is_forgotten() -> None:
    gate = BargeInGate(RATE, 0.999)
    certain_hum(gate, 10)
    gate.restart()
    assert not any(certain_hum(gate, HUM_MS // CHUNK_MS))


def test_silence_is_no_voice() -> None:
    for samples in (np.zeros(WINDOW, np.int16), np.zeros(0, np.int16), np.zeros(7, np.int16)):
        gate = BargeInGate(RATE, 0.8)
        assert not gate.accept(samples, np.zeros(PAST, np.int16), 0.0)


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_a_tone_is_seen_alike_at_every_rate(rate: int) -> None:
    time = np.arange(rate * 64 // 1000) / rate
    tone = (8000 * np.sin(2 * np.pi * 200 * time)).astype(np.int16)
    seen, found = features(tone, 0.5, rate)
    eight, _ = features(tone[:: rate // RATE], 0.5, RATE)
    assert found.period_s == pytest.approx(1 / 200, rel=0.03)
    assert np.abs(seen - eight)[[1, 17]].max() < 0.1  # the band with the tone, in both spectra


def test_what_is_too_short_has_no_pitch() -> None:
    assert pitch(np.ones(RATE // PITCH_HZ[0]), RATE).likeness == 0.0
