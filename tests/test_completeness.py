"""Guards what the words tell the endpointing: finished, not finished, or nothing."""

import pytest

from assistant.completeness import Completeness, completeness, is_backchannel
from assistant.speech.recognizer import Expecting

COMPLETE, ASKED = Completeness.COMPLETE, Completeness.ASKED
UNSURE, OPEN = Completeness.UNSURE, Completeness.OPEN


@pytest.mark.parametrize(
    ("text", "expecting", "looks"),
    [
        # numbers: by length, and an ID number by its check digit
        ("四四零一零三一九六三零五一二九九七七", "id_number", COMPLETE),
        ("440103196305129977", "id_number", COMPLETE),
        ("四四零一零三一九六三零五一二九九七八", "id_number", UNSURE),
        ("四四零一零三一九六三零五一二", "id_number", OPEN),
        ("我的身份证号是四四零一", "id_number", OPEN),
        ("密码是一三五七九零", "pin", COMPLETE),
        ("一三五七九", "pin", OPEN),
        ("一三五七九零二", "pin", OPEN),
        ("二零二五零七", "case_number", OPEN),
        ("办件编号二零二五零七一九零零三八", "case_number", COMPLETE),
        ("办件编号二零二五零七一九零零三", "case_number", OPEN),
        ("转人工", "pin", UNSURE),
        ("我忘了密码", "pin", UNSURE),
        # yes, no, a choice, a date
        ("是的", "yes_no", COMPLETE),
        ("嗯，对的。", "yes_no", COMPLETE),
        ("不用了谢谢", "yes_no", COMPLETE),
        ("嗯", "yes_no", UNSURE),
        ("是的但是", "yes_no", OPEN),
        ("不是我要问的", "yes_no", UNSURE),
        ("第二个", "choice", COMPLETE),
        ("女的", "choice", COMPLETE),
        ("一九七二年三月十五号", "date", COMPLETE),
        ("一九七二年三月", "date", UNSURE),
        ("一九七二年", "date", UNSURE),
        # whole questions, and the beginnings of some
        ("失业金最长能领几个月", "free", COMPLETE),
        ("我没交够十五年怎么办？", "free", COMPLETE),
        ("工伤认定要带什么材料", "free", COMPLETE),
        ("养老金呢", "free", UNSURE),
        ("查一下我的养老账户余额", "free", COMPLETE),
        ("谁都可以领吗", "free", COMPLETE),
        ("我该去找谁呢", "free", COMPLETE),
        ("说不交社保谁也拿他没办法", "free", UNSURE),
        ("他们什么都不给我办", "free", UNSURE),
        ("我妈口头挂失了社保卡", "free", UNSURE),
        ("拿失业金的这几个月", "free", UNSURE),
        ("我觉得低了能不能要求再评一次", "free", COMPLETE),
        ("在外省打工丢了活现在已经回乡下呢", "free", UNSURE),
        ("我今年五十八在两个省交过社保到底在哪边退休", "free", ASKED),
        ("我爸走了好几年了我想问问他那个账户余额", "free", ASKED),
        ("我想问一下", "free", OPEN),
        ("我想问一下那个", "free", OPEN),
        ("我在厂里干了二十年，然后", "free", OPEN),
        ("我要是没交够的话", "free", OPEN),
        ("嗯", "free", OPEN),
        ("", "free", UNSURE),
        ("是的", "free", UNSURE),
        ("一三五七九零", "free", UNSURE),
    ],
)
def test_how_the_words_look(text: str, expecting: Expecting, looks: Completeness) -> None:
    assert completeness(text, expecting) is looks


def test_a_question_that_may_be_misheard_is_given_more_time() -> None:
    text = "我弟弟抗洪抢险的时候被马头咋领"
    assert completeness(text, "free", 0.72) is ASKED
    assert completeness(text, "free", 0.8) is completeness(text, "free") is COMPLETE
    assert completeness("是的", "yes_no", 0.5) is COMPLETE


@pytest.mark.parametrize(
    ("text", "backchannel"),
    [
        ("嗯", True),
        ("嗯嗯，对对", True),
        ("哦，这样啊", True),
        ("好的", True),
        ("", False),
        ("不对", False),
        ("等一下", False),
        ("好的再见", False),
        ("对，那女的呢", False),
    ],
)
def test_what_people_say_while_they_listen(text: str, backchannel: bool) -> None:
    assert is_backchannel(text) is backchannel
