"""What a speech model writes although nobody said it: pure checks, no audio."""

import re
import zlib

SHORTEST_VOICE_S = 0.1
"""Less voice than this is a click or a breath; 是 takes 0.2 s."""
_CHARACTERS_PER_S, _CHARACTERS_MORE = 8.0, 3
"""Fast Mandarin has 7 syllables a second; the constant allows for voice the detector missed."""
_COMPRESSES = 2.2
"""Text that zlib shortens this much repeats itself; Whisper's own limit is 2.4 for English."""
_LOOP = re.compile(r"(\D{2,8}?)\1{3,}|(\D{5,})\2|^(\D{4})\3$")
"""Two syllables four times over, or a whole clause twice; digits do repeat."""

# Closing words of the subtitled videos that Whisper learned from; it writes them in silence.
_INVENTED = re.compile(
    "请不吝|点赞|打赏|明镜|点点栏目|字幕|订阅|感谢观看|谢谢观看|感谢收看|谢谢收看|谢谢大家收"
    "|下期再见|下集再见|索兰娅|Amara|中文字幕|词曲|作词|作曲|编曲|优优独播剧场|YoYo"
)


def implausible(text: str, voiced_s: float) -> str:
    """Why this text cannot be what was said in that many seconds of voice; empty when it can."""
    if _INVENTED.search(text):
        return "a phrase of subtitles"
    if len(text) > voiced_s * _CHARACTERS_PER_S + _CHARACTERS_MORE:
        return "more words than the voice had time for"
    raw = text.encode()
    if len(raw) / max(len(zlib.compress(raw)), 1) > _COMPRESSES or _LOOP.search(text):
        return "it repeats itself"
    return ""
