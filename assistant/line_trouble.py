"""When the line is the trouble, not the words: a loud room, a muted microphone.

A television held up as a caller would be asked again for ever. After repeated turns without words
the hotline names the trouble, then a way to a person, then says goodbye. Pure: fed with turns.
"""

from assistant.dialogue.dialogue import HangUp, Reply, Transfer
from assistant.settings import CallLimits

NOISY = (
    "您那边声音有点大，我没听清您说的话。请您换个安静的地方再说一遍，需要输号码的，也可以直接按键。"
)
NOISY_NUMBER = (
    "还是听不清楚，怕耽误您的事。您可以拨打人工电话{number}，也可以换个安静的地方接着说。"
)
NOISY_TRANSFER = "还是听不清楚，怕耽误您的事，现在为您转接人工，请稍等。"
NOISY_FAREWELL = (
    "实在听不清楚，这次先到这里。您可以拨打人工电话{number}，或者换个安静的地方再打过来，再见。"
)
MUTED = "我这边听不到您的声音，请检查是不是开了静音。您也可以直接按键。"
MUTED_AGAIN = "还是听不到您的声音。请您关掉静音，或者挂断以后重新打过来。"

WORDLESS = 2
"""So many turns without words in a row are a noisy room; the first may be a mumble."""

CUT = 3
"""So many turns in a row that only the limit on their length ended are one, too, words or not: a
recogniser hears words in music."""

DEAD_S = 10.0
"""Digital silence for so long after a voice was heard: nobody's pause in thought is without any
noise. From the start of a call it is noticed at the first question."""


def prompts(limits: CallLimits) -> list[str]:
    """All that can be said of the line, for rendering ahead of the calls."""
    number = limits.human_number
    texts = (NOISY, NOISY_NUMBER, NOISY_TRANSFER, NOISY_FAREWELL, MUTED, MUTED_AGAIN)
    return [text.format(number=number) for text in texts]


class LineTrouble:
    """Follows one call's turns."""

    def __init__(self, limits: CallLimits) -> None:
        self._number, self._target = limits.human_number, limits.human_target
        self._wordless = 0
        self._cut = 0

    @property
    def suspected(self) -> bool:
        """Whether the last turn may have been noise: then the next is not waited for as long."""
        return self._wordless > 0

    def turn(self, *, words: bool, cut: bool) -> Reply | None:
        """The caller's turn has ended; what to say of the line, None: the turn counts as usual.

        `cut`: the limit on its length ended it.
        """
        self._wordless = 0 if words else self._wordless + 1
        self._cut = self._cut + 1 if cut else 0
        match max(self._wordless - WORDLESS, self._cut - CUT):
            case 0:
                return Reply(NOISY)
            case 1 if self._target:
                return Reply(NOISY_TRANSFER, Transfer(self._target))
            case 1:
                return Reply(NOISY_NUMBER.format(number=self._number))
            case beyond if beyond > 1:
                return Reply(NOISY_FAREWELL.format(number=self._number), HangUp())
        return None

    def keyed(self) -> None:
        """The caller has found the keys: the line is good enough."""
        self._wordless = self._cut = 0

    def silence(self, times: int, *, soundless_s: float, ever_heard: bool) -> Reply | None:
        """Nothing was said for the time number `times` in a row, the line digitally silent for
        the last `soundless_s`; what to say of it, None: ask again as usual."""
        if ever_heard:
            return Reply(MUTED) if times == 2 and soundless_s >= DEAD_S else None
        return {1: Reply(MUTED), 2: Reply(MUTED_AGAIN)}.get(times)
