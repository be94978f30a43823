"""What was hardly understood is not acted on: the dialogue asks again instead."""

from typing import Any

from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.shared.nlu.constants import INTENT
from rasa.shared.nlu.training_data.message import Message

from actions.surety import Turn, thresholds
from components.understanding import NOT_UNDERSTOOD


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.INTENT_CLASSIFIER, is_trainable=False)
class Doubt(GraphComponent):
    """Takes the intent back where the client is not sure enough of the turn.

    The ranking stays, as the guesses of what to ask back. Before the rules, so that none of them
    needs to know: they see a turn that was not understood.
    """

    @classmethod
    def create(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> "Doubt":
        """Rasa's constructor of components."""
        return cls()

    def process(self, messages: list[Message]) -> list[Message]:
        """Without metadata, as from /model/parse, nothing is in doubt."""
        for message in messages:
            intent = message.get(INTENT) or {}
            turn = Turn.of(message.get("metadata"))
            if intent.get("name") and turn.is_doubtful(intent["name"], thresholds()):
                message.set(INTENT, {**intent, "name": NOT_UNDERSTOOD}, True)
        return messages
