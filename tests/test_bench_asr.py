"""Guards the measuring of recognition: texts that nothing was trained on, noise of the stated
ratio, folders read or refused with a reason, and the figures of a report."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from assistant import bench_asr, cli, models
from assistant.asr_corpus import SHARES, YES_NO, Utterance, answers, chosen, read_folder, trained_on
from assistant.bench_asr import Condition, Heard
from assistant.bench_nlu import HELD_OUT, Case, read_cases
from assistant.dialogue import policies
from assistant.settings import ROOT, ConfigError
from assistant.speech.chinese import normalise
from assistant.speech.recognizer import Alternative, Expecting, Transcript
from assistant.telephone_line import Samples, carried, level, mixed, noise, telephone_band

CALLERS = ROOT / "audio" / "callers"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One recorded caller, a second long."""
    pcm, rate = soundfile.read(CALLERS / "47.wav", dtype="int16")
    soundfile.write(tmp_path / "a.flac", np.stack([pcm, pcm], axis=1), rate)
    return tmp_path


def test_nothing_was_trained_on_the_own_corpus() -> None:
    cases = chosen(read_cases(HELD_OUT))
    assert len(cases) == sum(SHARES.values()) >= 120
    texts = [*(case.text for case in cases), *YES_NO]
    assert not [text for text in texts if normalise(text) in trained_on()]


def test_a_text_of_the_training_data_is_refused() -> None:
    card = policies.load()[0]
    ours = Case(card.says[0], card.intent)
    theirs = Case("这句话哪儿都没有写过呢", card.intent)
    assert chosen([ours, theirs]) == [theirs]
    assert normalise("身份证号") in trained_on(), "the language model's phrases count too"


def test_the_corpus_is_the_same_each_time() -> None:
    cases = read_cases(HELD_OUT)
    assert chosen(cases) == chosen(reversed(cases))
    assert answers(7) == answers(7) != answers(8)
    assert {expecting for _, expecting, _ in answers(7)} == {
        "id_number", "pin", "case_number", "amount", "date", "yes_no",
    }  # fmt: skip


@pytest.mark.parametrize("snr_db", [15.0, 5.0])
@pytest.mark.parametrize("babble", [True, False])
def test_the_noise_has_the_ratio_that_was_asked_for(snr_db: float, babble: bool) -> None:
    rate = 8000
    tone: Samples = np.sin(np.arange(2 * rate) * 2 * np.pi * 700 / rate) * 0.1
    speech = np.concatenate([tone, np.zeros(2 * rate)])  # a pause is no part of the level
    random = np.random.default_rng(1)
    others = [random.standard_normal(rate) for _ in range(8)] if babble else []
    sound = telephone_band(noise(len(speech), others, 3), rate)
    added = mixed(speech, sound, snr_db, rate) - speech
    found = 20 * np.log10(level(speech, rate) / np.sqrt(np.mean(added**2)))
    assert found == pytest.approx(snr_db, abs=0.1)


def test_the_codec_compands_and_the_band_is_the_telephones() -> None:
    rate = 8000
    speech: Samples = np.random.default_rng(2).standard_normal(rate) * 0.1
    for codec in ("alaw", "ulaw"):
        heard = carried(speech, rate, codec)
        assert len(np.unique(heard)) <= 256
        spectrum = np.abs(np.fft.rfft(heard / 32768)) ** 2
        assert spectrum[:150].sum() < 0.01 * spectrum[400:3300].sum()
    assert len(np.unique(carried(speech, rate, "none"))) > 1000
    assert not np.array_equal(carried(speech, rate, "alaw"), carried(speech, rate, "ulaw"))


def test_words_stand_beside_a_recording_or_in_one_list(folder: Path) -> None:
    (folder / "a.txt").write_text("对，\n没有错", encoding="utf-8")
    (utterance,) = read_folder(folder, "yes_no")
    assert (utterance.text, utterance.expecting) == ("对， 没有错", "yes_no")
    (folder / "texts.tsv").write_text(
        "# name, words, meaning\na\t养老金怎么算\tbenefit_formula\n", encoding="utf-8"
    )
    (utterance,) = read_folder(folder)
    assert (utterance.text, utterance.meaning) == ("养老金怎么算", "policy/benefit_formula")
    frames = soundfile.info(folder / "a.flac").frames
    assert abs(len(utterance.samples(16_000)) - 2 * frames) <= 2


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "a.flac: what is said is written nowhere; write a.txt"),
        ({"a.txt": " 。\n"}, "a.flac: its text is empty"),
        ({"texts.tsv": "a\t\n"}, "a.flac: its text is empty"),
        ({"texts.tsv": "a 对没有错\n"}, "texts.tsv:1: write the file's name, a tab"),
        ({"texts.tsv": "a\t对\na\t错\n"}, "texts.tsv:2: a stands there twice"),
        ({"texts.tsv": "a\t对\nb\t错\n"}, "no recording for b"),
    ],
)
def test_a_folder_without_words_is_refused_with_the_reason(
    folder: Path, files: dict[str, str], says: str
) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=says.replace(".", r"\.")):
        read_folder(folder)


def test_recordings_that_cannot_be_read_are_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        read_folder(folder / "absent")
    (folder / "empty").mkdir()
    with pytest.raises(ConfigError, match="no recordings in it"):
        read_folder(folder / "empty")
    (folder / "a.txt").write_bytes("对".encode("gbk"))
    with pytest.raises(ConfigError, match=r"a\.txt: cannot be read as UTF-8"):
        read_folder(folder)
    (folder / "a.txt").write_text("对", encoding="utf-8")
    (folder / "a.flac").write_text("no audio")
    with pytest.raises(ConfigError, match="not audio that can be read"):
        read_folder(folder)[0].samples(8000)
    (folder / "a.flac").unlink()
    soundfile.write(folder / "a.wav", np.zeros(0, np.int16), 8000)
    with pytest.raises(ConfigError, match="no sound in it"):
        read_folder(folder)[0].samples(8000)


def heard(
    said: str, before: str, after: str, expecting: Expecting = "free", noise: str = "clean"
) -> Heard:
    transcript = Transcript(after, 0.5, (Alternative(after, 0.5),), before)
    utterance = Utterance("a", said, Path("a.wav"), "zf_xiaoni", expecting)
    return Heard(Condition("whisper", "alaw", noise), utterance, transcript, 2.0, 0.5)


def test_errors_are_counted_before_and_after_the_repair() -> None:
    found = bench_asr.report(
        [
            heard("工伤认定要多久", "工商认定要多久", "工伤认定要多久"),
            heard("一九六三", "1963", "1963"),
            heard("社保卡", "社保", "社保", noise="15dB"),
        ]
    )
    clean, noisy = found["conditions"]
    assert (clean["n"], clean["cer_before"], clean["cer"]) == (2, round(1 / 11, 4), 0)
    assert (noisy["cer"], noisy["understood"], clean["rtf"]) == (0.3333, None, 0.25)
    assert [row["voice"] for row in found["voices"]] == ["zf_xiaoni"] * 2
    lines = bench_asr.table(found).splitlines()
    assert lines[1].split()[:6] == ["whisper", "alaw", "clean", "2", "9.1%", "0.0%"]
    assert lines[-1].split() == ["whisper", "zf_xiaoni", "0.0%", "33.3%"]


@pytest.mark.parametrize(
    ("said", "written", "expecting", "right"),
    [
        ("幺二三四五六", "1 2 3 4 5 6", "pin", True),
        ("幺二三四五六", "一二三四五", "pin", False),
        ("三千五百块", "3500元", "amount", True),
        ("三千五百块", "三千块", "amount", False),
    ],
)
def test_a_number_is_understood_when_its_digits_are_right(
    said: str, written: str, expecting: Expecting, right: bool
) -> None:
    assert bench_asr.digits_right(heard(said, written, written, expecting)) is right


@pytest.mark.parametrize(
    ("meaning", "expecting", "found", "right"),
    [
        ("deny", "yes_no", "cancel", True),
        ("cancel", "yes_no", "correct_me", True),
        ("deny", "yes_no", "affirm", False),
        ("affirm", "yes_no", "deny", False),
        ("cancel", "free", "deny", False),
        ("policy/a", "free", "policy/a", True),
        ("policy/a", "free", None, False),
    ],
)
def test_where_a_yes_is_awaited_all_refusals_mean_the_same(
    meaning: str, expecting: Expecting, found: str | None, right: bool
) -> None:
    utterance = Utterance("a", "不", Path("a.wav"), expecting=expecting, meaning=meaning)
    assert utterance.is_meant(found) is right


def test_of_several_hypotheses_the_one_of_the_awaited_length_is_taken() -> None:
    short, whole = Alternative("一二三四五", 0.6), Alternative("一二三四五六", 0.5)
    utterance = Utterance("a", "一二三四五六", Path("a.wav"), expecting="pin")
    transcript = Transcript(short.text, 0.6, (short, whole))
    each = Heard(Condition("whisper", "alaw", "clean"), utterance, transcript, 1.0, 0.1)
    assert bench_asr.digits_right(each)


@pytest.mark.skipif(
    not (models.present("whisper-base") and models.present("silero-vad")),
    reason="needs `hotline models pull`",
)
def test_a_folder_is_measured_and_drawn(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.txt").write_text("对，没有错", encoding="utf-8")
    plot = folder / "errors.png"
    only = ["--engine", "whisper", "--codec", "ulaw", "--noise", "clean", "--expect", "yes_no"]
    assert cli.main(["bench", "asr", str(folder), *only, "--json", "--plot", str(plot)]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["conditions"]
    assert set(row) == {
        "engine", "codec", "noise", "n", "cer_before", "cer", "ser",
        "understood", "after_yes", "asked", "rtf", "decode",
    }  # fmt: skip
    assert (row["engine"], row["codec"], row["noise"], row["n"]) == ("whisper", "ulaw", "clean", 1)
    assert row["cer"] <= 0.5
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_wrong_folder_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "asr", str(ROOT / "configs"), "--engine", "whisper"]) == 2
    assert "no recordings in it" in capsys.readouterr().err
