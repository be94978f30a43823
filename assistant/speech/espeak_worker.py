"""One utterance through pyttsx3, in a process of its own: text on standard input, a file out.

Started as a script by assistant.speech.espeak; imports nothing of the hotline, to start fast.

    espeak_worker.py FILE WORDS_PER_MINUTE
"""

import ctypes
import os
import sys
import threading
from typing import Any

BUNDLED = "HOTLINE_ESPEAK"
"""Set to "bundled" to use espeakng-loader's library even where the system has one."""

MANDARIN = ("cmn", "zh-cn", "zh_cn", "mandarin")
"""How the drivers mark it: eSpeak NG sit/cmn, SAPI5 zh-CN, NSSpeechSynthesizer zh_CN."""


def load_espeak() -> None:
    """Make pyttsx3 find eSpeak NG on Linux.

    The bundled library has the SONAME that pyttsx3 asks for: once loaded, that one is found.
    """
    if not sys.platform.startswith("linux"):
        return
    if os.environ.get(BUNDLED) != "bundled":
        try:
            ctypes.CDLL("libespeak-ng.so.1")
            return
        except OSError:
            pass
    import espeakng_loader

    os.environ["ESPEAK_DATA_PATH"] = espeakng_loader.get_data_path()
    espeakng_loader.load_library()


def mandarin(voices: list[Any]) -> str:
    """The id of the first Mandarin voice. Raises LookupError."""
    for voice in voices:
        marks = " ".join([str(voice.id), str(voice.name), *map(str, voice.languages or [])]).lower()
        if any(mark in marks for mark in MANDARIN):
            return str(voice.id)
    raise LookupError("this system has no Mandarin voice")


def main() -> None:
    """Synthesise; a failure ends the process with its reason on standard error."""
    import pyttsx3

    file, words_per_minute = sys.argv[1], int(sys.argv[2])
    text = sys.stdin.buffer.read().decode("utf-8")
    engine = pyttsx3.init()
    engine.setProperty("voice", mandarin(engine.getProperty("voices")))
    engine.setProperty("rate", words_per_minute)
    written = threading.Event()
    engine.connect("finished-utterance", lambda name, completed: written.set())
    engine.save_to_file(text, file)
    engine.runAndWait()
    if sys.platform.startswith("linux"):
        # its driver returns while eSpeak NG's own thread still works
        written.wait()


if __name__ == "__main__":
    load_espeak()
    main()
