"""Conversations live in memory only, and no longer than their call."""

from collections import OrderedDict
from typing import Any

from rasa.core.tracker_store import InMemoryTrackerStore
from rasa.shared.core.trackers import DialogueStateTracker

from components.schemas import check_schemas_once

MAX_CONVERSATIONS = 1000
"""A call whose end was never reported is dropped when this many newer ones have come."""


class CallTrackerStore(InMemoryTrackerStore):
    """Keeps the latest conversations; one that has lost all its events is forgotten."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.store: OrderedDict[str, str] = OrderedDict()
        check_schemas_once()  # here, as Rasa makes one store when it starts to serve

    async def save(self, tracker: DialogueStateTracker) -> None:
        """Store it as the latest, or drop it when it is empty."""
        if not tracker.events:
            self.store.pop(tracker.sender_id, None)
            return
        await super().save(tracker)
        self.store.move_to_end(tracker.sender_id)
        while len(self.store) > MAX_CONVERSATIONS:
            self.store.popitem(last=False)
