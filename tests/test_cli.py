"""Guards: the command line teaches, and whatever is wrong is one line and an exit code."""

import socket
import subprocess
import sys

import pytest

from assistant import cli


def hotline(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "assistant.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_mentions_each_command_and_the_first_steps() -> None:
    text = cli.parser().format_help()
    for command in cli.COMMANDS:
        assert f"\n    {command} " in text
    assert "first steps:" in text


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: hotline {command}" in capsys.readouterr().out


def test_help_needs_no_engine() -> None:
    heavy = "aiohttp", "sqlalchemy", "pjsua2", "onnxruntime", "ctranslate2", "vosk"
    script = (
        "import sys; from assistant import cli; cli.parser();"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert shown.stdout.strip() == "[]"


def test_a_wrong_key_is_one_line() -> None:
    ended = hotline("--set", "sip.prot=1", "serve")
    assert ended.returncode == 2
    assert "did you mean sip.port?" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        ended = hotline("--set", f"dialogue.rasa_port={number}", "--set", "sip.port=0", "serve")
    assert ended.returncode == 2
    assert f"port {number} (dialogue.rasa_port) is in use" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_an_unknown_command_is_refused() -> None:
    ended = hotline("answr")
    assert ended.returncode == 2
    assert "invalid choice: 'answr'" in ended.stderr
