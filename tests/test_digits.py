"""Guards how spoken numbers become digits, in every usual way of saying them.

The reader belongs to Rasa's environment; it uses the standard library only and is loaded by path.
"""

import importlib.util
from types import ModuleType

import pytest

from assistant.dialogue.serving import RASA_PROJECT
from tests import rasa_python

SOURCE = RASA_PROJECT / "actions" / "digits.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


digits = _load()

ID = "440103196305129977"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # plain and telephone words
        ("一三五七九零", "135790"),
        ("幺三五拐勾洞", "135790"),
        ("两零零两", "2002"),
        ("〇〇七", "007"),
        ("二零零零", "2000"),
        ("壹贰叁", "123"),
        # as recognisers write
        ("135790", "135790"),
        ("440103 1963 0512 9977", ID),
        ("440103-19630512-9977", ID),
        ("13579零", "135790"),
        ("１３５７９０", "135790"),
        # in groups
        ("四四零一零三，一九六三，零五一二，九九七七", ID),
        ("四 四 零 一 零 三", "440103"),
        # as a date, with tens
        ("四四零一零三一九六三年五月十二号九九七七", ID),
        ("四四零一零三一九六三年零五月十二日九九七七", ID),
        ("一九八八年十二月三十一号", "19881231"),
        ("二零零零年一月一日", "20000101"),
        ("二十", "20"),
        ("三十五", "35"),
        # repeated
        ("三个九", "999"),
        ("两个零", "00"),
        ("一三两个五", "1355"),
        ("四个八一二", "888812"),
        ("双六零六", "6606"),
        ("俩八一", "881"),
        # the last place of an ID
        ("九九七X", "997X"),
        ("九九七x", "997X"),
        ("九九七叉", "997X"),
        ("九九七大叉", "997X"),
        ("九九七艾克斯", "997X"),
        # words around the number
        ("我的身份证号码是四四零一零三", "440103"),
        ("身份证号四四零一零三", "440103"),
        ("密码是一三五七九零", "135790"),
        ("查询密码为一三五七九零", "135790"),
        ("嗯，四四零，那个，一零三", "440103"),
        ("好的我说一下啊四四零一零三", "440103"),
        ("您记一下，一三五，然后七九零", "135790"),
        ("后面是九九七七", "9977"),
        # sound-alikes of a recogniser
        ("夭三五期酒灵", "135790"),
        ("腰山五七九林", "135790"),
        ("寺寺零一零三", "440103"),
        ("一三舞气九凌", "135790"),
        ("死死零衣零伞", "440103"),
        ("儿灵灵儿", "2002"),
        ("一是三五", "1435"),
        ("六留八把八", "66888"),
        # not digits
        ("是四四零", "440"),
        ("", ""),
        ("什么", ""),
    ],
)
def test_reads(text: str, expected: str) -> None:
    assert digits.read(text) == expected


@pytest.mark.parametrize(
    ("heard", "text", "length", "expected"),
    [
        # said in several turns
        ("", "四四零一零三", 18, "440103"),
        ("440103", "一九六三零五一二", 18, "44010319630512"),
        ("44010319630512", "九九七七", 18, ID),
        ("440103", f"从头说，{ID}", 18, ID),
        ("44010319630512997", "四四零一零三一九六三零五一二九九七七", 18, ID),
        # corrected at once
        ("", "四四零一零四不对是四四零一零三", 18, "440103"),
        ("", "四四零一零四，不对，零三", 18, "440103"),
        ("", "说错了，一三五七九零", 6, "135790"),
        ("", "一三五七八零，说错了，一三五七九零", 6, "135790"),
        ("", "一三五七八八错了应该是九零", 6, "135790"),
        # corrected in a later turn
        ("440103196305129978", "最后四位是九九七七", 18, ID),
        ("440103196305129978", "不对，最后一位是七", 18, ID),
        ("440104196305129977", "前六位是四四零一零三", 18, ID),
        ("440103196305129978", "不对，是九九七七", 18, ID),
        ("440103196305129978", "错了，四四零一零三一九六三零五一二九九七七", 18, ID),
        ("", "最后四位是九九七七", 18, "9977"),
        # too long is kept too long: whoever asks decides
        ("", "一三五七九零一", 6, "1357901"),
    ],
)
def test_hears(heard: str, text: str, length: int, expected: str) -> None:
    assert digits.hear(text, heard, length) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("四四零一零三", True),
        ("我的身份证号码是四四零一零三一九六三零五一二九九七七", True),
        ("最后四位是九九七七", True),
        ("不对，是九九七七", True),
        ("一九六三年五月十二号", True),
        ("夭三五期酒灵", True),
        ("三个九", True),
        ("养老保险要交满十五年吗", False),
        ("失业金能领几个月", False),
        ("我一九六三年生的什么时候退休", False),
        ("十五年", False),
        ("不查了", False),
        ("没有", False),
        ("是的", False),
        ("好", False),
        ("是", False),
        ("吧", False),
        ("", False),
    ],
)
def test_is_number(text: str, expected: bool) -> None:
    assert digits.is_number(text) is expected


@pytest.mark.parametrize(
    ("number", "valid"),
    [
        (ID, True),
        ("43012119660520997X", True),
        ("11010519491231002X", True),  # the example of GB 11643 itself
        ("440103196305129978", False),
        ("44010319630512997", False),
        ("44010319630512997x", False),
        ("4401031963051299７7", False),
        ("", False),
    ],
)
def test_check_digit(number: str, valid: bool) -> None:
    assert digits.id_number_is_valid(number) is valid


def test_runs_in_rasas_python() -> None:
    code = "from actions.digits import hear; print(hear('四四零幺零三'))"
    assert rasa_python.printed(code).strip() == "440103"
