"""Numbers as a person says them in Mandarin. Pure functions on decimal strings."""

DIGITS = "零一二三四五六七八九"
ONE_BY_ONE = "零幺二三四五六七八九"
"""On the telephone 一 is said 幺, so that it is not taken for 七."""


def digits(text: str) -> str:
    """Each digit by its name as in a year: 2026 → 二零二六."""
    return "".join(DIGITS[int(digit)] for digit in text)


def one_by_one(text: str) -> str:
    """Each digit as in a telephone number: 12333 → 幺二三三三."""
    return "".join(ONE_BY_ONE[int(digit)] for digit in text)


def grouped(text: str, *sizes: int) -> str:
    """Digits in groups with a short pause between them; groups of four where no sizes fit."""
    if sum(sizes) != len(text):
        sizes = tuple(len(text[start : start + 4]) for start in range(0, len(text), 4))
    groups, start = [], 0
    for size in sizes:
        groups.append(one_by_one(text[start : start + size]))
        start += size
    return "，".join(groups)


def cardinal(text: str) -> str:
    """A whole number, 两 where people say it: 32568 → 三万两千五百六十八, 12 → 十二."""
    text = text.lstrip("0") or "0"
    if len(text) > 16:
        return grouped(text)
    groups = []
    while text:
        groups.append(int(text[-4:]))
        text = text[:-4]
    said = ""
    for place in reversed(range(len(groups))):
        group = groups[place]
        if not group:
            continue
        # a gap between the groups is one 零, however wide it is
        gap = said and (group < 1000 or groups[place + 1] == 0)
        words = "两" if group == 2 and place else _below_ten_thousand(group, first=not said)
        said += ("零" if gap else "") + words + ("", "万", "亿", "万亿")[place]
    return said or "零"


def _below_ten_thousand(number: int, first: bool) -> str:
    said, gap = "", False
    for size, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, size)
        if not digit:
            gap = bool(said)
            continue
        if gap:
            said += "零"
            gap = False
        if digit == 2 and size >= 100:
            said += "两" + unit
        elif digit == 1 and size == 10 and first and not said:
            said += unit
        else:
            said += DIGITS[digit] + unit
    return said


def number(text: str) -> str:
    """A decimal number: -16.50 → 负十六点五零; commas between thousands are left out."""
    text = text.replace(",", "")
    sign = "负" if text[:1] in "-−" else ""
    whole, point, decimals = text.lstrip("+-−").partition(".")
    said = sign + cardinal(whole or "0")
    return f"{said}点{digits(decimals)}" if point and decimals else said


def yuan(text: str) -> str:
    """An amount of money: 58214.36 → 五万八千二百一十四元三角六分, 0.05 → 五分.

    More than two decimals are a rate, not money in hand: 0.125 → 零点一二五元.
    """
    text = text.replace(",", "")
    sign = "负" if text[:1] in "-−" else ""
    whole, _, decimals = text.lstrip("+-−").partition(".")
    if len(decimals.rstrip("0")) > 2:
        return sign + number(f"{whole}.{decimals.rstrip('0')}") + "元"
    jiao, fen = (int(digit) for digit in decimals.ljust(2, "0")[:2])
    yuans = "" if not int(whole or "0") and (jiao or fen) else counted(whole or "0") + "元"
    small = ""
    if jiao:
        small = counted(str(jiao)) + "角" if not yuans else DIGITS[jiao] + "角"
    elif fen and yuans:
        small = "零"
    if fen:
        small += counted(str(fen)) + "分" if not (yuans or small) else DIGITS[fen] + "分"
    return sign + yuans + small


def counted(text: str) -> str:
    """A number before a measure word: 2 → 两, else as number()."""
    return "两" if text.lstrip("0") == "2" else number(text)
