"""A conversation as it happens, in the terminal: events in, one readable line each out."""

from rich.console import Console
from rich.text import Text

from assistant.journal import Event

_WHO = {"caller": ("来电", "bold cyan"), "hotline": ("热线", "bold green")}


class LiveView:
    """Prints the events of one call or of several."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)

    def show(self, event: Event) -> None:
        """Print one event; kinds that say nothing to a viewer are left out."""
        line = self._line(event)
        if line is not None:
            self._console.print(line)

    def _line(self, event: Event) -> Text | None:
        clock = Text(f"{event.get('at_ms', 0) / 1000:6.1f} s  ", "dim")
        match event:
            case {"event": "answered"}:
                return clock + Text(f"☎  call {event['call']} by {event['channel']}", "bold")
            case {"event": "caller", "text": text}:
                heard = text or "（没听清）"
                note = f"recognised {event['recognised_ms']} ms after the voice ended"
                return clock + self._said(
                    "caller", heard, f"{note}, sure {event['confidence']:.0%}"
                )
            case {"event": "keyed", "digits": digits}:
                return clock + self._said("caller", f"⌨ {digits}", "")
            case {"event": "silent"}:
                return clock + self._said("caller", "（没有说话）", "")
            case {"event": "understood", "intent": str(intent)}:
                decided = f", {event['decision']}" if event.get("decision") else ""
                note = f"→ {intent} {event['confidence']:.0%}{decided}, thought {event['ms']} ms"
                return clock + Text(f"      {note}", "dim")
            case {"event": "hotline", "text": text}:
                note = f"answered in {event['answer_ms']} ms" if event.get("answer_ms") else ""
                return clock + self._said("hotline", text, note)
            case {"event": "interrupted"}:
                return clock + Text(f"      ✋ interrupted, heard: {event['heard']}", "yellow")
            case {"event": "listening"}:
                return clock + Text("      … listening", "dim")
            case {"event": "ended"}:
                return clock + Text(f"☎  {event['outcome']}", "bold")
        return None

    @staticmethod
    def _said(who: str, words: str, note: str) -> Text:
        name, style = _WHO[who]
        line = Text(f"{name}  ", style) + Text(words)
        return line + Text(f"   [{note}]", "dim") if note else line
