"""Rasa's own Python, one version behind the rest: its components and actions are tested there."""

import subprocess

from assistant.dialogue.serving import RASA_BIN, RASA_PROJECT


def printed(script: str, *arguments: str) -> str:
    """What the script prints, run where components and actions are found; it has to end well."""
    done = subprocess.run(
        [RASA_BIN / "python", "-W", "ignore", "-c", script, *arguments],
        cwd=RASA_PROJECT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
