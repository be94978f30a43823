"""Guards what a caller means by the second one: on answers of the cards as they are spoken."""

import importlib.util
import sys
from types import ModuleType

import pytest

from assistant.dialogue import policies
from assistant.dialogue.serving import RASA_PROJECT


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("items", RASA_PROJECT / "actions" / "items.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["items"] = module  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


items = _module()
CARDS = {card.id: card for card in policies.load()}


def _told(card_id: str) -> str:
    """A card's answer as it is spoken, with its basis and the question after it."""
    card = CARDS[card_id]
    question = card.offer.question if card.offer else "还有什么可以帮您？"
    return f"{card.answer}依据是{card.basis}。{question}"


def _listed(text: str, heard: str | None = None, noun: str = "") -> list[str]:
    """The items, when the caller heard up to the end of `heard`."""
    place = len(text) if heard is None else text.index(heard) + len(heard)
    found = items.listing(text, place, noun)
    return [item.text for item in found.items] if found else []


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        (
            _told("survivor_materials"),
            ["死亡证明", "申领人的身份证", "跟去世的人的关系证明", "收款的银行卡"],
        ),
        (
            _told("unemployment_involuntary"),
            ["合同到期", "单位破产关闭", "被辞退裁员", "单位提出来协商解除"],
        ),
        (_told("injury_no_contract"), ["工资记录", "工牌", "考勤", "工友证言"]),
        (_told("benefit_more"), ["缴得长", "缴得多", "退得晚"]),
        (
            CARDS["medical_reimburse"].more,
            ["收费票据", "费用清单", "诊断证明", "病历资料"],
        ),
        (
            CARDS["enrolment_wrong"].more,
            ["缴费凭证", "工资条", "劳动合同", "老的养老手册"],
        ),
        (
            _told("transfer_how"),
            ["在新地方参上保", "向新参保地的经办机构申请，关系就跟着您转过去"],
        ),
        (
            "分三步。第一，先做失业登记。第二，带身份证去窗口。第三，等短信通知。要不要听听要多久？",
            ["先做失业登记", "带身份证去窗口", "等短信通知"],
        ),
        ("要满足两条，一是年龄到了，二是缴费满15年。", ["年龄到了", "缴费满15年"]),
        # No list: the sentences, but neither the basis nor the question after them.
        (
            "失业金最长领24个月。缴费满5年不足10年的，最长18个月。依据是社会保险法第46条。"
            "还有什么可以帮您？",
            ["失业金最长领24个月。", "缴费满5年不足10年的，最长18个月。"],
        ),
        ("您好，这里是社会保险热线。请直接说，您要问什么，或者办什么？", []),
        ("好的，这一项先不办了。还有什么可以帮您？", []),
        ("", []),
    ],
)
def test_the_items_of_an_answer(text: str, listed: list[str]) -> None:
    assert _listed(text) == listed


def test_where_each_item_begins_is_where_it_stands() -> None:
    for card in CARDS.values():
        for text in (card.answer, card.more):
            found = items.listing(text, len(text))
            for item in found.items if found else []:
                assert text[item.start :].startswith(item.text)


TWO_LISTS = "可以带户口本、身份证、照片去窗口。也可以用电子社保卡、掌上12333办。等10天就好。"


@pytest.mark.parametrize(
    ("heard", "noun", "first"),
    [
        ("户口本、", "", "户口本"),
        ("也可以用电子社", "", "电子社保卡"),
        ("可以", "", "户口本"),
        (None, "", "户口本"),
        (None, "窗口", "户口本"),
        ("也可以用电子社", "窗口", "户口本"),
    ],
)
def test_the_list_that_was_being_said_is_meant(heard: str | None, noun: str, first: str) -> None:
    assert _listed(TWO_LISTS, heard, noun)[0].endswith(first)


def test_what_was_heard_of_a_list_is_known() -> None:
    text = _told("survivor_materials")
    found = items.listing(text, text.index("关系证明"))
    assert [item.text for item in found.heard(text.index("关系证明"))] == [
        "死亡证明",
        "申领人的身份证",
        "跟去世的人的关系证明",
    ]


@pytest.mark.parametrize(
    ("heard", "left"),
    [(0, "甲。乙，丙。丁？"), (1, "甲。乙，丙。丁？"), (2, "乙，丙。丁？"), (5, "乙，丙。丁？"),
     (6, "丁？"), (8, "")],
)  # fmt: skip
def test_going_on_begins_with_the_sentence_that_was_cut(heard: int, left: str) -> None:
    assert items.rest("甲。乙，丙。丁？", heard) == left


@pytest.mark.parametrize(
    ("said", "places"),
    [
        ("刚才说的第二个是什么", [2]),
        ("第二个材料再说一下", [2]),
        ("第2条再念一下", [2]),
        ("第十二点", [12]),
        ("第二十条", [20]),
        ("第一个和第三个再说一遍", [1, 3]),
        ("头一样是啥", [1]),
        ("最后一个", [-1]),
        ("倒数第二个是什么", [-2]),
        ("刚才那个是什么", []),
    ],
)
def test_which_item_is_named(said: str, places: list[int]) -> None:
    assert items.places(said) == places


@pytest.mark.parametrize(
    ("said", "noun"),
    [
        ("第二个材料再说一下", "材料"),
        ("第三种情况是什么", "情况"),
        ("第二个是什么", ""),
        ("第二个", ""),
    ],
)
def test_what_the_caller_calls_an_item(said: str, noun: str) -> None:
    assert items.noun(said) == noun


@pytest.mark.parametrize(
    ("said", "back"),
    [("刚才说的第二个", True), ("第二个再说一遍", True), ("第二个", False), ("第二个吧", False)],
)
def test_who_means_what_was_told_and_not_what_was_offered(said: str, back: bool) -> None:
    assert items.points_back(said) is back
