"""Guards numbers joined from units: every amount, date and count falls into declared units, the
joins are smooth, nothing of a caller reaches the disk, and what is missing is synthesised.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from assistant.channels.channel import Pcm
from assistant.setup import words_around_numbers
from assistant.speech.composing import parts
from assistant.speech.number_units import NUMBER, carriers, setup_carriers, units
from assistant.speech.number_voice import NumberVoice
from assistant.speech.prompts import PromptCache
from assistant.speech.spoken import spoken
from assistant.speech.synthesizer import SynthesisError
from assistant.speech.unit_selection import LEVEL, Aligned, Inventory

RATE = 8000
SYLLABLE = 1600
PAUSES_MS = {"，": 140}
DECLARED = {unit for carrier in carriers() for unit in units(carrier.rstrip("。"))}


class Hummer:
    """Stands for an engine: each syllable hums its own vowel, at a pitch that drifts, and all
    syllables end in the same one. What is tested is the joining, not the voice.
    """

    def __init__(self) -> None:
        self.rendered: list[str] = []

    def render(self, number: str, speed: float) -> Aligned:
        self.rendered.append(number)
        characters = number.rstrip("。")
        length = SYLLABLE * len(characters)
        time = np.arange(length) / RATE
        pitch = 200 + 20 * np.sin(2 * np.pi * 0.7 * time + len(self.rendered))
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        colour = np.concatenate([np.full(SYLLABLE, ord(c) % 5) for c in characters])
        colour[np.arange(length) % SYLLABLE > SYLLABLE // 2] = 0
        colour = np.convolve(colour, np.full(160, 1 / 160), "same")
        swell = np.clip(np.minimum(np.arange(length), np.arange(length)[::-1]) / 160, 0, 1)
        hum = swell * (3000 * np.sin(phase) + 300 * colour * np.sin(2 * phase))
        quiet = np.zeros(RATE // 5)
        steady = len(quiet) + SYLLABLE * np.arange(1, len(characters) + 1) - SYLLABLE // 4
        return Aligned(np.concatenate([quiet, hum, quiet]).astype(np.int16), steady)


class Engine:
    """A synthesiser that remembers what it was asked for."""

    name = "engine"
    voice = "one"
    rate = RATE

    def __init__(self) -> None:
        self.spoken: list[str] = []

    async def speak(self, text: str, speed: float = 1.0) -> AsyncIterator[Pcm]:
        self.spoken.append(text)
        yield np.full(len(text) * SYLLABLE, 1000, np.int16)


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    """Every declared carrier, hummed."""
    found, hummer = Inventory(RATE), Hummer()
    for carrier in carriers():
        found.add(carrier, hummer.render(carrier, 1.0))
    return found


def _numbers(count: int) -> list[str]:
    """Spoken amounts of every size, with and without decimals, then dates and counts."""
    dice = random.Random(7)
    written = ["0.01元", "9999999.99元", "10元", "2元", "0.20元", "100000元", "1000001元"]
    for _ in range(count):
        amount = 10 ** dice.uniform(-2, 7)
        written.append(f"{amount:.{dice.choice((0, 2, 2))}f}元" if amount >= 1 else "0.35元")
        written.append(f"{dice.randint(1, 999)}{dice.choice(('个月', '笔'))}")
        written.append(
            f"{dice.randint(1950, 2040)}年{dice.randint(1, 12)}月{dice.randint(1, 31)}日"
        )
        written.append(f"{dice.randint(2020, 2031)}年{dice.randint(1, 12)}月")
    return [spoken(text) for text in written]


def test_every_number_is_made_of_declared_units() -> None:
    for number in _numbers(300):
        assert NUMBER.fullmatch(number), number
        found = units(number)
        assert "".join(unit.text for unit in found) == number
        assert set(found) <= DECLARED, number


def test_carriers_are_few_and_set_up_renders_a_part() -> None:
    assert len(carriers()) < 400
    assert len(setup_carriers()) < 120
    assert set(setup_carriers()) < set(carriers())
    assert all(units(carrier.rstrip("。")) for carrier in carriers())


@pytest.mark.parametrize("number", _numbers(5))
def test_a_number_is_joined_without_clicks_at_one_level(inventory: Inventory, number: str) -> None:
    pcm = inventory.say(number)
    assert pcm is not None
    sound = pcm.astype(float)
    assert abs(len(pcm) / SYLLABLE - len(number)) < 0.05 * len(number) + 1
    # what the hum itself moves from sample to sample; a broken phase is several thousand
    assert np.abs(np.diff(sound)).max() < 2250
    assert 0.7 * LEVEL < np.sqrt(np.mean(sound**2)) < 1.2 * LEVEL
    assert abs(sound[0]) < 50
    assert abs(sound[-1]) < 50


def test_a_missing_unit_is_no_number() -> None:
    inventory = Inventory(RATE)
    inventory.add("三元。", Hummer().render("三元。", 1.0))
    assert inventory.say("三元") is not None
    assert inventory.say("四元") is None
    assert inventory.say("四斤") is None


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("一共有五元四角。", ["一共有", "五元四角"]),
        ("每月有三百元进您的账户，", ["每月有", "三百元", "进您的账户"]),
        ("二零二六年三月到二零二六年五月，", []),
        ("您个人一共缴了钱。", []),
    ],
)
def test_a_clause_falls_into_words_and_numbers(clause: str, expected: list[str]) -> None:
    assert [part.text for part in parts(clause)] == expected


def _cache(home: Path, engine: Engine, hummer: Hummer) -> PromptCache:
    return PromptCache(
        engine, home, numbers=NumberVoice(home, b"one", RATE, PAUSES_MS, lambda: hummer)
    )


async def _hear(cache: PromptCache, text: str, speed: float = 1.0) -> Pcm:
    return np.concatenate([pcm async for pcm in cache.speak(text, speed)])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What set-up leaves on disk."""

    async def render() -> None:
        cache = _cache(folder, Engine(), Hummer())
        assert cache.numbers is not None
        await cache.render(words_around_numbers())
        await cache.numbers.render(setup_carriers())

    folder = tmp_path_factory.mktemp("prompts")
    asyncio.run(render())
    return folder


def _files(home: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in home.iterdir()}


async def test_a_balance_needs_no_synthesis_and_leaves_nothing_on_disk(home: Path) -> None:
    before = _files(home)
    engine = Engine()
    heard = await _hear(_cache(home, engine, Hummer()), "其中本金46000元，利息12214.36元。")
    assert engine.spoken == []
    assert len(heard) > 25 * SYLLABLE
    assert _files(home) == before


async def test_only_the_clause_that_is_not_fixed_is_synthesised(home: Path) -> None:
    engine = Engine()
    await _hear(_cache(home, engine, Hummer()), "您每月养老金3200元，王先生，利息80元。")
    assert engine.spoken == ["王先生，"]


async def test_words_play_while_a_number_that_is_not_rendered_is_synthesised(
    tmp_path: Path,
) -> None:
    engine = Engine()
    cache = _cache(tmp_path, engine, Hummer())
    await cache.render(words_around_numbers())
    engine.spoken.clear()
    heard = cache.speak("其中本金46000元。")
    await anext(heard)
    assert engine.spoken == []
    async for _ in heard:
        pass
    assert engine.spoken == ["四万六千元。"]


async def test_where_nothing_is_rendered_the_engine_speaks(tmp_path: Path, home: Path) -> None:
    for folder, speed in ((tmp_path, 1.0), (home, 0.8)):
        engine = Engine()
        sentence = "其中本金46000元，利息120元。"
        await _hear(_cache(folder, engine, Hummer()), sentence, speed)
        assert engine.spoken == [sentence]


async def test_carriers_are_rendered_once_and_a_damaged_one_again(tmp_path: Path) -> None:
    hummer = Hummer()
    voice = NumberVoice(tmp_path, b"one", RATE, PAUSES_MS, lambda: hummer)
    assert await voice.render(["三元。", "四元。"]) == 2
    assert await voice.render(["三元。", "四元。"]) == 0
    next(iter(_files(tmp_path))).write_bytes(b"noise")
    later = NumberVoice(tmp_path, b"one", RATE, PAUSES_MS, lambda: hummer)
    assert None in [later.say("三元", 1.0), later.say("四元", 1.0)]
    assert await later.render(["三元。", "四元。"]) == 1


async def test_what_the_engine_or_the_disk_refuses_is_left_out(tmp_path: Path) -> None:
    class Mute(Hummer):
        def render(self, number: str, speed: float) -> Aligned:
            raise SynthesisError("out of tune")

    mute = NumberVoice(tmp_path, b"one", RATE, PAUSES_MS, Mute)
    await mute.render(["三元。"])
    assert await asyncio.to_thread(mute.say, "三元", 1.0) is None
    (tmp_path / "file").write_text("in the way of the folder")
    stuck = NumberVoice(tmp_path / "file", b"one", RATE, PAUSES_MS, Hummer)
    assert await stuck.render(["三元。"]) == 0
