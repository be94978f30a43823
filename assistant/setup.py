"""What a fresh machine lacks besides packages, in order; what is there is left alone."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import select

from assistant import line_trouble, models
from assistant.backend import serve as backend
from assistant.backend.calculators import Calculators
from assistant.backend.database import Database
from assistant.backend.items import load_items
from assistant.backend.tables import Person
from assistant.backend.wording import PLACEHOLDER
from assistant.call import FIXED_PROMPTS
from assistant.dialogue import policies, training
from assistant.settings import ConfigError, Settings
from assistant.speech import prompts, synthesizers
from assistant.speech.spoken import sentences

Progress = Callable[[str], None]
"""Takes one line a person can read."""


def set_up(settings: Settings, progress: Progress) -> None:
    """Do every step; each tells what it found or did and how long it took.

    Raises ConfigError, ModelError, SynthesisError or DatabaseUnavailable.
    """
    steps: dict[str, Callable[[], str]] = {
        "speech models": lambda: _models(progress),
        "dialogue model": lambda: training.model(progress).name,
        "database": lambda: asyncio.run(_database(settings)),
        "fixed prompts": lambda: asyncio.run(_prompts(settings, progress)),
    }
    for name, step in steps.items():
        began = time.monotonic()
        outcome = step()
        progress(f"{name}: {outcome} ({time.monotonic() - began:.1f} s)")


def _models(progress: Progress) -> str:
    wanted = [name for name, model in models.catalogue().items() if model.pull == "default"]
    if all(models.present(name) for name in wanted):
        return "present"
    models.pull(progress=progress)
    return "fetched and checked"


async def _database(settings: Settings) -> str:
    """Bring the schema up to date; an empty database gets the demo persons."""
    await backend.set_up(settings, demo_persons=False)
    database = Database(settings.backend.database)
    try:
        async with database.reading() as session:
            populated = await session.scalar(select(Person.person_id).limit(1)) is not None
    finally:
        await database.close()
    if populated:
        return "up to date, has persons"
    await backend.set_up(settings, demo_persons=True)
    return "made, with the demo persons"


async def _prompts(settings: Settings, progress: Progress) -> str:
    """Render what is always the same. A stamp saves loading the engine to find nothing to do."""
    texts = fixed_sentences(settings)
    stamp = prompts.folder() / f"{_fingerprint(settings, texts)}.rendered"
    if stamp.exists():
        return f"{len(texts)} rendered"
    cache = synthesizers.load(settings.speech).cache
    if cache is None:
        return "not kept (speech.prompt_cache)"
    rendered = await cache.render(texts, progress, settings.speech.speed)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    return f"{rendered} sentences rendered"


def fixed_sentences(settings: Settings) -> list[str]:
    """What is rendered at set-up: every sentence that some call says word for word, those inside
    templates too, and the words before a number; of the policy cards the most frequent ones.
    Raises ConfigError.
    """
    texts = [*FIXED_PROMPTS, *line_trouble.prompts(settings.call), settings.recording.notice]
    texts += [*training.responses(settings), *Calculators().sentences()]
    for item in load_items().values():
        texts += [item.reply, item.confirm or "", *item.failures.values()]
    cards = {card.id: card for card in policies.load()}
    for card_id in settings.speech.cards_at_setup:
        if card_id not in cards:
            raise ConfigError(f"speech.cards_at_setup: no card {card_id}; see configs/policies")
        texts.append(_answer(cards[card_id]))
    return _sentences(texts)


def card_sentences() -> list[str]:
    """Every sentence of every policy card, the answers before the details."""
    cards = policies.load()
    return _sentences([*map(_answer, cards), *(card.more for card in cards)])


def _answer(card: policies.Card) -> str:
    offer = card.offer.question if card.offer else ""
    return f"{card.named}{card.answer}依据是{card.basis}。{offer}"


def _sentences(texts: Sequence[str]) -> list[str]:
    said = (sentence for text in texts for sentence in sentences(text))
    known = (_known(sentence) for sentence in said)
    return [sentence for sentence in dict.fromkeys(known) if sentence]


def _known(sentence: str) -> str:
    """What is the same in every call: all of a sentence, or its words before a value.

    Values that are no number (a name, a province) cost nothing but the rendering: what is said
    then does not match.
    """
    return prompts.beginning(PLACEHOLDER.sub("0", sentence)) if "{" in sentence else sentence


def _fingerprint(settings: Settings, texts: list[str]) -> str:
    """Changes whenever the same texts would sound different."""
    engine, _ = synthesizers.choose(settings.speech)
    digest = hashlib.sha256(f"{engine}\n{settings.speech!r}\n{texts}".encode())
    for file in sorted(Path(prompts.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
