"""Is what the caller has said so far all of it, or no turn at all? Decided from the words.

Pure functions of text: a complete answer ends the turn after a short silence, an open one (half
a number, 我想问一下那个…) is waited for. Where the words do not tell, the usual silence decides.
"""

import re
from enum import Enum, auto

from assistant.backend.id_number import is_id_number
from assistant.speech.recognizer import Expecting

NUMBER_LENGTH: dict[Expecting, int] = {"id_number": 18, "pin": 6, "case_number": 12}
"""A number of known length is complete without # and without a long silence. A case number is a
day and four digits more; the GD before them is not asked for."""

DIGIT_ANSWERS: frozenset[Expecting] = frozenset({"digits", "id_number", "pin", "case_number"})
"""Answers with pauses in the middle: people breathe between groups of digits."""


class Completeness(Enum):
    """How the words so far look."""

    COMPLETE = auto()
    ASKED = auto()
    """A question or a request at some length: whole, but there may be another."""
    UNSURE = auto()
    OPEN = auto()


_DIGITS = dict(zip("〇零一幺二两三四五六七八九xX", "0011223456789XX", strict=True))
_DIGIT = re.compile("[0-9〇零一幺二两三四五六七八九xX]")
_NOT_SAID = re.compile(r"[\s，。？！、,.?!…]+")

_WHOLE_ANSWER: dict[Expecting, re.Pattern[str]] = {
    "yes_no": re.compile(
        r"(?:嗯|啊|哦|欸)*(?:是的?|对的?|对对|好的?|好啊|可以|行|要的?|需要|没错|没问题|确认|当然|不是的?|不对|不要"
        r"|不用了?|不行|不需要|没有|错了|算了)(?:啊|呀|了|吧|谢谢)*"
    ),
    "choice": re.compile(
        r"(?:我?[选要问])?(?:是)?(?:第[一二]个?|前面那?个?|后面那?个?|男的?|女的?)(?:吧|呢|啊)*"
    ),
    "date": re.compile(r".*年.+月.+[日号](?:的|生的?|出生的?)?"),
}
"""Where the question leaves no more to say."""

_ASKING = (
    r"(?:(?:什么|啥|怎么|谁)(?![也都])|咋(?![里了])|多少|多久|多大|多长"
    r"|(?<![这那前后头好])几(?:[年天岁号月种次块倍]|个月)|哪[里儿些家边个种]?|如何"
    r"|是否|能否|可否|(.)不\1|有没有)"
)
_QUESTION_END = re.compile(
    _ASKING + r".{0,8}$|(?:吗|行不|好不|可以不|中不|[了到过]没)(?:啊|呀|嘛|哦)?$|^.{3,8}呢[啊呀]?$"
)
"""Asked, and a few words behind it at most: 找谁, 能不能再评一次, 要什么材料. A 呢 asks alone
only after a few words: behind many it is a 了 that was misheard."""

_MATTERS = (
    "余额|养老金|退休金|失业金|补贴|账户|社保卡|医保卡|工伤|记录|证明|清单|明细|进度|待遇|情况|密码|年限|缴费|参保|认证"
    "|手续|业务|人工|社保|医保|公积金"
)
_REQUEST_END = re.compile(
    "(?:查|看|问|办|领|打|补|换|转|申请|取消|预约|改|绑|开|做|挂失|激活|认证|咨询|了解)"
    f"[^了过]{{0,8}}(?:{_MATTERS})[吧呀啊]?$|(?:挂失|激活|解绑|停保)[吧呀啊]?$|谢谢[你您啊了]{{0,2}}$"
)
"""What is wanted, and of what: 我想查一下养老金."""

SHORTEST_QUESTION = 6
"""Characters: 养老金呢 may be the beginning of more."""

TERSE = 18
"""Characters of a question that is asked in one breath, with nothing told before it."""

WELL_HEARD = 0.75
"""A recogniser less sure of its words may have made a question of something else."""

_OPEN_END = re.compile(
    r"(?:那个|这个|那什么|就是|就是说|嗯|呃|(?<![余金限总数差面])额|然后|还有|因为|所以|但是|可是|不过|的话|问一下|问下|想问|请问|咨询一下"
    r"|打听一下|关于|比如|比如说|如果|要是|或者|还是|和|跟|以及|我|我的|我们|我想|想|查一下|帮我|麻烦你|另外|就|在|把"
    r"|的时候|以后|之后|以前)$"
)
"""Nobody stops here: a filler, a conjunction, or the opening of a question."""


def completeness(text: str, expecting: Expecting, confidence: float = 0.0) -> Completeness:
    """How the words so far look, in the light of what was asked for; `confidence` is the
    recogniser's, 0 where it is not known."""
    words = _NOT_SAID.sub("", text)
    if not words:
        return Completeness.UNSURE
    if expecting in DIGIT_ANSWERS:
        return _of_number(words, expecting)
    if (whole := _WHOLE_ANSWER.get(expecting)) and whole.fullmatch(words):
        return Completeness.COMPLETE
    if expecting == "yes_no" and not words.strip("嗯啊哦"):
        return Completeness.UNSURE  # a yes, or the breath before a no
    if _OPEN_END.search(words):
        return Completeness.OPEN
    asks = len(words) >= SHORTEST_QUESTION and _QUESTION_END.search(words)
    if asks or _REQUEST_END.search(words):
        doubtful = 0 < confidence < WELL_HEARD
        sure = len(words) <= TERSE and not doubtful
        return Completeness.COMPLETE if sure else Completeness.ASKED
    return Completeness.UNSURE


_BACKCHANNEL = re.compile(
    r"(?:嗯|啊|哦|噢|唔|欸|诶|对|是|好|行|对的|是的|好的|知道了|明白了?|这样啊?)+"
)


def is_backchannel(text: str) -> bool:
    """Whether it is what people say while they listen on: 嗯, 对对, 哦这样."""
    return bool(_BACKCHANNEL.fullmatch(_NOT_SAID.sub("", text)))


def digits_in(words: str) -> str:
    """The digits that are said one by one, as 0 to 9 and X."""
    return "".join(_DIGITS.get(digit, digit) for digit in _DIGIT.findall(words))


def is_whole(digits: str, expecting: Expecting) -> bool:
    """Whether it can be the awaited number: its length is right, and its check digit."""
    if len(digits) != NUMBER_LENGTH.get(expecting, 0):
        return False
    return expecting != "id_number" or is_id_number(digits)


def _of_number(words: str, expecting: Expecting) -> Completeness:
    digits = digits_in(words)
    if not digits:  # no number but words: 转人工, 我忘了密码
        return Completeness.UNSURE
    if len(digits) != NUMBER_LENGTH.get(expecting, 0):
        return Completeness.OPEN
    if not is_whole(digits, expecting):
        return Completeness.UNSURE  # misheard, or corrected in a moment
    return Completeness.COMPLETE
