"""Guards the text door: what a piped line means, what comes out, and that odd input is survived.

Runs `hotline console` as a user would, against the served dialogue and the real backend.
"""

import json
import os
import pty
import subprocess
import sys
from typing import Any

from assistant.settings import ROOT
from tests.conftest import Stack

LIMIT_S = 120


def console(stack: Stack, text: bytes | str, *options: str) -> subprocess.CompletedProcess[str]:
    given = text.encode() if isinstance(text, str) else text
    result = subprocess.run(
        [sys.executable, "-m", "assistant.cli", *stack.arguments, "console", *options],
        input=given,
        capture_output=True,
        timeout=LIMIT_S,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr.decode()
    return subprocess.CompletedProcess(
        result.args, 0, result.stdout.decode("utf-8"), result.stderr.decode()
    )


def turns(stack: Stack, text: bytes | str, *options: str) -> list[dict[str, Any]]:
    result = console(stack, text, "--json", *options)
    return [json.loads(line) for line in result.stdout.splitlines()]


def said(turn: dict[str, Any]) -> str:
    return "".join(reply["text"] for reply in turn["replies"])


def test_one_object_a_turn_with_the_promised_keys(stack: Stack) -> None:
    greeting, answer = turns(stack, "养老保险最低要交多少年\n")
    assert (greeting["turn"], answer["turn"]) == (0, 1)
    for turn in (greeting, answer):
        assert set(turn) == {"turn", "caller", "replies", "intent", "confidence", "cards", "ms"}
        assert all(set(reply) == {"text", "control"} for reply in turn["replies"])
    assert answer["caller"] == "养老保险最低要交多少年"
    assert answer["intent"] == "policy/pension_conditions"
    assert "15年" in said(answer)
    assert answer["ms"] > 0


def test_keyed_identity_silence_and_a_balance(stack: Stack) -> None:
    lines = "查养老账户余额\n\n#440103196305129977#\n#135790#\n/hangup\n不再有这一行\n"
    found = turns(stack, lines, "--caller", "13800001234")
    assert len(found) == 5, "nothing after /hangup"
    assert "身份证" in said(found[1])
    assert found[1]["replies"][-1]["control"] == {"type": "listen_for", "expecting": "id_number"}
    assert "没有听到" in said(found[2])
    assert "密码" in said(found[3])
    assert "58214.36元" in said(found[4])


def test_isolated_lines_know_nothing_of_each_other(stack: Stack) -> None:
    found = turns(stack, "查养老账户余额\n#440103196305129977#\n", "--isolated")
    assert [turn["turn"] for turn in found] == [1, 2]
    assert "密码" not in said(found[1])


def test_lines_after_a_goodbye_are_a_new_call(stack: Stack) -> None:
    found = turns(stack, "再见\n养老保险最低要交多少年\n")
    assert [turn["turn"] for turn in found] == [0, 1, 0, 1]
    assert found[1]["replies"][-1]["control"] == {"type": "hang_up"}
    assert "15年" in said(found[3])


def test_odd_input_gets_an_answer(stack: Stack) -> None:
    odd = [
        "我想问养老金" * 2000,
        "😀🎉👍",
        "\x00\x07\x1b[31m养老金\x08",
        "/restart",
        "/inform{}",
        "'; drop table person; --",
        "#" + "5" * 500 + "#",
        "養老保險最低要交多少年",
        "    \t ",
    ]
    for turn in turns(stack, "\n".join(odd) + "\n", "--isolated"):
        assert said(turn), turn["caller"][:40]
    broken = turns(stack, b"\xff\xfe\xe5\n", "--isolated")
    assert said(broken[0])


def test_text_for_people(stack: Stack) -> None:
    output = console(stack, "再见\n").stdout
    assert output.startswith("热线：您好")
    assert "来电：再见" in output
    assert output.endswith("（通话结束）\n")


def test_a_terminal_gets_a_hint_and_the_call_ends_with_the_goodbye(stack: Stack) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "assistant.cli", *stack.arguments, "console"],
        stdin=follower,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        os.write(leader, "再见\n".encode())
        output = process.communicate(timeout=LIMIT_S)[0].decode()
    os.close(leader)
    os.close(follower)
    assert process.returncode == 0
    assert "/hangup" in output
    assert "（通话结束）" in output
