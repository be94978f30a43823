"""Tells with each parsed text which digits it would be, were a number awaited."""

from typing import Any

from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.shared.nlu.constants import TEXT
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData

from actions.digits import hear, is_number


# No featurizer, but Rasa's recipe knows no other kind that may stand before a tokenizer.
@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.MESSAGE_FEATURIZER, is_trainable=False)
class SpokenDigits(GraphComponent):
    """Adds "digits" to the result of /model/parse; empty where the text is no number."""

    @classmethod
    def create(
        cls,
        config: dict[str, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> "SpokenDigits":
        """Rasa's constructor of components."""
        return cls()

    def process_training_data(self, training_data: TrainingData) -> TrainingData:
        """Examples need no digits."""
        return training_data

    def process(self, messages: list[Message]) -> list[Message]:
        """Read each message as a number."""
        for message in messages:
            text = message.get(TEXT) or ""
            message.set("digits", hear(text) if is_number(text) else "", add_to_output=True)
        return messages
