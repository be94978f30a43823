"""How values become words: reply templates, and values as they are written in them.

Numbers stay digits here; reading them aloud is the synthesiser's text normaliser's work.
"""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from assistant.backend.columns import FEN
from assistant.backend.months import MONTH

Value = str | int | Decimal | date | None
"""A fact in a reply; Decimal is yuan, a string like 2026-11 is a month."""

PLACEHOLDER = re.compile(r"\{(\w+)\}")
_SENTENCE = re.compile(r"[^。！？]*[。！？]?")

CARD_STATES = {
    "sealed": "待启用",
    "producing": "制卡中",
    "normal": "正常",
    "temp_lost": "临时挂失",
    "lost": "正式挂失",
    "expired": "已到期",
    "cancelled": "已注销",
}
CASE_STAGES = {
    "submitted": "已收到",
    "accepted": "正在审核",
    "approved": "审核通过，等发放",
    "rejected": "没通过",
    "done": "办好了",
}


def render(template: str, values: Mapping[str, Value]) -> str:
    """Fill a template. A clause (up to ， or the end of its sentence) that needs an empty
    value is dropped, and so is a sentence that has lost all its clauses.
    """
    sentences = []
    for sentence in _SENTENCE.findall(template):
        body, end = (sentence[:-1], sentence[-1:]) if sentence[-1:] in "。！？" else (sentence, "")
        clauses = [c for c in body.split("，") if _complete(c, values)]
        if any(clauses):
            sentences.append("，".join(clauses) + end)
    return PLACEHOLDER.sub(lambda match: written(values[match[1]]), "".join(sentences))


def written(value: Value) -> str:
    """A value as it stands in a sentence: 58214.36, 2026年11月23日, 2026年11月."""
    match value:
        case Decimal():
            return f"{value.quantize(FEN):f}".rstrip("0").rstrip(".")
        case date():
            return f"{value.year}年{value.month}月{value.day}日"
        case str() if MONTH.fullmatch(value):
            return f"{value[:4]}年{int(value[5:])}月"
        case None:
            return ""
        case _:
            return str(value)


def served(value: Value) -> str | int | None:
    """A value as the API gives it: money as a decimal string, dates in ISO form."""
    match value:
        case Decimal():
            return f"{value.quantize(FEN):f}"
        case date():
            return value.isoformat()
        case _:
            return value


def _complete(clause: str, values: Mapping[str, Value]) -> bool:
    return all(values[name] not in (None, "") for name in PLACEHOLDER.findall(clause))
