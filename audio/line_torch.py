"""Telephones, rooms and noise in PyTorch: what is said comes over another line every time.

As assistant/telephone_line.py has a line, and worse ones, for a batch at once and on a GPU where
there is one.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from whisper_torch import DEVICE

from assistant.channels.channel import Pcm
from assistant.telephone_line import BAND_HZ

RATE = 16_000
"""Hz; what Whisper hears."""
WIRE = RATE // 2
"""Hz of G.711."""
_PACKET = WIRE // 50
_FRAME = RATE // 50


class Sounds:
    """Recordings, end to end in the memory of the device."""

    def __init__(self, recordings: Sequence[Pcm]) -> None:
        """Mono at RATE."""
        lengths = np.array([len(each) for each in recordings])
        self.lengths = torch.tensor(lengths, device=DEVICE)
        self._starts = torch.tensor(np.cumsum(lengths) - lengths, device=DEVICE)
        self._pcm = torch.from_numpy(np.concatenate(recordings)).to(DEVICE)

    def at(self, numbers: Tensor, places: Tensor) -> Tensor:
        """Samples [B, T] of the recordings `numbers` [B] at `places` [B, T], between two samples
        where need be; silence before and after."""
        ends = self.lengths[numbers][:, None]
        below = places.floor().long()
        part = places - below

        def sample(place: Tensor) -> Tensor:
            stored = self._starts[numbers][:, None] + place.clamp(min=0)
            found = self._pcm[stored.clamp(max=len(self._pcm) - 1)] / 32768
            return torch.where((place >= 0) & (place < ends), found, 0.0)

        return sample(below) * (1 - part) + sample(below + 1) * part


def over_a_line(sounds: Sounds, first: Tensor, second: Tensor) -> Tensor:
    """Callers on some telephones, [B, T] at RATE, with digital silence after each.

    `first` [B] are the numbers of what they say, `second` [B] of what they say after it, -1 for
    nothing.
    """
    sound, lengths = _spoken(sounds, first, second)
    size = sound.shape[1]
    hz = torch.fft.rfftfreq(size, 1 / RATE, device=DEVICE)[None]
    sound = torch.fft.irfft(torch.fft.rfft(sound) * _room(len(sound), size) * _colour(hz, first))
    by_wire = _one_in(len(sound), 0.88)
    band = torch.where(by_wire[:, None], _band(hz, len(sound)), 1.0)
    sound = torch.fft.irfft(torch.fft.rfft(sound) * band)
    sound = sound * (10 ** (_between(len(sound), -36, -14) / 20) / _level(sound))[:, None]
    behind = torch.where(
        _one_in(len(sound), 0.55)[:, None], _babble(sounds, sound), _noise(hz, sound)
    )
    behind = torch.fft.irfft(torch.fft.rfft(behind) * band)
    below = 10 ** (-_between(len(sound), 1, 28) / 20) * _one_in(len(sound), 0.7)
    loudness = behind.square().mean(1).sqrt().clamp(min=1e-9)
    sound = sound + behind * (below * _level(sound) / loudness)[:, None]
    sound = torch.where(by_wire[:, None], _over_the_wire(sound, hz), sound)
    sound = (sound.clamp(-1, 1) * 32767).round() / 32768
    return sound * (torch.arange(size, device=DEVICE)[None] < lengths[:, None])


def _between(count: int, low: float, high: float) -> Tensor:
    return torch.rand(count, device=DEVICE) * (high - low) + low


def _one_in(count: int, share: float) -> Tensor:
    return torch.rand(count, device=DEVICE) < share


def _spoken(sounds: Sounds, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """What is said, by some at another pitch, some pausing; and how long each takes."""
    count = len(first)
    speed = torch.where(_one_in(count, 0.5), _between(count, 0.93, 1.07), 1.0)
    lead, tail = (_between(count, 0.02, 0.32) * RATE for _ in range(2))
    pause = torch.where(_one_in(count, 0.12), _between(count, 0.15, 0.7) * RATE, 0.0)
    breath = _between(count, 0.1, 0.6) * RATE
    goes_on = second >= 0
    length, more = sounds.lengths[first] / speed, sounds.lengths[second.clamp(min=0)] / speed
    total = (lead + length + pause + goes_on * (breath + more) + tail).long()
    size = int(total.max())
    size += -size % (2 * _FRAME)
    time = torch.arange(size, device=DEVICE)[None] - lead[:, None]
    from_pause = _quietest(sounds, first)[:, None] / speed[:, None]
    pausing = (time >= from_pause) & (time < from_pause + pause[:, None])
    spoken_at = torch.where(time < from_pause, time, time - pause[:, None])
    sound = sounds.at(first, spoken_at * speed[:, None]).masked_fill(pausing, 0.0)
    after = (time - (length + pause + breath)[:, None]) * speed[:, None]
    return sound + goes_on[:, None] * sounds.at(second.clamp(min=0), after), total


def _quietest(sounds: Sounds, numbers: Tensor) -> Tensor:
    """The quietest 40 ms of each one's middle: nobody pauses inside a syllable."""
    share = torch.linspace(0.15, 0.85, 200, device=DEVICE)
    places = share[None] * sounds.lengths[numbers][:, None]
    around = places[:, :, None] + torch.arange(0, 2 * _FRAME, 16, device=DEVICE)
    power = sounds.at(numbers, around.flatten(1)).square().view(len(numbers), 200, -1).mean(2)
    return places.gather(1, power.argmin(1, keepdim=True))[:, 0]


def _room(count: int, size: int) -> Tensor:
    """The echoes of walls, for some; as a spectrum."""
    length = (_between(count, 0.06, 0.45) * RATE)[:, None]
    time = torch.arange(size, device=DEVICE)[None]
    walls = torch.randn(count, size, device=DEVICE) * torch.exp(-6.9 * time / length)
    walls = walls * (time < length)
    walls = walls * (_between(count, 0.1, 0.7) / walls.norm(dim=1).clamp(min=1e-6))[:, None]
    walls[:, 0] += 1
    return torch.where(_one_in(count, 0.3)[:, None], torch.fft.rfft(walls), 1.0 + 0j)


def _colour(hz: Tensor, callers: Tensor) -> Tensor:
    """As some microphone would have it: a tilt and two resonances, for most."""
    count = len(callers)
    gain_db = _between(count, -3, 3)[:, None] * torch.log2(hz.clamp(min=100) / 1000)
    for _ in range(2):
        gain_db = gain_db + _between(count, -5, 5)[:, None] * _bell(hz, count, 300, 150, 900)
    return torch.where(_one_in(count, 0.65)[:, None], 10 ** (gain_db / 20), 1.0)


def _bell(hz: Tensor, count: int, lowest: float, narrow: float, wide: float) -> Tensor:
    middle, width = _between(count, lowest, 3200)[:, None], _between(count, narrow, wide)[:, None]
    return torch.exp(-(((hz - middle) / width) ** 2))


def _band(hz: Tensor, count: int) -> Tensor:
    """What the network passes; some pass more or less than the others."""
    other = _one_in(count, 0.4)
    low = torch.where(other, _between(count, 60, 420), float(BAND_HZ[0]))[:, None]
    high = torch.where(other, _between(count, 2800, 3700), float(BAND_HZ[1]))[:, None]
    return ((hz - low) / 100 + 1).clamp(0, 1) * ((high - hz) / 100 + 1).clamp(0, 1)


def _level(sound: Tensor) -> Tensor:
    """As telephone_line.level(): pauses do not count; [B]."""
    power = sound.view(len(sound), -1, _FRAME).square().mean(2)
    loud = power > power.amax(1, keepdim=True) / 1000
    return ((power * loud).sum(1) / loud.sum(1).clamp(min=1)).sqrt().clamp(min=1e-6)


def _noise(hz: Tensor, sound: Tensor) -> Tensor:
    """From white to brown, some with a machine's resonance, some swelling."""
    count, size = sound.shape
    steps = torch.arange(1, hz.shape[1] + 1, device=DEVICE)[None]
    spectrum = torch.fft.rfft(torch.randn(count, size, device=DEVICE))
    spectrum = spectrum / steps ** _between(count, 0, 1)[:, None]
    gain_db = _between(count, 5, 15)[:, None] * _bell(hz, count, 100, 100, 600)
    spectrum = spectrum * torch.where(_one_in(count, 0.3)[:, None], 10 ** (gain_db / 20), 1.0)
    time = torch.arange(size, device=DEVICE)[None] / RATE
    turns = _between(count, 0.2, 3)[:, None] * time + _between(count, 0, 1)[:, None]
    swelling = 1 + 0.8 * torch.sin(2 * math.pi * turns)
    steady = torch.fft.irfft(spectrum, size)
    return steady * torch.where(_one_in(count, 0.3)[:, None], swelling, 1.0)


def _babble(sounds: Sounds, sound: Tensor) -> Tensor:
    """Two to seven others at once."""
    count, size = sound.shape
    talkers = torch.randint(2, 8, (count,), device=DEVICE)
    time = torch.arange(size, device=DEVICE)[None]
    babble = torch.zeros_like(sound)
    for talker in range(7):
        other = torch.randint(len(sounds.lengths), (count,), device=DEVICE)
        length = sounds.lengths[other][:, None]
        place = (time + _between(count, 0, 1)[:, None] * length) % length
        babble += sounds.at(other, place) * (talker < talkers)[:, None]
    return babble


def _over_the_wire(sound: Tensor, hz: Tensor) -> Tensor:
    """G.711 and, for some, lost packets; `sound` is in the telephone band already."""
    wire = sound[:, :: RATE // WIRE]
    wire = torch.where(_one_in(len(wire), 0.65)[:, None], _alaw(wire), _ulaw(wire))
    packets = torch.rand(len(wire), wire.shape[1] // _PACKET, device=DEVICE) < 0.04
    lost = packets & _one_in(len(wire), 0.1)[:, None]
    wire = wire.masked_fill(lost.repeat_interleave(_PACKET, 1), 0.0)
    heard = torch.zeros_like(sound)
    heard[:, :: RATE // WIRE] = wire * (RATE // WIRE)
    smooth = ((WIRE // 2 - hz) / 100).clamp(0, 1)
    return torch.fft.irfft(torch.fft.rfft(heard) * smooth, sound.shape[1])


def _alaw(sound: Tensor) -> Tensor:
    """Through eight bits of A-law and back, ITU-T G.711: its curve, without the segments."""
    a = 87.6
    whole = 1 + math.log(a)
    size = sound.abs().clamp(max=1)
    bent = torch.where(size < 1 / a, a * size, 1 + torch.log((a * size).clamp(min=1)))
    step = (torch.floor(bent / whole * 128).clamp(max=127) + 0.5) / 128 * whole
    return sound.sign() * torch.where(step < 1, step / a, torch.exp(step - 1) / a)


def _ulaw(sound: Tensor) -> Tensor:
    """Through eight bits of µ-law and back, ITU-T G.711: its curve, without the segments."""
    mu = 255.0
    bent = torch.log1p(mu * sound.abs().clamp(max=1)) / math.log1p(mu)
    return sound.sign() * ((1 + mu) ** (torch.round(bent * 127) / 127) - 1) / mu


def log_mel(sound: Tensor, filters: Tensor) -> Tensor:
    """What Whisper takes, [B, 80, T / 160], of `sound` [B, T] at RATE; `filters` are [80, 201].

    As faster_whisper's FeatureExtractor computes it.
    """
    window = torch.hann_window(400, device=DEVICE)
    spectrum = torch.stft(sound, 400, 160, window=window, return_complex=True)[..., :-1]
    mel = (filters @ spectrum.abs().square()).clamp(min=1e-10).log10()
    mel = torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8)
    return (mel + 4) / 4


def masked(features: Tensor) -> Tensor:
    """Without some bands and some moments (SpecAugment, Park et al. 2019, arXiv:1904.08779)."""
    count, bands, length = features.shape
    time = torch.arange(length, device=DEVICE)[None]
    band = torch.arange(bands, device=DEVICE)[None]
    begin, lowest = _between(count, 0, 0.8 * length)[:, None], _between(count, 0, bands)[:, None]
    gone = (time >= begin) & (time < begin + _between(count, 0, 20)[:, None])
    silent = (band >= lowest) & (band < lowest + _between(count, 0, 12)[:, None])
    floor = features.amin((1, 2), keepdim=True)
    return torch.where(gone[:, None, :] | silent[:, :, None], floor, features)


def padded(sound: Tensor, seconds: float) -> Tensor:
    """With silence after it."""
    return functional.pad(sound, (0, round(seconds * RATE)))
