"""An optional local language model: it may smooth a reply or name a card, and nothing else.

Off unless llm.url is set. It speaks the OpenAI chat API, so llama.cpp, vLLM or Ollama on the
operator's own machine will do. What it writes is used only when every number, every citation
and every negation is still there; else, and when it is late, the reply stays as it was.
"""

import logging
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import aiohttp

from assistant.dialogue import policies
from assistant.dialogue.dialogue import Dialogue, Reply, Response, Said, Told
from assistant.dialogue.hypotheses import NOT_UNDERSTOOD
from assistant.settings import LanguageModelServer
from assistant.speech.recognizer import Transcript

log = logging.getLogger(__name__)

REWRITE = (
    "你在润色社保热线的口播答复。只把话说得更通顺，不增不减意思。数字、年月、金额、法规名称和条款号，"
    "以及“不”“没有”这类字，一个都不能改。只输出改好的那段话。"
)
ROUTE = (
    "来电人说了一句话。下面是编号的问题。只输出他问的那个问题的编号；哪个都不是就输出零。"
    "不要输出别的。"
)

LONGEST_GROWTH = 1.3
"""A reply may grow by so much; longer is not smoother."""

_NUMBERS = re.compile(r"[0-9零〇一二两三四五六七八九十百千万亿半]+(?:\.[0-9]+)?%?")
_CITATION = re.compile(r"依据是[^。]*。|[一-鿿]{2,}(?:法|条例|办法|决定|规定)(?:第[0-9]+条)?")
_NEGATION = re.compile(r"[不没未无别非]")


def keeps_the_facts(before: str, after: str) -> bool:
    """Whether numbers, citations and negations of `before` all stand in `after`, and no more."""
    return (
        0 < len(after) <= len(before) * LONGEST_GROWTH
        and Counter(_NUMBERS.findall(before)) == Counter(_NUMBERS.findall(after))
        and Counter(_CITATION.findall(before)) == Counter(_CITATION.findall(after))
        and len(_NEGATION.findall(before)) == len(_NEGATION.findall(after))
    )


class RewritingDialogue:
    """Asks another dialogue, and a language model after it. Raises only what that one raises."""

    def __init__(self, dialogue: Dialogue, server: LanguageModelServer) -> None:
        self._dialogue = dialogue
        self._server = server
        self._titles = {f"{number}": card.title for number, card in enumerate(policies.load(), 1)}

    async def respond(
        self, call_id: str, said: Said, caller: str = "", told: Told | None = None
    ) -> Response:
        """The dialogue's answer, perhaps in smoother words."""
        response = await self._dialogue.respond(call_id, said, caller, told)
        if self._server.route and isinstance(said, Transcript):
            response = await self._routed(call_id, said, response, caller)
        if self._server.rewrite and response.cards:
            replies = [await self._smoothed(reply) for reply in response.replies]
            response = replace(response, replies=replies)
        return response

    def anticipate(self, call_id: str, said: Transcript) -> None:
        """Understand ahead what may be the next turn."""
        self._dialogue.anticipate(call_id, said)

    async def forget(self, call_id: str) -> None:
        """The call is over."""
        await self._dialogue.forget(call_id)

    async def _routed(
        self, call_id: str, said: Transcript, response: Response, caller: str
    ) -> Response:
        """What was not understood, asked once more as the card that the model names."""
        if response.intent != NOT_UNDERSTOOD or response.cards:
            return response
        listed = "\n".join(f"{number} {title}" for number, title in self._titles.items())
        answer = await self._ask(ROUTE, f"{listed}\n来电人说：{said.text}")
        title = self._titles.get(answer or "")
        if title is None:
            return response
        # What was answered first nobody has heard.
        return await self._dialogue.respond(call_id, Transcript(title, 1.0), caller, Told("", 0))

    async def _smoothed(self, reply: Reply) -> Reply:
        if reply.protected:  # these words are somebody's duty to say
            return reply
        answer = await self._ask(REWRITE, reply.text) if reply.text else None
        if answer is None:
            return reply
        if not keeps_the_facts(reply.text, answer):
            log.warning("the language model changed a fact; its words were not used")
            return reply
        return replace(reply, text=answer)

    async def _ask(self, task: str, text: str) -> str | None:
        """The model's answer; None when it is late, broken, or has none."""
        request = {
            "model": self._server.model,
            "temperature": 0,
            "messages": [{"role": "system", "content": task}, {"role": "user", "content": text}],
        }
        timeout = aiohttp.ClientTimeout(total=self._server.timeout_s)
        url = self._server.url.rstrip("/") + "/chat/completions"
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(url, json=request) as answer,
            ):
                answer.raise_for_status()
                found: Any = await answer.json()
                return str(found["choices"][0]["message"]["content"]).strip()
        except (TimeoutError, aiohttp.ClientError, ValueError, LookupError, TypeError) as e:
            log.warning("the language model did not answer: %s", type(e).__name__)
            return None


def with_language_model(dialogue: Dialogue, server: LanguageModelServer) -> Dialogue:
    """The dialogue itself where no language model is configured."""
    return RewritingDialogue(dialogue, server) if server.url else dialogue
