"""Written text → what a person says: money, dates, digits, percentages, symbols.

The rules are ours because a telephone hotline is particular about it: money in 元角分, identity and
telephone numbers digit by digit in groups, 幺, 两. wetext would take what is left, but its kaldifst
and libvosk each carry OpenFst, and in one process they hang or corrupt each other's memory. The
result has no digit in it, so reading it again changes nothing.
"""

import re
import unicodedata
from collections.abc import Callable

from assistant.speech.numerals import cardinal, counted, digits, grouped, number, one_by_one, yuan

SENTENCE_END = re.compile(r"(?:[。！？；\n]|[!?;](?=\s|$))+[”’」』）)]*")

_NUMBER = r"[+\-−]?\d[\d,]*(?:\.\d+)?"
_TO = r"\s*[-–—~～−]+\s*"
_ALONE = r"(?<![\dA-Za-z.])"
"""No digit, letter or point before: the number starts here."""
_WEB = r"[A-Za-z\d._/\-]"
_MEASURES = (
    "个|项|次|种|位|人|年(?!级)|天|周|岁|小时|分钟|秒|倍|家|张|份|套|户|条|笔|元|块|万|亿|千|百|成|"
    "页|步|遍|句|档次|本|处|件|名|座|辆|类|组|代|季度"
)
_UNITS = {
    "km²": "平方公里", "m²": "平方米", "㎡": "平方米", "km": "公里", "cm": "厘米", "mm": "毫米",
    "m": "米", "kg": "公斤", "mg": "毫克", "g": "克", "ml": "毫升", "ms": "毫秒", "h": "小时",
    "min": "分钟", "℃": "摄氏度", "°C": "摄氏度", "kWh": "千瓦时", "MB": "兆", "GB": "G B",
}  # fmt: skip
_SYMBOLS = {
    "≥": "大于等于", "≤": "小于等于", "＞": "大于", "＜": "小于", ">": "大于", "<": "小于",
    "±": "正负", "×": "乘", "÷": "除以", "＝": "等于", "=": "等于", "≈": "约等于", "≠": "不等于",
    "％": "百分号", "%": "百分号", "&": "和", "+": "加", "@": "艾特", "~": "到", "～": "到",
    "/": "或", "℃": "摄氏度", "￥": "元", "¥": "元", "°": "度", "²": "平方", "㎡": "平方米",
    "〔": "，", "〕": "，", "[": "，", "]": "，", "|": "，", "·": "", "_": "", "`": "",
    "^": "", "{": "", "}": "", "\\": "", "$": "", "#": "", "*": "", "•": "", "●": "", "★": "",
    "→": "到", "№": "编号", "㈠": "一", "℡": "电话", "\t": " ",
}  # fmt: skip
_FULL_WIDTH = {0xFF10 + i: str(i) for i in range(10)} | {
    ord(full): ascii_ for full, ascii_ in zip("％．／－＋＊＃＠＆＿｜", "%./-+*#@&_|", strict=True)
}
_FULL_WIDTH |= {0xFF21 + i: chr(65 + i) for i in range(26)} | {
    0xFF41 + i: chr(97 + i) for i in range(26)
}


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with its end mark; what has no letter or digit is left out."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)] + [len(text)]
    starts = [0, *ends]
    found = [text[start:end].strip() for start, end in zip(starts, ends, strict=False)]
    return [sentence for sentence in found if any(map(str.isalnum, sentence))]


def spoken(text: str) -> str:
    """`text` as it is read aloud; characters that cannot be spoken are left out."""
    text = _clean(text)
    for pattern, say in _RULES:
        text = pattern.sub(say, text)
    text = re.sub(r"\d+", lambda match: grouped(match[0]), text)
    for symbol, words in _SYMBOLS.items():
        text = text.replace(symbol, words)
    text = re.sub(r"[ \u3000]+", " ", text)
    text = re.sub(r"(?<=[\u4e00-\u9fff，。]) (?=[\u4e00-\u9fff，。])", "", text)
    text = re.sub(r"，(?=[，。！？；：、）》”])|(?<=[。！？；：、（《“])，", "", text)
    return text.strip(" ，") if text.strip(" ，。") else ""


def _clean(text: str) -> str:
    """Half-width digits and letters; without emoji, control and format characters."""
    text = _CIRCLED.sub(lambda match: f"{int(unicodedata.numeric(match[0]))}，", text)
    text = _ROMAN.sub(lambda match: str(int(unicodedata.numeric(match[0]))), text)
    text = text.translate(_FULL_WIDTH).replace("\r", "\n")
    kept = (
        c for c in text if c in "\n\t" or unicodedata.category(c) not in _SILENT or c in _SPOKEN
    )
    return "".join(kept)


_CIRCLED = re.compile("[①-⑳]")
_ROMAN = re.compile("[Ⅰ-Ⅻ]")
_SILENT = {"Cc", "Cf", "Cn", "Co", "Cs", "So", "Sk", "Mn", "Me"}
_SPOKEN = set("℃°㎡№℡")


def _identity(match: re.Match[str]) -> str:
    """18 characters: region 6, birth date 8, order and check 4."""
    body, check = match[0][:17], match[0][17]
    if check.isdigit():
        return grouped(match[0], 6, 8, 4)
    return grouped(body, 6, 8, 3) + "艾克斯"


def _masked(match: re.Match[str]) -> str:
    first, last = match[1] or "", (match[2] or match[4] or "").upper()
    end = one_by_one(last.rstrip("X")) + ("艾克斯" if last.endswith("X") else "")
    return (grouped(first, len(first)) + "，" if first else "") + ("尾号" if end else "星号") + end


def _letters_and_digits(match: re.Match[str]) -> str:
    """A case number: letters by name, digits in fours."""
    return f"{' '.join(match[1].upper())} {grouped(match[2])}"


def _standard(match: re.Match[str]) -> str:
    """The number of a standard with its year: GB/T 33358-2016."""
    letters = " ".join(match[1] + (match[2] or ""))
    return f"{letters} {one_by_one(match[3])}，{digits(match[4])}"


def _address(match: re.Match[str]) -> str:
    """A web or mail address: letters one by one, 点 between its parts."""
    marks = {".": "点", "/": "斜杠", "@": "艾特", "-": "杠", "_": "下划线", ":": "冒号"}
    bare = re.sub(r"^https?://", "", match[0]).rstrip("/")
    said = [one_by_one(c) if c.isdigit() else marks.get(c, f" {c.upper()} ") for c in bare]
    return re.sub(r" +", " ", "".join(said)).strip()


def _date(match: re.Match[str]) -> str:
    year, month, day = match[1], int(match[2]), int(match[3] or 0)
    if not 1 <= month <= 12 or day > 31:
        return "，".join(grouped(part) for part in re.findall(r"\d+", match[0]))
    said = f"{digits(year)}年{cardinal(match[2])}月"
    return said + (f"{cardinal(match[3])}日" if day else "")


def _time(match: re.Match[str]) -> str:
    hour, minute, second = match[1], match[2], match[3]
    said = ("两" if hour.lstrip("0") == "2" else cardinal(hour)) + "点"
    if int(minute) or second:
        said += ("零" if int(minute) < 10 else "") + cardinal(minute).replace("零", "") + "分"
    if second:
        said += ("零" if int(second) < 10 else "") + cardinal(second).replace("零", "") + "秒"
    return said


def _amount(text: str, scale: str) -> str:
    return counted(text) + scale + "元" if scale else yuan(text)


def _money(match: re.Match[str]) -> str:
    return _amount(match["n"], match["scale"] or "") + {"/": "每"}.get(match["per"] or "", "")


def _money_range(match: re.Match[str]) -> str:
    return f"{counted(match['a'])}{match['low'] or ''}到{_amount(match['b'], match['high'] or '')}"


def _percent(match: re.Match[str]) -> str:
    of = {"%": "百分之", "‰": "千分之", "‱": "万分之"}[match[2]]
    sign = "负" if match[1][0] in "-−" else ""
    return sign + of + number(match[1].lstrip("+-−"))


def _percent_range(match: re.Match[str]) -> str:
    of = {"%": "百分之", "‰": "千分之"}[match[3]]
    return f"{of}{number(match[1])}到{of}{number(match[2])}"


def _range(match: re.Match[str]) -> str:
    return f"{counted(match[1])}到{counted(match[2])}{match[3]}"


def _year_range(match: re.Match[str]) -> str:
    return f"{digits(match[1])}年到{digits(match[2])}年"


def _plain(match: re.Match[str]) -> str:
    """A number with nothing to tell what it is."""
    text = match[0]
    whole = text.lstrip("+-−")
    if whole.isdigit() and (len(whole) > 10 or (len(whole) > 1 and whole[0] == "0")):
        return grouped(whole)
    return number(text)


Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]


def _rules() -> list[Rule]:
    """In order: what is most particular first, since each takes its digits away."""
    digits_named = r"(尾号|末四位|后四位|后六位|验证码|密码|编号|单号|卡号|账号|账户号|工号|邮编)"
    hot = r"(拨打?|致电|热线|电话|打)"
    units = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
    table: list[tuple[str, Callable[[re.Match[str]], str]]] = [
        (rf"https?://{_WEB}+|{_ALONE}{_WEB}+@{_WEB}+", _address),
        (rf"{_ALONE}(?:[A-Za-z\d\-]+\.)+(?:cn|com|net|org)(?![A-Za-z\d])(?:/{_WEB}*)?", _address),
        (r"([A-Z]{2})(?:/([A-Z]))? ?(\d{4,5})[-—](\d{4})(?!\d)", _standard),
        (_ALONE + r"\d{17}[\dXx](?![\dA-Za-z])", _identity),
        (_ALONE + r"(\d+)\*{2,}(\d*[Xx]?)|(?<!\*)()\*{2,}(\d+[Xx]?)", _masked),
        (r"(?<![A-Za-z])([A-Za-z]{1,4})-?(\d{6,})(?!\d)", _letters_and_digits),
        (_ALONE + r"(?:\+?86[- ]?)?(1[3-9]\d)[- ]?(\d{4})[- ]?(\d{4})(?!\d)",
         lambda m: grouped(m[1] + m[2] + m[3], 3, 4, 4)),
        (_ALONE + r"(0\d{2,3})[-–—](\d{7,8})(?!\d)",
         lambda m: f"{one_by_one(m[1])}，{grouped(m[2], len(m[2]) - 4, 4)}"),
        (_ALONE + r"([48]00)-?(\d{3})-?(\d{4})(?!\d)",
         lambda m: grouped(m[1] + m[2] + m[3], 3, 3, 4)),
        (digits_named + r"([是为：:\s]{0,2})(\d+)([Xx]?)",
         lambda m: m[1] + m[2] + grouped(m[3], *([len(m[3])] if len(m[3]) < 7 else []))
         + ("艾克斯" if m[4] else "")),
        (r"(?:人民币|[¥￥])\s*(?P<n>" + _NUMBER + r")(?P<scale>万|亿)?元?(?P<per>/)?", _money),
        (_ALONE + rf"(?P<a>{_NUMBER})(?P<low>万|亿)?元?{_TO}(?P<b>{_NUMBER})(?P<high>万|亿)?元",
         _money_range),
        (_ALONE + r"(?P<n>" + _NUMBER + r")\s*(?P<scale>万|亿)?元(?P<per>/)?", _money),
        (_ALONE + r"(\d{4})年?" + _TO + r"(\d{4})年", _year_range),
        (_ALONE + r"((?:19|20)\d\d)年(\d{1,2})月(?:(\d{1,2})日)?", _date),
        (_ALONE + r"((?:19|20)\d\d)[-/.](\d{1,2})[-/.](\d{1,2})(?![\d.])", _date),
        (_ALONE + r"((?:19|20)\d\d)[-/](0\d|1[0-2])()(?![\d\-])", _date),
        (r"[〔\[【]((?:19|20)\d\d)[〕\]】]第?(\d+)号",
         lambda m: f"{digits(m[1])}年{cardinal(m[2])}号"),
        (_ALONE + r"((?:19|20)\d\d)(?=年(?!龄|限|内|以上|以下)|年度)", lambda m: digits(m[1])),
        (_ALONE + r"([01]?\d|2[0-4])[:：]([0-5]\d)(?:[:：]([0-5]\d))?(?!\d)", _time),
        (r"(?<=[点分秒])" + _TO + r"(?=[一二三四五六七八九十两零次])", lambda m: "到"),
        (hot + r"(\D{0,4}?)(\d{3,5})(?![\d.]|元|个|人|次)",
         lambda m: m[1] + m[2] + one_by_one(m[3])),
        (_ALONE + r"(?:12[0-9]{3}|95[0-9]{3}|110|119|120|122)(?=热线|平台|服务|电话|的?人工)",
         lambda m: one_by_one(m[0])),
        (_ALONE + r"(?:12(?:333|345|366|348|393|329)|955\d\d)(?![\d.,]|元|个|人|次|万|天|年|月)",
         lambda m: one_by_one(m[0])),
        (_ALONE + r"(\d+(?:\.\d+)?)[%‰]?" + _TO + r"(\d+(?:\.\d+)?)([%‰])", _percent_range),
        (_ALONE + "(" + _NUMBER + r")\s*([%‰‱])", _percent),
        (r"([百千万]分之)(\d+(?:\.\d+)?)", lambda m: m[1] + number(m[2])),
        (_ALONE + r"(\d+)/(\d+)(?![\d/])", lambda m: f"{cardinal(m[2])}分之{cardinal(m[1])}"),
        (_ALONE + r"(\d+(?:\.\d+)?)" + _TO + r"(\d+(?:\.\d+)?)([一-鿿]|(?![\d-]))", _range),
        (r"第(\d{1,6})", lambda m: "第" + cardinal(m[1])),
        (rf"(?<=[年月日点分秒岁元万亿个次]){_TO}(?=\d)", lambda m: "到"),
        (rf"{_ALONE}({_NUMBER})\s*({units})(?![A-Za-z])", lambda m: counted(m[1]) + _UNITS[m[2]]),
        (_ALONE + rf"0?2(?=(?:{_MEASURES}|个月|点半?(?!\d)))", lambda m: "两"),
        (_ALONE + r"(\d+)[:：](\d+)(?!\d)", lambda m: f"{number(m[1])}比{number(m[2])}"),
        (_ALONE + r"(\d{1,2})\.(?=[^\d\s])", lambda m: cardinal(m[1]) + "，"),
        (r"(?<=[A-Za-z\d])\+(?=\d)", lambda m: "加"),
        (r"按([#*])号?键", lambda m: "按" + {"#": "井号键", "*": "星号键"}[m[1]]),
        (r"(?<![\d.])" + _NUMBER + r"(?![\d.]*\d)", _plain),
        (r"(?<=[\d一二三四五六七八九十零两])[Xx](?![A-Za-z])", lambda m: "艾克斯"),
    ]  # fmt: skip
    return [(re.compile(pattern), say) for pattern, say in table]


_RULES = _rules()
