"""What the hotline has just told, item by item: the second one, the last one, the one just said.

Pure, and uses the standard library only. Places are counted in characters of the text told.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SENTENCE = re.compile(r"[^。！？；\n]*[。！？；\n]+[”’」』）)]*|[^。！？；\n]+$")

_CLAUSE = re.compile(r"[^，：]+")

_ASIDE = re.compile(r"^(?:好的，|依据是|第\d+项是|最后一项是|刚才说到的是)|？$")
"""Sentences about the answer, and questions: nobody counts them among what was told."""

_MARKER = re.compile(
    r"(?:^|(?<=[，。；：]))(?:第[一二三四五六七八九十]+(?:步|条|点|项|个|种)?[，是：]?"
    r"|[一二三四五六七八九]是|首先，?|其次，?|再次，?|最后，?)"
)

_STEP = re.compile(r"^(?:再|然后|接着|最后)(?!次)")
_FIRST_STEP = re.compile(r"^.{0,12}?先(?!后|行|进|前|天)")

_ALSO = re.compile(r"^(?:还有|以及|或者|再加上)")
_LAST_OF_LIST = re.compile(r"(?<=.{2})(?:以及|或者|还有|和)(?=.{2})")

_HEAD = re.compile(
    r"^.{0,12}?(?:需要|要(?!求)|准备|带上?|可以用|一般用|可以到|包括|比如|例如|分为|有(?!效|关|的)|是(?!否)|由|凭)+"
    r"(?=.{2})"
)
"""What leads to the first item of a list: 一般要死亡证明、…"""

_TAIL = re.compile(r"(?<=.{2})(?:这些|这几|等等?|都(?!市)|也|均|就行|就可以|就能|，).*$")

_PLACE = re.compile(r"(倒数)?第([一二两三四五六七八九十\d]+)|(头一)|(最后|最末|末尾)")

_NOUN = re.compile(
    r"(?:个|条|点|项|样|步|种|件|份)(?P<noun>(?!是|再|没|叫|怎|说|来)[一-鿿]{2,4}?)(?=再|是|没|叫|怎|说|来|呢|啥|$)"
)

_POINTS_BACK = re.compile(
    "刚才|刚刚|刚(?:说|讲|报)|再(?:说|讲|念|报|重复)|前面(?:说|讲)|前头|来着|一遍|没听|没记"
)
"""Who says one of these means what was told, not what was offered."""

_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九十")} | {"两": 2}


@dataclass(frozen=True)
class Item:
    """One thing told."""

    text: str
    start: int
    """Where it begins in the text."""


@dataclass(frozen=True)
class Listing:
    """Things told one after another."""

    items: list[Item]
    sentence: str
    """Where they stand; empty where the items are whole sentences."""

    @property
    def start(self) -> int:
        """Where it begins in the text."""
        return self.items[0].start

    def heard(self, heard: int) -> list[Item]:
        """The items of which something was heard, when so much of the text was."""
        return [item for item in self.items if item.start < heard]


def sentences(text: str) -> list[Item]:
    """The sentences of a text, each with its end mark."""
    return [Item(match[0], match.start()) for match in _SENTENCE.finditer(text)]


def rest(text: str, heard: int) -> str:
    """From the sentence on in which the caller stopped hearing."""
    for sentence in sentences(text):
        if sentence.start + len(sentence.text) > heard:
            return text[sentence.start :]
    return ""


def listing(text: str, heard: int, noun: str = "") -> Listing | None:
    """The list that the caller means when so much of the text was heard; None without two items.

    The one being said when they cut in, else the longest; `noun` is what they call an item.
    """
    found = [each for each in _listings(text) if len(each.items) > 1]
    found = [each for each in found if noun and noun in each.sentence] or found
    if heard < len(text):
        found = [each for each in found if each.start < heard][-1:] or found[:1]
    if found:
        return max(found, key=lambda each: len(each.items))
    told = [sentence for sentence in sentences(text) if not _ASIDE.search(sentence.text)]
    return Listing(told, "") if len(told) > 1 else None


def places(text: str) -> list[int]:
    """Which items a caller names, from 1; -1 is the last one. None named: the one just told."""
    found = []
    for backwards, number, first, last in _PLACE.findall(text):
        place = 1 if first else -1 if last else _number(number)
        found.append(-place if backwards else place)
    return found


def noun(text: str) -> str:
    """What a caller calls the item: 材料 in 第二个材料再说一下; empty where they do not."""
    match = _NOUN.search(text)
    return match["noun"] if match else ""


def points_back(text: str) -> bool:
    """Whether 第二个 means what was told even where a choice of two was offered."""
    return bool(_POINTS_BACK.search(text))


def _number(written: str) -> int:
    if written.isdigit():
        return int(written)
    tens, ten, ones = written.rpartition("十")
    return (_DIGITS.get(tens, 1) * 10 if ten else 0) + _DIGITS.get(ones, 0)


def _listings(text: str) -> Iterator[Listing]:
    if marked := _marked(text):
        yield marked
    for sentence in sentences(text):
        if _ASIDE.search(sentence.text):
            continue
        items = _enumerated(sentence) or _steps(sentence)
        if items:
            yield Listing(items, sentence.text)


def _marked(text: str) -> Listing | None:
    """第一，…第二，… over several sentences."""
    markers = list(_MARKER.finditer(text))
    if len(markers) < 2:
        return None
    ends = [marker.start() for marker in markers[1:]]
    last = next(
        (
            sentence.start + len(sentence.text)
            for sentence in sentences(text)
            if sentence.start + len(sentence.text) > markers[-1].end()
        ),
        len(text),
    )
    items = [
        Item(text[marker.end() : end].rstrip("，。；：！"), marker.end())
        for marker, end in zip(markers, [*ends, last], strict=True)
    ]
    return Listing(items, text)


def _enumerated(sentence: Item) -> list[Item]:
    """A、B和C, with an 还有D after it."""
    items: list[Item] = []
    for clause in _CLAUSE.finditer(sentence.text.rstrip("。！；")):
        start = sentence.start + clause.start()
        also = _ALSO.match(clause[0])
        if items and also:
            items += _parts(clause[0][also.end() :], start + also.end())
        elif "、" in clause[0]:
            more = _parts(clause[0], start)
            items = more if len(more) > len(items) else items
    return items


def _parts(clause: str, start: int) -> list[Item]:
    head = _HEAD.match(clause.partition("、")[0])
    offset = head.end() if head else 0
    pieces = clause[offset:].split("、")
    pieces[-1] = _TAIL.sub("", pieces[-1])
    if split := _LAST_OF_LIST.search(pieces[-1]):
        pieces[-1:] = [pieces[-1][: split.start()], pieces[-1][split.end() :]]
    items = []
    for piece in pieces:
        offset = clause.index(piece, offset)
        items.append(Item(piece, start + offset))
        offset += len(piece)
    return items


def _steps(sentence: Item) -> list[Item]:
    """先…，再…"""
    items: list[Item] = []
    for clause in _CLAUSE.finditer(sentence.text.rstrip("。！；")):
        step = _STEP.match(clause[0]) if items else _FIRST_STEP.match(clause[0])
        start = sentence.start + clause.start()
        if step:
            items.append(Item(clause[0][step.end() :], start + step.end()))
        elif items:
            before = items.pop()
            items.append(Item(f"{before.text}，{clause[0]}", before.start))
    return items if len(items) > 1 else []
