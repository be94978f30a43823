"""The policy adviser: exact answers from the cards, follow-ups in context, and asking back.

Nothing is invented: every sentence is a card's, a calculator's, or one of the domain's responses.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from rasa_sdk import Action, Tracker
from rasa_sdk.events import FollowupAction, SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from actions.calculation import begun, changed, say_result, step, taken
from actions.cards import NEXT_STEP, Card, cards
from actions.conversation import (
    CORRECTION,
    ask_back,
    ask_or_ask_back,
    ask_whether,
    ask_which,
    last_said,
    misses_in_a_row,
    refused,
    suggestions,
    turn_of,
)
from actions.forms import missed_in_form
from actions.quantities import values
from actions.retrieval import index
from actions.surety import Cost, Decision, decide, thresholds
from actions.understanding import Meaning, Understood, understand, understood

Events = list[dict[str, Any]]

OUT_OF_SCOPE = "out_of_scope"

SURE = 0.45
"""From this confidence on a question stands for itself, beside the last answer."""
LIKELY = 0.25
"""Below this no card is the answer by the classifier alone."""
EACH_SURE = 0.6
"""What each of several questions in one breath must reach."""
FOUND = 0.8
"""Share of the best BM25 score from which a card found by its text is the answer."""
HOPEFUL = 0.3
"""… and from which it is worth a guess."""
EVEN = 2.0
"""Two cards within this factor are asked about together: which of them?"""
MOST_AT_ONCE = 3
"""Nobody keeps more answers in mind."""

PROVINCES = (
    "北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南"
    "|广东|海南|四川|贵州|云南|陕西|甘肃|青海|内蒙古|广西|西藏|宁夏|新疆"
)
_PROVINCE = re.compile(PROVINCES)
_ONLY_PLACE = re.compile(
    rf"^(?:那|我|我们|咱们?|人|是|在|这边|那边|要是|如果|换成)*(?:{PROVINCES})(?:省|市|自治区)?"
    r"(?:的|这边|那边|这里|那里|人|呢|是多少|多少|是多少钱|多少钱|怎么样|吗|啊|呀)*$"
)

_ELLIPSIS = re.compile(r"^(?:那么?(?!个)|要是|如果|假如|假设|换成|万一|还有)|(?:呢|的话)[啊呀]?$")
_FRAME = re.compile(r"^(?:那么?(?!个)|要是|如果|假如|假设|换成|万一|还有|我)+|(?:的话|呢|啊|呀)+$")
LONGEST_ELLIPSIS = 14
"""Characters; a longer question stands for itself."""

_GENERIC = re.compile(
    "材料|手续|证件|东西|资料|多久|多长时间|多少|费用|哪里|哪儿|地址|网上|手机|条件|怎么|咋|申请|代办|拿到|下来|需要"
    "|可以|什么|时候|啥|谁|办|弄|查|领|钱|天|行|要|带|在|上|能|吗|的|了|给|一|张|个|那|呢|去|到|几|有|没|是|不"
)
"""What may be asked of any subject."""

_ASKS_BASIS = re.compile("依据|根据(?:是|什么|哪)|哪条(?:法|规定)|哪个文件|哪部法|法条")
"""Said shortly after an answer it asks where that stands: 这个依据呢."""

_OURS = re.compile("社保|社会保险|养老金|养老保险|退休|失业金|失业保险|工伤|参保|年金|领取资格")
"""Who says one of these is not told that it is none of our business."""

_TOPIC_ALONE = re.compile(
    "(?:社保|社保卡|社会保险|养老|养老保险|退休|工伤|工伤保险|失业|失业保险)(?:的?(?:事情?|问题|方面|情况))?"
)
"""A subject and no question."""

_HOW_MUCH = re.compile("怎么算|咋算|算算|算一下|能拿多少|能领多少|领多少|拿多少|多少钱|有多少")
_RETIRING = re.compile("退休|退下来|退得了|能退")

_ONLY_SEX = re.compile("(男|女)(?:的|人|性|职工|同志|士)?")

_QUESTION = re.compile(
    r"吗|呢|么|怎|咋|啥|多少|多久|多大|几|哪|谁|如何|是不是|能不能|要不要|可不可以|有没有|行不行|需不需要|可以|能"
)
_BREATH = re.compile(
    r"[，,。？?！!；;]|还有就是|还有一个|还有|另外|再一个|再有|再问一?下?|顺便问一?下?|顺便|然后(?:想问|问)?"
)
SHORTEST_QUESTION = 4
"""Characters; less is no question of its own."""


class Found(NamedTuple):
    """A card, and how sure it is that the caller means it."""

    card: Card
    sure: float


class ActionAdvise(Action):
    """Answers what was asked about policy, or asks back."""

    def __init__(self) -> None:
        index()  # takes seconds: at the start of the server, not of the first such question

    def name(self) -> str:
        return "action_advise"

    async def run(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict
    ) -> Events:
        return await Adviser(dispatcher, tracker, domain).advise()


class Adviser:
    """One turn of advice."""

    def __init__(
        self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict
    ) -> None:
        self._dispatcher = dispatcher
        self._tracker = tracker
        self._domain = domain
        self._said = understood(tracker.latest_message)
        self._turn = turn_of(tracker)
        self._last = cards().get(tracker.get_slot("card"))
        self._province: str | None = tracker.get_slot("province")
        self._events: Events = []

    async def advise(self) -> Events:
        """Say what fits, and return what is to be remembered."""
        await self._advise()
        return self._events

    async def _advise(self) -> None:
        self._note_province()
        if self._said.intent == "ask_basis" or self._means_basis():
            return self._basis()
        if self._said.intent == "ask_detail":
            return self._detail()
        if form := self._tracker.active_loop.get("name"):
            return await self._inside(form)
        if await self._recalculated() or self._place():
            return None
        if self._said.intent == "do_not_know":
            return self._ask("utter_nothing_said_yet")
        if chosen := self._chosen():
            return self._answer(chosen)
        await self._corrected()
        if self._said.intent == OUT_OF_SCOPE:
            return await self._not_ours()
        self._drop_refused()
        if several := await self._several():
            return self._answer_all(several)
        if follow_up := await self._follow_up():
            return self._act_on(follow_up)
        return self._decide()

    def _ask(self, response: str) -> None:
        ask_or_ask_back(response, self._dispatcher, self._tracker, self._domain)

    def _sure_of(self, meaning: Meaning, among: Sequence[Meaning]) -> float:
        """Of this meaning beside the others of these."""
        others = (each.confidence for each in among if each.name != meaning.name)
        return self._turn.given(meaning.confidence, max(others, default=0.0))

    def _act_on(self, found: Found) -> None:
        """Answer, name the matter and answer, or ask whether it is meant."""
        match decide(found.sure, Cost.ANSWER, thresholds()):
            case Decision.ACCEPT:
                self._answer(found.card)
            case Decision.IMPLY:
                self._answer(found.card, named=True)
            case _ if misses_in_a_row(self._tracker) == 1:
                ask_whether(self._dispatcher, self._domain, found.card.meaning)
            case _:
                guesses = [found.card.meaning, *(each.name for each in self._said.cards)]
                unlike = list(dict.fromkeys(guesses))
                ask_back(self._dispatcher, self._tracker, self._domain, unlike)

    # What the conversation is about.

    def _note_province(self) -> None:
        if named := _PROVINCE.search(self._said.text):
            self._province = named.group()
            self._events.append(SlotSet("province", self._province))

    def _basis(self) -> None:
        if self._last is None:
            self._ask("utter_nothing_said_yet")
            return
        self._say(f"依据是{self._last.basis}。", None if self._in_form else NEXT_STEP)

    def _means_basis(self) -> bool:
        text = self._said.text
        return bool(self._last and len(text) <= LONGEST_ELLIPSIS and _ASKS_BASIS.search(text))

    def _detail(self) -> None:
        if self._last is None:
            self._ask("utter_nothing_said_yet")
            return
        self._say(
            cards().spoken(self._last.more, self._province), None if self._in_form else NEXT_STEP
        )

    @property
    def _in_form(self) -> bool:
        return bool(self._tracker.active_loop.get("name"))

    def _place(self) -> bool:
        """Only a province was named: the last answer for that province."""
        if self._last is None or not _ONLY_PLACE.match(self._said.text) or not self._province:
            return False
        if self._last.is_local and cards().has_words_for(self._last, self._province):
            self._answer(self._last)
        else:
            self._dispatcher.utter_message(
                response="utter_no_local_figure", province=self._province
            )
        return True

    def _chosen(self) -> Card | None:
        """The one of two offered questions that was named instead of 第一个."""
        offered = [cards().get(name) for name in suggestions(self._tracker)]
        text = self._said.text
        pair = [card for card in offered if card]
        badly_heard = self._turn.heard < thresholds().confirm
        if len(pair) < 2 or len(text) > LONGEST_ELLIPSIS or badly_heard:
            return None
        scores = [
            self._said.confidence(card.meaning) + _own_characters(text, card, other)
            for card, other in zip(pair, reversed(pair), strict=True)
        ]
        other_card = [each for each in self._said.cards if each.name not in _names(pair)]
        if other_card and other_card[0].confidence > max(*scores, SURE):
            return None
        return pair[scores.index(max(scores))] if scores[0] != scores[1] else None

    async def _corrected(self) -> None:
        """不是，我问的是…: only what comes after counts, and the last answer was wrong."""
        rest = CORRECTION.sub("", self._said.text)
        if rest == self._said.text or len(rest) < SHORTEST_QUESTION:
            return
        said = await understand(rest)
        wrong = self._last.meaning if self._last else ""
        ranking = [each for each in said.ranking if each.name != wrong]
        self._said = Understood(rest, said.intent, ranking)

    def _drop_refused(self) -> None:
        """What the caller has just denied is not offered again."""
        if wrong := refused(self._tracker):
            left = [each for each in self._said.ranking if each.name not in wrong]
            self._said = replace(self._said, ranking=left)

    async def _several(self) -> list[Card]:
        """The cards of several questions in one breath; none where there is but one."""
        parts = [part.strip() for part in _BREATH.split(self._said.text)]
        parts = [
            part for part in parts if len(part) >= SHORTEST_QUESTION and _QUESTION.search(part)
        ]
        if len(parts) < 2:
            return []
        found: dict[str, Card] = {}
        for part in parts[: MOST_AT_ONCE + 1]:
            meanings = (await understand(part)).ranking
            card = cards().get(meanings[0].name) if meanings else None
            if card and meanings[0].confidence >= EACH_SURE:
                found[card.id] = card
        return list(found.values())[:MOST_AT_ONCE] if len(found) > 1 else []

    async def _follow_up(self) -> Found | None:
        """A question that leaves out what it is about: the subject of the last answer."""
        text = self._said.text
        if self._last is None or len(text) > LONGEST_ELLIPSIS:
            return None
        foreign = self._said.intent == OUT_OF_SCOPE
        # 在手机上能办吗: no subject of its own.
        bare = len(_GENERIC.sub("", text)) <= 1
        elliptic = self._said.intent == "follow_up" or _ELLIPSIS.search(text)
        if not bare and (foreign or not elliptic):
            return None
        core, subject = _FRAME.sub("", text), self._last.subject
        if not core:
            return None
        whole = await understand(_for_the_other_sex(self._last.title, core) or subject + core)
        near = self._near(whole.cards)
        alone = self._near(self._said.cards)
        own = self._said.cards[0] if self._said.cards else None
        stands = own and own not in alone and own.confidence >= SURE
        if stands and not bare and self._said.intent == "policy":
            return None  # it stands for itself, on another subject
        best = max(near + alone, key=lambda each: each.confidence, default=None)
        card = cards().get(best.name) if best else None
        if card and best and best.confidence >= LIKELY:
            return Found(card, self._sure_of(best, near + alone))
        hopeful = near and near[0].confidence >= LIKELY / 2
        if hopeful or (self._said.intent == "follow_up" and whole.cards):
            # Whatever is likeliest of this subject; with two of a kind, ask which.
            ranked = _among_themselves(near) if hopeful else near or whole.cards
            self._said = Understood(text, "policy", ranked)
        return None

    def _near(self, meanings: list[Meaning]) -> list[Meaning]:
        """Those that may follow the last answer, itself left out."""
        assert self._last is not None
        last = self._last
        return [
            each
            for each in meanings
            if (card := cards().get(each.name)) and card != last and cards().near(last, card)
        ]

    async def _not_ours(self) -> None:
        """Out of scope by itself; 对方全责呢 may yet go on about the last answer."""
        if follow_up := await self._follow_up():
            return self._act_on(follow_up)
        if _OURS.search(self._said.text):
            self._said = replace(self._said, intent="policy")
        if self._said.intent == "policy" or self._turn.sure < thresholds().imply:
            return self._decide()
        said = [
            (each.get("metadata") or {}).get("utter_action") for each in last_said(self._tracker)
        ]
        if "utter_out_of_scope" in said:  # twice in a row: perhaps it was misheard
            return self._dispatcher.utter_message(response="utter_out_of_scope_again")
        if "utter_out_of_scope_again" in said:
            return ask_back(self._dispatcher, self._tracker, self._domain, [])
        return self._dispatcher.utter_message(response="utter_out_of_scope")

    # The answer.

    def _decide(self) -> None:
        ranked = self._said.cards
        first = ranked[0] if ranked else Meaning("", 0.0)
        second = ranked[1] if len(ranked) > 1 else Meaning("", 0.0)
        card = cards().get(first.name)
        if card and self._said.intent == "inform_value" and _QUESTION.search(self._said.text):
            retires = "born" in values(self._said.text) and _RETIRING.search(self._said.text)
            if retires or first.confidence >= LIKELY:
                return self._answer((retires and _retirement_calculator()) or card)
        if card and self._said.intent == "policy":
            if second.confidence and _TOPIC_ALONE.fullmatch(self._said.text):
                return self._ask_which(first, second)
            sure = self._sure_of(first, self._said.ranking)
            if decide(sure, Cost.ANSWER, thresholds()) is not Decision.ASK:
                if sure < thresholds().imply and second.confidence >= first.confidence / EVEN:
                    return self._ask_which(first, second)
                return self._act_on(Found(card, sure))
        if self._said.intent in ("inform_value", "correct_me", "follow_up"):
            correcting = self._said.intent == "correct_me"
            return self._ask("utter_say_again" if correcting else "utter_nothing_said_yet")
        found = [each for each in index().rank(self._said.text)[:2] if each[1] >= HOPEFUL]
        well_heard = self._turn.heard >= thresholds().imply
        if found and found[0][1] >= FOUND and well_heard:
            return self._answer(found[0][0], named=True)
        guesses = [each.name for each in self._said.ranking if each.confidence >= LIKELY / 4]
        guesses += [card.meaning for card, _ in found]
        return ask_back(self._dispatcher, self._tracker, self._domain, list(dict.fromkeys(guesses)))

    def _ask_which(self, first: Meaning, second: Meaning) -> None:
        """Which of the two is meant? Once; then with keys, then with a person."""
        if misses_in_a_row(self._tracker) > 1:
            guesses = [first.name, second.name]
            ask_back(self._dispatcher, self._tracker, self._domain, guesses)
        else:
            ask_which(self._dispatcher, self._domain, first.name, second.name)

    def _answer(self, card: Card, *, named: bool = False) -> None:
        """`named`: begins with what was asked, as it may have been something else."""
        if not card.calculator and "born" in values(self._said.text):
            # With a birth month the caller's own date is the answer, not the rule.
            card = next((each for each in cards() if each.is_calculated_from_birth(card)), card)
        elif not card.calculator and _HOW_MUCH.search(self._said.text):
            card = self._calculator_of(card) or card
        self._events.append(SlotSet("card", card.id))
        if card.calculator:
            return self._calculate(card, named)
        text = (card.named if named else "") + self._answer_with_basis(card)
        self._say(text, card.question or NEXT_STEP, card.leads_to, [card], named)
        return None

    def _answer_all(self, several: list[Card]) -> None:
        first, *others = several
        texts = [self._answer_with_basis(first)]
        texts += [f"您还问到{card.title}。{self._answer_with_basis(card)}" for card in others]
        self._events.append(SlotSet("card", others[-1].id))
        self._say("".join(texts), NEXT_STEP, cards_told=several)

    def _answer_with_basis(self, card: Card) -> str:
        return f"{cards().spoken(card.answer, self._province)}依据是{card.basis}。"

    def _say(
        self,
        text: str,
        next_step: str | None,
        leads_to: str | None = None,
        cards_told: Sequence[Card] = (),
        named: bool = False,
    ) -> None:
        """Say it with the next step; inside a form, whose question is the next step, without."""
        control: dict[str, Any] = {"cards": [card.id for card in cards_told]}
        control["decided"] = "implied" if named else "accepted"
        if cards_told:
            control["means"] = cards_told[-1].meaning
        if next_step is not None:
            control["expect"] = "yes_no" if leads_to else "free"
        if leads_to:
            control["suggest"] = [leads_to]
        if any(card.protected for card in cards_told):
            control["protected"] = True
        self._dispatcher.utter_message(text=text + (next_step or ""), json_message=control)

    # Calculators.

    def _calculator_of(self, card: Card) -> Card | None:
        """A calculator beside this card that can use at least two values of the question."""
        given = values(self._said.text)
        for other in cards():
            takes = cards().takes[other.calculator] if other.calculator else ()
            if len(given.keys() & set(takes)) > 1 and cards().near(card, other):
                return other
        return None

    def _calculate(self, card: Card, named: bool) -> None:
        assert card.calculator
        takes = cards().takes[card.calculator]
        known = {k: v for k, v in values(self._said.text).items() if k in takes}
        answer = "" if known else cards().spoken(card.answer, self._province)
        self._say((card.named if named else "") + answer, None, cards_told=[card], named=named)
        self._events += [
            SlotSet("calculation", begun(card.calculator, card.id, known)),
            SlotSet("calculated", None),
            FollowupAction("calculator_form"),
        ]

    async def _recalculated(self) -> bool:
        """要是只交了八年呢: the last calculation once more, with another value."""
        elliptic = len(self._said.text) <= LONGEST_ELLIPSIS and _ELLIPSIS.search(self._said.text)
        if not elliptic and self._said.intent not in ("follow_up", "inform_value", "correct_me"):
            return False
        calculation = self._tracker.get_slot("calculation")
        begun_before = bool(
            calculation and (not self._last or calculation["card"] == self._last.id)
        )
        if not begun_before:
            calculation = self._calculator_near()
        if not calculation:
            return False
        found = changed(calculation, self._said.text)
        # 那女的呢 after an answer is a question; only after a calculation it is a value.
        if not (found if begun_before else set(found) - {"gender", "post"}):
            return False
        calculation = {**calculation, "inputs": {**calculation["inputs"], **found}, "misses": 0}
        events = await step(calculation, self._dispatcher, self._tracker)
        slots = {event["name"]: event["value"] for event in events}
        result = slots.get("calculated")
        self._events += [SlotSet("calculation", slots.get("calculation", calculation))]
        self._events += [SlotSet("card", calculation["card"])]
        if result and "spoken" in result:
            say_result(self._dispatcher, result)
        elif not result:
            self._events.append(FollowupAction("calculator_form"))
        return True

    def _calculator_near(self) -> dict[str, Any] | None:
        """A calculator on the subject of the last answer, not yet begun."""
        if self._last is None:
            return None
        for card in cards():
            if card.calculator and card.topic == self._last.topic:
                return begun(card.calculator, card.id, {})
        return None

    async def _inside(self, form: str) -> None:
        """A policy question inside a form is answered shortly; the form asks again."""
        calculation = self._tracker.get_slot("calculation")
        if form == "calculator_form" and calculation:
            found = taken(calculation, self._said.text)
            if calculation["asked"] in found:
                inputs = {**calculation["inputs"], **found}
                going_on = {**calculation, "inputs": inputs, "misses": 0}
                self._events += await step(going_on, self._dispatcher, self._tracker)
                return
        meanings = self._said.cards
        first = meanings[0] if meanings else None
        card = cards().get(first.name) if first else None
        if self._said.intent == OUT_OF_SCOPE:
            found = await self._follow_up()
            if found is None:
                self._dispatcher.utter_message(response="utter_out_of_scope_in_form")
                return
        else:
            sure = self._sure_of(first, self._said.ranking) if first else 0.0
            found = Found(card, sure) if card else None
        made_of_it = decide(found.sure, Cost.ANSWER, thresholds()) if found else Decision.ASK
        if found is None or made_of_it not in (Decision.ACCEPT, Decision.IMPLY):
            self._events += await missed_in_form(self._dispatcher, self._tracker)
            return
        card, named = found.card, made_of_it is Decision.IMPLY
        if form != "calculator_form":
            self._events.append(SlotSet("card", card.id))
        text = (card.named if named else "") + self._answer_with_basis(card)
        self._say(text, None, cards_told=[card], named=named)


def _for_the_other_sex(title: str, core: str) -> str | None:
    """The last question asked for women where it was about men, or the other way round."""
    asked = _ONLY_SEX.fullmatch(core)
    other = {"男": "女", "女": "男"}[asked[1]] if asked else ""
    return title.replace(other, asked[1]) if asked and other in title else None


def _among_themselves(meanings: list[Meaning]) -> list[Meaning]:
    """With the confidence that each has where it can only be one of these."""
    total = sum(each.confidence for each in meanings)
    return [Meaning(each.name, each.confidence / total) for each in meanings]


def _retirement_calculator() -> Card | None:
    return next((card for card in cards() if card.calculator == "retirement"), None)


def _names(several: list[Card]) -> set[str]:
    return {card.meaning for card in several}


def _own_characters(text: str, card: Card, other: Card) -> float:
    """Share of the text that stands in this card's title and not in the other's."""
    own = set(card.title) - set(other.title)
    return sum(character in own for character in text) / max(len(text), 1)
