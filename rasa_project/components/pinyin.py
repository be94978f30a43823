"""Sound as a feature: recognisers confuse characters that sound alike (挂失 heard as 挂式)."""

from collections.abc import Sequence

from pypinyin import lazy_pinyin

_INITIALS = (("zh", "z"), ("ch", "c"), ("sh", "s"), ("n", "l"))
_FINALS = (("ang", "an"), ("eng", "en"), ("ing", "in"))


def syllables(text: str | Sequence[str]) -> list[str]:
    """Toneless pinyin, with the sounds that many speakers do not tell apart made one.

    zh/z, ch/c, sh/s, n/l at the beginning; -ang/-an, -eng/-en, -ing/-in at the end.
    """
    return [_fold(syllable) for syllable in lazy_pinyin(text)]


def bounded_syllables(text: str) -> list[str]:
    """The syllables between marks of beginning and end.

    By the marks a short answer (不是) is told from the same syllables inside a long sentence.
    """
    return ["^", *syllables(text), "$"]


def _fold(syllable: str) -> str:
    for sound, same in _INITIALS:
        if syllable.startswith(sound):
            syllable = same + syllable[len(sound) :]
            break
    for sound, same in _FINALS:
        if syllable.endswith(sound):
            return syllable[: -len(sound)] + same
    return syllable
