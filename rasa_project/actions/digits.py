"""Numbers as people say them on the telephone, read into digits. Uses the standard library only."""

import re
import unicodedata

_DIGITS = {
    "零": "0", "〇": "0", "洞": "0", "圈": "0",
    "一": "1", "幺": "1", "二": "2", "两": "2", "三": "3", "四": "4", "五": "5",
    "六": "6", "七": "7", "拐": "7", "八": "8", "九": "9", "勾": "9",
    "壹": "1", "贰": "2", "叁": "3", "肆": "4", "伍": "5",
    "陆": "6", "柒": "7", "捌": "8", "玖": "9",
}  # fmt: skip

_SOUND_ALIKE = {
    "0": "灵林凌玲铃临另龄宁",
    "1": "夭腰要邀妖衣医依伊",
    "2": "儿耳而尔饿",
    "3": "山伞散",
    "4": "寺似死司思斯是事市",
    "5": "舞武吴午无屋我",
    "6": "流留刘溜牛",
    "7": "期漆齐妻气起其奇旗",
    "8": "吧巴爸把拔",
    "9": "久酒旧就救",
}
"""What a recogniser writes for a digit that it heard right."""

_ALIKE = {char: digit for digit, chars in _SOUND_ALIKE.items() for char in chars}

_BETWEEN_ONLY = frozenset("是事要我就吧把起其无另而")
"""Everyday words: a digit only between two other digits."""

_X = re.compile(r"[xX×]|大?叉|[艾埃爱]克斯|爱克司|ex", re.IGNORECASE)

_FILLERS = re.compile(
    r"(?:我|本人|老伴|他|她)?的?(?:居民)?(?:身份证|证件|社保|查询)?(?:号码?|密码)(?:是|为)?"
    r"|身份证|我?说一下|我说|您?听(?:好|着)|记一下|就是|应该是|好像是|然后|后面(?:是|的)?|接着|接下来|开头|最后一[位个]是?"
    r"|[嗯呃啊哦噢呢哈]|那个|这个|等一下|等等|你好|您好|好的?|一共|[,，.。、\s\-—:：；;/]"
)

_RESTART = re.compile(
    r"(?:哦|啊|哎)?(?:不对|不是|错了|说错了?|讲错了?|不好意思|更正一下?|改一下)+[，,。\s]*(?:应该是|是|重说|重来)?"
)

_TAIL = re.compile(
    r"(?:最后|后面?|末尾?)(?P<count>[一二两三四五六七八九\d])[位个](?:数字?)?(?:是|应该是|为)?"
)
_HEAD = re.compile(
    r"(?:最?前面?|开头)(?P<count>[一二两三四五六七八九\d])[位个](?:数字?)?(?:是|应该是|为)?"
)

_MONTH_OR_DAY = re.compile(r"(?P<number>\d{1,2})(?=[月日号])")
_REPEATED = re.compile(r"(?P<count>[2-9])个(?P<digit>\d)")
_DOUBLED = re.compile(r"[双俩](\d)")
_UNITS = re.compile(r"年(?=\d{0,2}十?\d?月)|[月日号个十位双俩]")
_TENS = re.compile(r"(?P<tens>[1-9]?)十(?P<ones>[1-9]?)")


def hear(text: str, heard: str = "", length: int = 18) -> str:
    """The digits known after `text`, when `heard` were known before it and `length` are awaited.

    A number may come in several turns; corrections (不对，是…；最后四位是…) change what was heard.
    The result can be shorter or longer than `length`; X stands for the last place of an ID.
    """
    known = heard
    for index, part in enumerate(_RESTART.split(text)):
        place = _TAIL.search(part) or _HEAD.search(part)
        before = part[: place.start()] if place else part
        known = _join(known, read(before), length, corrects=index > 0)
        if place:
            known = _replace(known, read(part[place.end() :]), tail=place.re is _TAIL)
    return known


def read(text: str) -> str:
    """The digits in a text in which digits are expected, in order."""
    return _digits(_unfilled(text))


def is_number(text: str) -> bool:
    """Whether the text is mostly a number, rather than a sentence with a number in it."""
    for pattern in (_TAIL, _HEAD, _RESTART):
        text = pattern.sub("", text)
    spelt = _UNITS.sub("", "".join(_spell(_unfilled(text))))
    digits = len(re.findall(r"[0-9X]", spelt))
    return digits > 0 and digits * 5 >= len(spelt) * 3


def id_number_is_valid(number: str) -> bool:
    """18 places whose last one agrees with the others (GB 11643, ISO 7064 MOD 11-2)."""
    if not re.fullmatch(r"[0-9]{17}[0-9X]", number):
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17]


def _unfilled(text: str) -> str:
    return _FILLERS.sub("", unicodedata.normalize("NFKC", text))


def _digits(text: str) -> str:
    text = "".join(_spell(text))
    text = _TENS.sub(lambda m: f"{m['tens'] or 1}{m['ones'] or 0}", text)
    text = _MONTH_OR_DAY.sub(lambda m: m["number"].zfill(2), text)
    text = _REPEATED.sub(lambda m: m["digit"] * int(m["count"]), text)
    text = _DOUBLED.sub(r"\1\1", text)
    return "".join(re.findall(r"[0-9X]", text))


def _spell(text: str) -> list[str]:
    """The characters, those that stand for a digit replaced by it."""
    chars = [_DIGITS.get(char, char) for char in _X.sub("X", text)]
    for place, char in enumerate(chars):
        if char in _ALIKE and (char not in _BETWEEN_ONLY or _between_digits(chars, place)):
            chars[place] = _ALIKE[char]
    return chars


def _between_digits(chars: list[str], place: int) -> bool:
    return 0 < place < len(chars) - 1 and chars[place - 1].isdigit() and chars[place + 1].isdigit()


def _join(known: str, new: str, length: int, corrects: bool) -> str:
    if not corrects:
        # Too much for one number: the caller has begun again.
        return known + new if len(known) + len(new) <= length or not known else new
    if len(new) >= len(known):
        return new
    return known[: len(known) - len(new)] + new


def _replace(known: str, new: str, tail: bool) -> str:
    if len(new) >= len(known):
        return new
    return known[: len(known) - len(new)] + new if tail else new + known[len(new) :]
