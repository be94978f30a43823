"""What a caller says for a calculator, read into its inputs. Uses the standard library only.

Each input has patterns that tell it by its own words (出生, 交了…年, 账户里有…); a bare value is
the one that the hotline has just asked for.
"""

import datetime
import re
import unicodedata
from decimal import Decimal

UNKNOWN = "unknown"

MONEY = ("wage", "average", "base", "basic", "balance", "minimum")
MAY_BE_UNKNOWN = frozenset({"post", "index", "base", "basic", "average"})

LONGEST = 300
"""Characters that are looked at; nobody names a value after them."""

_FIGURE = {
    "零": 0,
    "一": 1,
    "二": 2,
    "两": 2,
    "三": 3,
    "四": 4,
    "五": 5,
    "六": 6,
    "七": 7,
    "八": 8,
    "九": 9,
}
_UNIT = {"十": 10, "百": 100, "千": 1000}

_CANONICAL = str.maketrans(
    "〇○幺壹贰叁肆伍陆柒捌玖拾佰仟萬兩", "零零一一二三四五六七八九十百千万两"
)
_CORRECTION = re.compile(r"(?:^|[，,。\s])(?:哦|啊)?(?:不对|不是|说错了|讲错了|错了|应该是|更正)+")
_NO_FIGURE = re.compile(
    r"一(?:下|些|定|般|直|起|样|共|会儿?|遍|次性|边|点(?![零一二三四五六七八九\d])|个(?!月))|第[一二三]个?"
)
"""Everyday words with a figure in them: 查一下 is no number."""

_NUMBER = r"(?:\d+(?:\.\d+)?|[零一二两三四五六七八九十百千]+)"
_DIGITS = r"(?:\d+|[零一二两三四五六七八九]+)"

_BORN = re.compile(
    rf"(?P<year>{_DIGITS})年(?:的|份)?(?:生的?|出生的?)?(?P<month>{_NUMBER})月(?!的?(?:养老金|退休金|工资))"
    rf"(?:份?的?(?P<day>{_NUMBER})[日号])?"
)
_BORN_YEAR = re.compile(rf"(?P<year>{_DIGITS})年?(?:生|出生|的)?")
_RETIRES = re.compile(rf"(?P<year>{_DIGITS})年(?:以后|后|左右)?(?:到龄|到年龄|退休|达到)")
_LENGTH = re.compile(
    rf"(?:(?P<less>不到|不满|差点)?(?P<years>{_NUMBER})(?:来|多)?年(?P<half>半)?"
    rf"(?:零|又|多)?(?:(?P<more>{_NUMBER})个?月)?|(?P<months>{_NUMBER})个月|(?P<halfyear>半年))"
)
_PAID = re.compile(r"[交缴]|工龄|累计|参保|满|上了|干了|社保")
_NO_LENGTH = re.compile(r"(?:以后|以前|前|后|底|初|开始|出生|退休)")
_CARRIED = re.compile(
    rf"(?:剩下?|没领完|没领的|余下?)[^零一二两三四五六七八九十\d]{{0,6}}(?P<months>{_NUMBER})个?月"
)
_AGE = re.compile(rf"(?P<years>{_NUMBER})周?岁(?:零|又)?(?:(?P<months>{_NUMBER})个?月)?")
_AGE_RETIRES = re.compile(rf"{_AGE.pattern}(?:的时候|时)?(?:才|就|再|办)?退")
_INDEX = re.compile(
    rf"(?:百分之(?P<percent>{_NUMBER})|(?P<percent2>\d+)%|(?P<tenths>{_NUMBER})成|(?P<times>{_NUMBER})倍"
    r"|(?P<point>[零一二两三\d](?:点|\.)[零一二三四五六七八九\d]+))"
)
_GRADE = re.compile(rf"(?P<grade>{_NUMBER})级")
_MONEY = re.compile(
    rf"(?P<number>(?:\d+(?:\.\d+)?|[零一二两三四五六七八九十百千]+)(?:点[零一二三四五六七八九]+)?"
    rf"(?:万(?:{_NUMBER})?)?)(?:来|多|几)?(?:块钱?|元|圆)?(?P<jiao>[零一二两三四五六七八九\d])?(?:毛|角)?"
)
_CUES = {
    "minimum": r"最低工资",
    "average": r"社平|平均工资|社会平均",
    "basic": r"基础养老金",
    "base": r"计发基数|缴费基数|基数",
    "balance": r"账户|里面有|里头有|攒了|存了|余额",
    "wage": r"缴费工资|工资|一个月挣|每月挣|月薪",
}
_NO_MONEY = re.compile(r"^(?:个?月|年|岁|级|成|倍|天|号|日|点|个|次|种|险)")

_FEMALE = re.compile(r"女(?!儿|婿)|妇女|大姐|阿姨")
_MALE = re.compile(r"男|先生")
_FEMALE_KIN = re.compile(
    r"我(?:的)?(?:老婆|妈|母亲|媳妇|爱人是女|闺女|女儿|姐|妹|奶奶|姥姥|婆婆|妻子)"
)
_MALE_KIN = re.compile(r"我(?:的)?(?:老公|爸|父亲|爷爷|儿子|哥|弟|丈夫|公公|姥爷)")
_MANAGEMENT = re.compile(
    r"管理|技术岗|技术人员|干部|办公室|科室|行政|会计|教师|老师|工程师|护士|医生|大夫|职员|财务|文员|专业技术|教书|人事|主任|科长|经理"
)
_WORKER = re.compile(
    r"工人|车间|一线|生产线|操作|流水线|纺织|保洁|服务员|女工|后勤|售货员|挡车|缝纫|食堂|营业员|厂妹|普工"
)
_IGNORANT = re.compile(
    r"不知道|不清楚|不晓得|不大清楚|没数|说不上来|说不好|不记得|记不清|没算过|随便|不懂|不了解|搞不清|弄不清"
)


def values(text: str, asked: str | None = None) -> dict[str, str]:
    """Every input in the text, as the service API takes it; see `assistant.backend.calculators`.

    Without `asked` only what is told by its own words; with it a bare value is that input.
    What is said after 不对 or 应该是 replaces what was said before.
    """
    clean = unicodedata.normalize("NFKC", text[:LONGEST]).translate(_CANONICAL)
    clean = _NO_FIGURE.sub("，", clean)
    found: dict[str, str] = {}
    for part in _CORRECTION.split(clean):
        found.update(_read(part, asked))
    if asked in MAY_BE_UNKNOWN and asked not in found and _IGNORANT.search(clean):
        found[asked] = UNKNOWN
    if asked == "post" and asked not in found and re.search("灵活就业|自己[交缴]", clean):
        found[asked] = UNKNOWN
    return found


def _read(text: str, asked: str | None) -> dict[str, str]:
    found: dict[str, str] = {}
    found.update(_person(text))
    rest = text
    for read in (_dates, _ages, _shares, _lengths):
        some, rest = read(rest, asked)
        found.update(some)
    found.update(_money(rest, asked))
    return found


def _person(text: str) -> dict[str, str]:
    found = {}
    female, male = _FEMALE.search(text), _MALE.search(text)
    if female and not male:
        found["gender"] = "female"
    elif male and not female:
        found["gender"] = "male"
    elif not female and not male:
        if _FEMALE_KIN.search(text):
            found["gender"] = "female"
        elif _MALE_KIN.search(text):
            found["gender"] = "male"
    management, worker = _MANAGEMENT.search(text), _WORKER.search(text)
    if bool(management) != bool(worker):
        found["post"] = "management" if management else "worker"
    return found


def _dates(text: str, asked: str | None) -> tuple[dict[str, str], str]:
    """Birth month and year of retirement; and the text without them."""
    found = {}
    if match := _RETIRES.search(text):
        found["year"] = _year(match["year"], future=True)
        text = _without(text, match)
    elif match := _BORN.search(text):
        if len(_figures(match["year"])) in (2, 4) and match["month"]:
            month = int(_integer(match["month"]))
            found["born"] = f"{_year(match['year'])}-{month:02d}"
            if match["day"] and not _exists(found["born"], _integer(match["day"])):
                found["born"] += f"-{int(_integer(match['day']))}"  # no month: it is refused
            text = _without(text, match)
    elif asked in ("born", "year") and (match := _BORN_YEAR.search(text)):
        figures = _figures(match["year"])
        if len(figures) in (2, 4):
            found[asked] = _year(match["year"], future=asked == "year")
            text = _without(text, match)
    if asked == "year" and "born" not in found and "year" not in found:
        match = re.search(rf"({_DIGITS})年", text)
        if match and len(_figures(match[1])) in (2, 4):
            found["year"] = _year(match[1], future=True)
            text = _without(text, match)
    return found, text


def _exists(month: str, day: float) -> bool:
    """Whether the month has this day."""
    try:
        datetime.date.fromisoformat(f"{month}-{int(day):02d}")
    except ValueError:
        return False
    return True


def _ages(text: str, asked: str | None) -> tuple[dict[str, str], str]:
    pattern = _AGE if asked == "age" else _AGE_RETIRES
    match = pattern.search(text)
    if match is None and asked == "age":
        match = re.search(rf"(?P<years>{_NUMBER})(?P<months>(?!))?", text)
    if match is None:
        return {}, _AGE.sub("", text)
    months = _integer(match["years"]) * 12 + _integer(match["months"] or "零")
    return {"age": str(months)}, _without(text, match)


def _shares(text: str, asked: str | None) -> tuple[dict[str, str], str]:
    """Contribution index and injury grade."""
    found = {}
    if match := _GRADE.search(text):
        found["grade"] = str(_integer(match["grade"]))
        text = _without(text, match)
    elif asked == "grade" and (match := re.search(_NUMBER, text)):
        found["grade"] = str(_integer(match.group()))
        text = _without(text, match)
    if match := _INDEX.search(text):
        if percent := match["percent"] or match["percent2"]:
            share = _decimal(percent) / 100
        elif match["tenths"]:
            share = _decimal(match["tenths"]) / 10
        elif match["times"]:
            share = _decimal(match["times"])
        else:
            share = _decimal(match["point"].replace("点", "."))
        if asked in ("index", None) or match["point"] is None:
            found["index"] = _plain(share)
            text = _without(text, match)
    elif asked == "index":
        if re.search("最低|百分之?六十|下限", text):
            found["index"] = "0.6"
        elif re.search("最高|上限|封顶", text):
            found["index"] = "3"
        elif re.search("百分之?百|社平|平均|十成|全额", text):
            found["index"] = "1"
    return found, text


def _lengths(text: str, asked: str | None) -> tuple[dict[str, str], str]:
    """Months of contributions, and those of benefit not drawn."""
    found = {}
    match = _CARRIED.search(text)
    if match is None and asked == "carried":
        match = re.search(rf"(?P<months>{_NUMBER})个?月?", text)
    if match:
        found["carried"] = str(_integer(match["months"]))
        text = _without(text, match)
    for match in _LENGTH.finditer(text):
        before, after = text[max(0, match.start() - 8) : match.start()], text[match.end() :][:3]
        told = _PAID.search(before) or re.match(r"的?(?:工龄|社保|养老|失业|保险)", after)
        dated = match["years"] and len(_figures(match["years"])) in (2, 4) and not told
        if (dated and asked != "months") or _NO_LENGTH.match(after):
            continue
        if match["years"] and len(_figures(match["years"])) == 4:  # 二零二五年 is a date
            continue
        if asked == "months" or told:
            found["months"] = str(_months(match))
            return found, _without(text, match)
    if asked == "months" and "months" not in found and (match := re.search(_NUMBER, text)):
        found["months"] = str(_integer(match.group()) * 12)
        text = _without(text, match)
    return found, text


def _months(match: "re.Match[str]") -> int:
    if match["halfyear"]:
        return 6
    if match["months"]:
        return _integer(match["months"])
    months = _integer(match["years"]) * 12 + (6 if match["half"] else 0)
    months += _integer(match["more"] or "零")
    return months - 1 if match["less"] else months


def _money(text: str, asked: str | None) -> dict[str, str]:
    """Amounts, each told by the words before it; a bare one is what was asked."""
    found: dict[str, str] = {}
    end = 0
    for match in _MONEY.finditer(text):
        before, after = text[end : match.start()], text[match.end() :]
        if _NO_MONEY.match(after):
            continue
        amount = _amount(match["number"]) + _decimal(match["jiao"] or "零") / 10
        end = match.end()
        cues = {name: list(re.finditer(cue, before)) for name, cue in _CUES.items()}
        places = {name: found_at[-1].end() for name, found_at in cues.items() if found_at}
        # The nearest word counts; where two end together (最低工资, 工资), the longer one.
        named = max(places, key=lambda name: places[name]) if places else None
        if named is None and asked in MONEY and asked not in found:
            named = asked
        if named and named not in found and amount >= 1:
            found[named] = _plain(amount)
    return found


def _amount(text: str) -> Decimal:
    """Yuan: 三万两千, 四千五 (4500), 一万二 (12000), 12.5万."""
    head, ten_thousands, tail = text.partition("万")
    head = head.replace("点", ".")
    if not ten_thousands:
        return _colloquial(head)
    left = _decimal(head) * 10000
    if not tail:
        return left
    return left + (
        _decimal(tail) * 1000 if len(tail) == 1 and tail in _FIGURE else _colloquial(tail)
    )


def _colloquial(text: str) -> Decimal:
    """四千五 is 4500: a last figure without its unit is of the next smaller one."""
    if len(text) >= 3 and text[-1] in _FIGURE and text[-2] in _UNIT and text[-2] != "十":
        return _decimal(text[:-1]) + _FIGURE[text[-1]] * _UNIT[text[-2]] // 10
    return _decimal(text)


def _decimal(text: str) -> Decimal:
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return Decimal(text)
    whole, point, part = text.partition(".")
    if point:
        return Decimal(f"{_integer(whole)}.{_figures(part)}")
    return Decimal(_integer(text))


def _integer(text: str) -> int:
    """A whole number in figures (七二) or with places (七十二)."""
    if text.isdecimal():
        return int(text)
    if not any(unit in text for unit in _UNIT):
        return int(_figures(text) or "0")
    total, figure = 0, None
    for char in text:
        if char in _UNIT:
            total += (1 if figure is None else figure) * _UNIT[char]
            figure = None
        elif char in _FIGURE:
            figure = _FIGURE[char]
        elif char.isdecimal():
            figure = int(char)
    return total + (figure or 0)


def _figures(text: str) -> str:
    return "".join(str(_FIGURE.get(char, char)) for char in text)


def _year(text: str, future: bool = False) -> str:
    figures = _figures(text)
    if len(figures) != 2:
        return figures
    return ("20" if future or int(figures) <= 15 else "19") + figures


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _without(text: str, match: "re.Match[str]") -> str:
    return text[: match.start()] + "，" + text[match.end() :]
