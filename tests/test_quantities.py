"""Guards what callers say for the calculators: dates, lengths of time, money, in any order."""

import importlib.util
import time
from types import ModuleType

import pytest

from assistant.dialogue.serving import RASA_PROJECT


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "quantities", RASA_PROJECT / "actions" / "quantities.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


values = _module().values


@pytest.mark.parametrize(
    ("text", "asked", "found"),
    [
        ("七二年三月", None, {"born": "1972-03"}),
        ("一九七二年三月份", None, {"born": "1972-03"}),
        ("72年3月", "born", {"born": "1972-03"}),
        ("1972年3月5号", "born", {"born": "1972-03"}),
        ("一九七零年二月三十号", "born", {"born": "1970-02-30"}),
        ("一九七二年二月二十九号", "born", {"born": "1972-02"}),
        ("六八年十月生人", None, {"born": "1968-10"}),
        ("七二年的十二月", "born", {"born": "1972-12"}),
        ("零零年一月", None, {"born": "2000-01"}),
        ("一八五零年三月", "born", {"born": "1850-03"}),
        ("一九七二年十三月", "born", {"born": "1972-13"}),
        ("七二年的", "born", {"born": "1972"}),
        ("七二年的", None, {}),
        ("今年五十三了", "born", {}),
        ("七二年三月，不对，七三年四月", None, {"born": "1973-04"}),
        ("男的", None, {"gender": "male"}),
        ("女的", "gender", {"gender": "female"}),
        ("那女的呢", None, {"gender": "female"}),
        ("我老婆", None, {"gender": "female"}),
        ("给我爸问的", None, {"gender": "male"}),
        ("我女儿", None, {"gender": "female"}),
        ("坐办公室的", "post", {"post": "management"}),
        ("我是会计", None, {"post": "management"}),
        ("车间工人", "post", {"post": "worker"}),
        ("五十岁的女工什么时候退休", None, {"gender": "female", "post": "worker"}),
        ("不清楚", "post", {"post": "unknown"}),
        ("自己交的", "post", {"post": "unknown"}),
        ("不清楚", "born", {}),
        (
            "我七二年三月的，女的，坐办公室的",
            None,
            {"born": "1972-03", "gender": "female", "post": "management"},
        ),
        ("二零三零年退休", None, {"year": "2030"}),
        ("2030年", "year", {"year": "2030"}),
        ("三零年", "year", {"year": "2030"}),
        ("那二零三七年呢", "year", {"year": "2037"}),
        ("七八年六月的", "year", {"born": "1978-06"}),
        ("交了八年", None, {"months": "96"}),
        ("要是只交了八年呢", None, {"months": "96"}),
        ("要是交了八个月呢", None, {"months": "8"}),
        ("缴费二十三年半", None, {"months": "282"}),
        ("十五年零六个月", "months", {"months": "186"}),
        ("一百八十个月", "months", {"months": "180"}),
        ("8年", "months", {"months": "96"}),
        ("十五", "months", {"months": "180"}),
        ("三年多", "months", {"months": "36"}),
        ("不到一年", "months", {"months": "11"}),
        ("半年", "months", {"months": "6"}),
        ("八十年", "months", {"months": "960"}),
        ("要是十二年呢", "months", {"months": "144"}),
        ("失业保险交了六年", None, {"months": "72"}),
        ("上次没领完的还剩四个月", None, {"carried": "4"}),
        ("六十岁退休", None, {"age": "720"}),
        ("六十岁零五个月退休", None, {"age": "725"}),
        ("六十岁", "age", {"age": "720"}),
        ("五十五", "age", {"age": "660"}),
        ("零点八", "index", {"index": "0.8"}),
        ("百分之六十", "index", {"index": "0.6"}),
        ("六成", "index", {"index": "0.6"}),
        ("十成", "index", {"index": "1"}),
        ("三倍", "index", {"index": "3"}),
        ("最低档", "index", {"index": "0.6"}),
        ("不知道", "index", {"index": "unknown"}),
        ("七级", None, {"grade": "7"}),
        ("评的十级", "grade", {"grade": "10"}),
        ("十二级", "grade", {"grade": "12"}),
        ("五", "grade", {"grade": "5"}),
        ("五千", "wage", {"wage": "5000"}),
        ("五千块", "wage", {"wage": "5000"}),
        ("5000元", "wage", {"wage": "5000"}),
        ("四千五", "wage", {"wage": "4500"}),
        ("一万二", "wage", {"wage": "12000"}),
        ("两千二百", "wage", {"wage": "2200"}),
        ("三千零五十", "wage", {"wage": "3050"}),
        ("一个月六千", "wage", {"wage": "6000"}),
        ("八千来块", "wage", {"wage": "8000"}),
        ("四千八", "base", {"base": "4800"}),
        ("六万", "balance", {"balance": "60000"}),
        ("十二万左右", "balance", {"balance": "120000"}),
        ("12.5万", "balance", {"balance": "125000"}),
        ("三万两千五百六十八块四毛", "balance", {"balance": "32568.4"}),
        ("账户里有六万", None, {"balance": "60000"}),
        ("一百六十三", "basic", {"basic": "163"}),
        ("不知道", "base", {"base": "unknown"}),
        ("不知道", "balance", {}),
        (
            "六级，缴费工资三千，社平五千五，最低工资两千二",
            None,
            {"grade": "6", "wage": "3000", "average": "5500", "minimum": "2200"},
        ),
        (
            "五级，缴费工资三千，社平八千",
            "grade",
            {"grade": "5", "wage": "3000", "average": "8000"},
        ),
        ("失业金怎么领", None, {}),
        ("我二零二五年失业的", None, {}),
        ("打12333", None, {}),
        ("一次性伤残补助金有多少", None, {}),
        ("第二个", None, {}),
        ("一会儿再说", None, {}),
        ("三月份的养老金", None, {}),
        ("", "wage", {}),
    ],
)
def test_what_is_read(text: str, asked: str | None, found: dict[str, str]) -> None:
    assert values(text, asked) == found


@pytest.mark.parametrize("text", ["金" * 500, "一" * 500, "1" * 500, "👍\x00[]{}()", "年" * 500])
def test_odd_text_is_read_quickly_and_never_raises(text: str) -> None:
    began = time.monotonic()
    for asked in (None, "born", "months", "wage", "index", "age", "grade"):
        values(text, asked)
    assert time.monotonic() - began < 5, "hangs"
