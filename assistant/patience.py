"""How long silence on both sides may last: decisions only, fed with times in seconds.

Nothing here reads a clock, so every rule is tested in virtual time.
"""

from typing import Literal

WORKING_S = 2.5
"""A turn that is recognised for so long is announced: the caller does not know it was heard."""

WORKING_AGAIN_S = 4.0
"""… and announced again after so much silence: what is recognised then has yet to be answered."""

AFTER_VOICE_S = 1.5
"""Nobody is asked again right after a cough: words often follow it."""

Due = Literal["no_input", "filler"]


class Patience:
    """Follows one wait for the caller's turn."""

    def __init__(self, no_input_s: float, now_s: float) -> None:
        self._no_input_s = no_input_s
        self._now_s = now_s
        self._quiet_s = 0.0
        self._working_s = 0.0
        self._announced = False

    def tick(self, now_s: float, *, busy: bool, working: bool, silence_s: float) -> Due | None:
        """It is `now_s`; what is due.

        `busy`: the caller speaks, keys, or has us on hold. `working`: what they said is being
        recognised. `silence_s`: how long neither side has been heard. The time in which neither
        is the case adds up: knocks every few seconds must not put the next prompt off for ever.
        """
        passed_s, self._now_s = max(0.0, now_s - self._now_s), now_s
        if working:
            self._working_s += passed_s
            late = self._working_s >= WORKING_S and not self._announced
            if late or silence_s >= WORKING_AGAIN_S:
                self._announced = True
                return "filler"
            return None
        self._working_s, self._announced = 0.0, False
        if busy:
            return None
        self._quiet_s += passed_s
        if max(self._quiet_s, silence_s) >= self._no_input_s and silence_s >= AFTER_VOICE_S:
            return "no_input"
        return None
