"""Guards: a wrong configuration is one line that names the file, the key and the remedy."""

from pathlib import Path

import pytest

from assistant import settings
from assistant.settings import ConfigError, Settings, load


def written(folder: Path, text: str) -> Path:
    file = folder / "hotline.toml"
    file.write_text(text, encoding="utf-8")
    return file


def complaint(file: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as failure:
        load(file, list(overrides))
    message = str(failure.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("overrides", "threads"),
    [([], 2), (["sip.max_calls=5"], 1), (["sip.max_calls=5", "speech.threads=3"], 3)],
)
def test_many_calls_share_the_processors(overrides: list[str], threads: int) -> None:
    assert load(overrides=overrides).speech.threads == threads


def test_the_shipped_file_shows_the_defaults() -> None:
    assert load() == Settings()


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")) == Settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[sip]\nprot = 5062", "unknown key sip.prot; did you mean sip.port?"),
        ("[spi]\nport = 5062", "unknown key spi; did you mean sip?"),
        ("[zzzz]\nqqqq = 1", "unknown key zzzz; known keys: sip, sip.bind, "),
        ('[sip]\nport = "often"', "sip.port = 'often': "),
        ("[sip]\nport = 70000", "sip.port = 70000: "),
        ("[speech]\nrecognizer = 'siri'", "speech.recognizer = 'siri': "),
        ("[sip\nport = 5062", "not valid TOML: "),
    ],
)
def test_a_wrong_file(tmp_path: Path, text: str, expected: str) -> None:
    file = written(tmp_path, text)
    message = complaint(file)
    assert message.startswith(f"{file}: ")
    assert expected in message


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "hotline.toml"
    file.write_bytes(b"\xff\xfe\x00")
    assert "not valid TOML" in complaint(file)


def test_a_missing_file(tmp_path: Path) -> None:
    assert (
        complaint(tmp_path / "no.toml") == f"{tmp_path}/no.toml: no such file; give --config FILE"
    )


def test_a_folder_instead_of_a_file(tmp_path: Path) -> None:
    assert complaint(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("sip.port=5070", "sip", "port", 5070),
        ("sip.bind=0.0.0.0", "sip", "bind", "0.0.0.0"),
        ('sip.bind="0.0.0.0"', "sip", "bind", "0.0.0.0"),
        ("recording.enabled=false", "recording", "enabled", False),
        ("turns.no_input_s=7.5", "turns", "no_input_s", 7.5),
        ('sip.codecs=["PCMA/8000"]', "sip", "codecs", ["PCMA/8000"]),
        ("backend.database=sqlite+aiosqlite:///a=b", "backend", "database",
         "sqlite+aiosqlite:///a=b"),
    ],
)  # fmt: skip
def test_an_override(section: str, key: str, value: object, override: str) -> None:
    chosen = load(overrides=[override])
    assert getattr(getattr(chosen, section), key) == value


def test_the_last_override_wins(tmp_path: Path) -> None:
    file = written(tmp_path, "[sip]\nport = 1")
    assert load(file, ["sip.port=2", "sip.port=3"]).sip.port == 3


@pytest.mark.parametrize("override", ["sip.port", "port=5060", "=1", "sip.=1"])
def test_an_override_in_the_wrong_form(override: str) -> None:
    message = complaint(settings.CONFIG_FILE, override)
    assert message == f"--set {override}: write it as section.key=value"


def test_an_override_of_an_unknown_key() -> None:
    message = complaint(settings.CONFIG_FILE, "dialogue.rasa_prot=1")
    assert "did you mean dialogue.rasa_port?" in message


def test_a_section_that_is_no_table(tmp_path: Path) -> None:
    assert "sip" in complaint(written(tmp_path, "sip = 5060"), "sip.port=5070")


def test_a_bureaus_own_backend_is_used_as_it_is() -> None:
    chosen = load(overrides=["backend.url=https://backend.example/api"])
    assert chosen.backend_url == "https://backend.example/api"
    assert load().backend_url == "http://127.0.0.1:8333"
