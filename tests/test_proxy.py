"""Guards the front door's decisions: what is read of a message, who gets it, what is answered.

No network: messages in, messages out. test_front.py has the same over real sockets.
"""

import re
import time

import pytest

from assistant.channels.sip_lines import Lines, NoLine, Server
from assistant.channels.sip_message import Malformed, Message, Uri, Via, length_of, parse
from assistant.channels.sip_proxy import Hop, Proxy, Sent

OUTSIDE, INSIDE = ("192.0.2.1", 5060), ("127.0.0.1", 5080)
PHONE = Hop("udp", "198.51.100.7", 5062)
A, B = ("127.0.0.1", 41001), ("127.0.0.1", 41002)


def request(method: str = "INVITE", *more: str, **changes: str) -> bytes:
    """As a phone sends it; `changes` replace a header, or remove it where empty."""
    headers = {
        "Via": f"SIP/2.0/UDP 10.0.0.7:5062;branch=z9hG4bK{changes.pop('branch', 'a')};rport",
        "From": "<sip:138@10.0.0.7>;tag=phone",
        "To": "<sip:12333@192.0.2.1>",
        "Call-ID": "call@10.0.0.7",
        "CSeq": f"1 {method}",
        "Contact": "<sip:138@10.0.0.7:5062>",
        "Max-Forwards": "70",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if value]
    start = f"{method} sip:12333@192.0.2.1 SIP/2.0"
    return "\r\n".join([start, *lines, *more, "", ""]).encode()


def response(to: Message, status: int, **changes: str) -> Message:
    """As a call server answers what it was sent."""
    kept = [(n, v) for n, v in to.headers if n not in ("Max-Forwards", "Contact")]
    message = Message(f"SIP/2.0 {status} X", kept, status=status)
    message.put("To", changes.get("To", f"{to.first('to')};tag=desk"))
    return parse(bytes(message))


def door(*servers: Server) -> tuple[Proxy, Lines]:
    """A front door with these call servers."""
    lines = Lines()
    for server in servers:
        lines.join(server)
    return Proxy(lines, OUTSIDE, INSIDE, b"secret"), lines


def only(sent: list[Sent]) -> Sent:
    """The one message."""
    (each,) = sent
    return each


def status(sent: list[Sent]) -> int:
    """Of the one answer."""
    return only(sent).message.status


# -- messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no end"),
        (b"hello\r\n\r\n", "no start line"),
        (b"INVITE sip:a@b\r\n\r\n", "no start line"),
        (b"INVITE sip:a@b SIP/3.0\r\n\r\n", "no start line"),
        (b"SIP/2.0 999 X\r\n\r\n", "no start line"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "no start line"),
        (request().replace(b"From", b"Fr om"), "no header"),
        (request().replace(b"\r\nFrom", b"\nFrom"), "control characters"),
        (request().replace(b"phone", b"\0"), "control characters"),
        (request(**{"Call-ID": ""}), "no call-id"),
        (request(Via=""), "no via"),
        (request(Via="SIP/2.0/UDP"), "no Via"),
        (request(Via="SIP/2.0/UDP 10.0.0.7:99999"), "no such port"),
        (request(CSeq="1 BYE"), "CSeq names another method"),
        (request(CSeq="INVITE"), "CSeq is no number"),
        (request(CSeq="4294967296 INVITE"), "CSeq is no number"),
        (request("INVITE", "Call-ID: another"), "call-id twice"),
        (request("INVITE", "i: another"), "call-id twice"),
        (request("INVITE", "Content-Length: 5"), "shorter than Content-Length"),
        (request("INVITE", "Content-Length: -1"), "Content-Length is no number"),
        (request(**{"Max-Forwards": "many"}), "Max-Forwards is no number"),
        (request("INVITE", *(["X: y"] * 300)), "too many headers"),
        (request("INVITE", "X: " + "y" * 70_000), "too long"),
    ],
)
def test_what_is_no_message(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=re.escape(reason)):
        parse(data)


def test_a_message_is_read_and_written_as_it_came() -> None:
    data = request("INVITE", "X-Any: \t kept  ", "l: 4") + b"bodyrest"
    message = parse(data)
    assert (message.method, message.uri) == ("INVITE", "sip:12333@192.0.2.1")
    assert message.body == b"body"
    assert b"X-Any: kept\r\nl: 4\r\n\r\nbody" in bytes(message)
    assert bytes(parse(bytes(message))) == bytes(message)


def test_compact_names_lists_and_folded_lines() -> None:
    data = (
        b"SIP/2.0 200 OK\r\n"
        b'v: SIP/2.0/UDP a;branch=1, SIP / 2.0 / TCP [2001:db8::1]:5 ;b="x,;y"\r\n'
        b'f: "A, <b>" <sip:x@y>;tag=1\r\nt: <sip:a@b;tag=no>;tag=2\r\n'
        b"i: 1\r\ncseq: 7\r\n  BYE\r\n\r\n"
    )
    message = parse(data)
    assert len(message.all("via")) == 2
    assert message.to_tag == "2"
    assert message.cseq_method == "BYE"
    via = Via.parse(message.all("via")[1])
    assert (via.transport, via.host, via.port) == ("tcp", "2001:db8::1", 5)
    assert Via.parse(str(via)) == via


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("sip:a@b.example:5070;transport=tcp?x=y", "b.example", 5070),
        ('"A <x>" <sip:[::1];lr>;tag=3', "", 0),
        ("<sip:user;p=1@10.0.0.1>;expires=3", "10.0.0.1", 0),
        ("tel:+86138", "", 0),
        ("sip:", "", 0),
    ],
)
def test_where_a_uri_points(text: str, host: str, port: int) -> None:
    if not host:
        with pytest.raises(Malformed):
            Uri.parse(text)
    else:
        uri = Uri.parse(text)
        assert (uri.host, uri.port) == (host, port)


@pytest.mark.parametrize("evil", ['"', "<", ',"<', ";a=", '"\\', "\r\n ", " ", ":", "x\t ", "a@"])
def test_a_nasty_message_costs_no_time_that_grows_with_its_square(evil: str) -> None:
    """Quadratic reading of 60 kB took a minute; the bound is far from both."""
    text = evil * (60_000 // len(evil))
    began = time.process_time()
    for data in (request(Via=f"SIP/2.0/UDP a;b={text}"), request(To=text), request(Route=text)):
        try:
            message = parse(data)
            assert message.method
            Uri.parse(message.first("route") or message.first("to"))
        except Malformed:
            pass
    assert time.process_time() - began < 5


def test_messages_in_a_stream() -> None:
    data = request("INVITE", "Content-Length: 4") + b"body"
    assert length_of(data[:20]) is None
    assert length_of(data + b"INV") == len(data)
    with pytest.raises(Malformed, match="Content-Length"):
        length_of(request())
    with pytest.raises(Malformed, match="endless"):
        length_of(b"x" * 70_000)


# -- who carries which call ----------------------------------------------------------------------


def test_the_least_busy_gets_the_next_and_a_repetition_stays() -> None:
    first, second = Server("1", A, 2), Server("2", B, 2)
    _, lines = door(first, second)
    got = [lines.take(str(number), "b", 0.0).name for number in range(4)]
    assert sorted(got) == ["1", "1", "2", "2"]
    assert got[0] != got[1]
    assert lines.take("0", "b", 0.1).name == got[0]
    with pytest.raises(NoLine, match="all 4 lines are busy"):
        lines.take("5", "b", 0.1)
    lines.ended("0", 0.2)
    assert lines.take("5", "b", 0.3).name == got[0]


def test_a_missed_bye_does_not_hold_a_line_for_ever() -> None:
    server = Server("1", A, 1)
    _, lines = door(server)
    lines.take("0", "b", 0.0)
    server.calls = 0  # it says so itself
    with pytest.raises(NoLine):
        lines.take("1", "b", 1.0)  # it may not know yet
    assert lines.take("1", "b", 3.0) is server


def test_after_a_restart_the_servers_own_count_holds() -> None:
    _, lines = door(Server("1", A, 2, calls=2))
    with pytest.raises(NoLine, match="busy"):
        lines.take("1", "b", 0.0)


def test_a_machine_at_its_limit_refuses_beside_a_call_but_never_the_only_one() -> None:
    first, second = Server("1", A, 4, admits=False), Server("2", B, 4)
    _, lines = door(first, second)
    lines.take("0", "b", 0.0)
    with pytest.raises(NoLine, match="limit"):
        lines.take("1", "b", 0.0)


def test_one_that_says_goodbye_gets_no_new_call() -> None:
    first, second = Server("1", A, 4, closing=True), Server("2", B, 4)
    _, lines = door(first, second)
    assert lines.take("0", "b", 0.0) is second
    second.closing = True
    with pytest.raises(NoLine, match="no call server"):
        lines.take("1", "b", 0.0)


# -- the way of messages -------------------------------------------------------------------------


def test_a_call_from_invite_to_bye() -> None:
    proxy, lines = door(Server("1", A, 1))
    sent = only(proxy.from_outside(parse(request()), PHONE, 0.0))
    invite = sent.message
    assert sent.to == A
    assert invite.first("max-forwards") == "69"
    assert invite.all("record-route") == [
        "<sip:127.0.0.1:5080;lr>",
        "<sip:192.0.2.1:5060;transport=udp;lr>",
    ]
    assert "received=198.51.100.7" in invite.all("via")[1]
    assert "rport=5062" in invite.all("via")[1]

    answer = only(proxy.from_inside(response(invite, 200), 0.1))
    assert answer.to == Hop("udp", "198.51.100.7", 5062)
    assert len(answer.message.all("via")) == 1

    routes = [f"Route: {route}" for route in reversed(invite.all("record-route"))]
    dialog = {"To": "<sip:12333@192.0.2.1>;tag=desk"}
    ack = only(proxy.from_outside(parse(request("ACK", *routes, branch="b", **dialog)), PHONE, 0.2))
    assert ack.to == A
    assert not ack.message.all("route")
    assert lines.calls(0.2) == 1
    bye = only(proxy.from_outside(parse(request("BYE", *routes, branch="c", **dialog)), PHONE, 0.3))
    assert bye.to == A
    assert lines.calls(0.3) == 0


def test_the_call_servers_own_requests_go_out_and_their_responses_back() -> None:
    proxy, lines = door(Server("1", A, 1))
    invite = only(proxy.from_outside(parse(request()), PHONE, 0.0)).message
    proxy.from_inside(response(invite, 200), 0.1)
    raw = request(
        "BYE",
        *(f"Route: {route}" for route in invite.all("record-route")),
        Via="SIP/2.0/UDP 127.0.0.1:41001;rport;branch=z9hG4bKbye",
        To="<sip:138@10.0.0.7>;tag=phone",
    ).replace(b"BYE sip:12333@192.0.2.1", b"BYE sip:138@10.0.0.7:5062")
    bye = only(proxy.from_inside(parse(raw), 0.2))
    assert bye.to == Hop("udp", "10.0.0.7", 5062)
    assert not bye.message.all("route")
    assert lines.calls(0.2) == 0
    back = only(proxy.from_outside(response(bye.message, 200), PHONE, 0.3))
    assert back.to == A


def test_a_repetition_an_ack_and_a_cancel_keep_the_branch() -> None:
    proxy, _ = door(Server("1", A, 4), Server("2", B, 4))
    sent = [
        only(proxy.from_outside(parse(request(method)), PHONE, 0.0))
        for method in ("INVITE", "INVITE", "CANCEL")
    ]
    assert len({each.to for each in sent}) == 1
    assert len({Via.parse(each.message.first("via")).params["branch"] for each in sent}) == 1


def test_over_tcp_the_answer_takes_the_connection_that_the_request_came_on() -> None:
    proxy, _ = door(Server("1", A, 1))
    came = Hop("tcp", "198.51.100.7", 33_000, connection=17)
    via = "SIP/2.0/TCP 10.0.0.7:5062;branch=z9hG4bKt"
    invite = only(proxy.from_outside(parse(request(Via=via)), came, 0.0)).message
    answer = only(proxy.from_inside(response(invite, 200), 0.1))
    assert isinstance(answer.to, Hop)
    assert (answer.to.transport, answer.to.connection) == ("tcp", 17)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (request("OPTIONS"), 200),
        (request("REGISTER"), 405),
        (request("BYE", To="<sip:a@b>;tag=x"), 481),
        (request("CANCEL"), 481),
        (request(**{"Max-Forwards": "0"}), 483),
    ],
)
def test_what_the_front_door_answers_itself(data: bytes, expected: int) -> None:
    proxy, _ = door(Server("1", A, 1))
    sent = only(proxy.from_outside(parse(data), PHONE, 0.0))
    assert sent.message.status == expected
    assert sent.to == Hop("udp", "198.51.100.7", 5062)
    assert sent.message.to_tag


def test_busy_is_said_again_to_a_repetition_and_its_ack_goes_nowhere() -> None:
    proxy, _ = door(Server("1", A, 1))
    proxy.from_outside(parse(request(**{"Call-ID": "first"})), PHONE, 0.0)
    busy = [proxy.from_outside(parse(request()), PHONE, 0.0) for _ in range(2)]
    assert [status(each) for each in busy] == [486, 486]
    assert only(busy[0]).message.to_tag == only(busy[1]).message.to_tag
    ack = request("ACK", To=only(busy[0]).message.first("to"))
    assert proxy.from_outside(parse(ack), PHONE, 0.1) == []


def test_a_failed_invite_frees_its_line_but_a_failed_reinvite_does_not() -> None:
    proxy, lines = door(Server("1", A, 1))
    invite = only(proxy.from_outside(parse(request()), PHONE, 0.0)).message
    proxy.from_inside(response(invite, 488), 0.1)
    assert lines.calls(0.1) == 0
    again = only(proxy.from_outside(parse(request(branch="n")), PHONE, 0.2)).message
    proxy.from_inside(response(again, 200), 0.3)
    proxy.from_inside(response(again, 488), 0.4)
    assert lines.calls(0.4) == 1


def test_a_made_up_response_is_passed_to_nobody() -> None:
    proxy, _ = door(Server("1", A, 1))
    forged = (
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKguess\r\n"
        b"Via: SIP/2.0/UDP 127.0.0.1:22;branch=z9hG4bKx\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\n"
        b"Call-ID: x\r\nCSeq: 1 BYE\r\n\r\n"
    )
    assert proxy.from_outside(parse(forged), PHONE, 0.0) == []


def test_no_request_from_outside_leads_elsewhere() -> None:
    """Neither a Route nor the address in the request line makes us an open relay."""
    proxy, _ = door(Server("1", A, 1))
    for data in (
        request("BYE", "Route: <sip:203.0.113.9;lr>", To="<sip:a@b>;tag=x"),
        request("INFO", To="<sip:a@b>;tag=x").replace(
            b"sip:12333@192.0.2.1 ", b"sip:a@203.0.113.9 "
        ),
    ):
        assert status(proxy.from_outside(parse(data), PHONE, 0.0)) == 481


def test_a_restarted_front_door_still_finds_the_call_server() -> None:
    proxy, _ = door(Server("1", A, 1))
    data = request("BYE", To="<sip:a@b>;tag=x").replace(
        b"BYE sip:12333@192.0.2.1 ", b"BYE sip:12333@127.0.0.1:41001 "
    )
    assert only(proxy.from_outside(parse(data), PHONE, 0.0)).to == A


def test_a_dead_call_servers_callers_get_its_bye() -> None:
    server = Server("1", A, 2)
    proxy, lines = door(server)
    invite = only(proxy.from_outside(parse(request()), PHONE, 0.0)).message
    proxy.from_inside(response(invite, 200), 0.1)
    proxy.from_outside(parse(request(**{"Call-ID": "ringing"})), PHONE, 0.2)
    bye = only(proxy.server_gone(server))
    assert bye.to == Hop("udp", "10.0.0.7", 5062)
    read = parse(bytes(bye.message))
    assert (read.method, read.uri) == ("BYE", "sip:138@10.0.0.7:5062")
    assert read.first("from") == "<sip:12333@192.0.2.1>;tag=desk"
    assert read.first("to") == "<sip:138@10.0.0.7>;tag=phone"
    assert lines.servers == []


def test_a_request_that_breaks_a_rule_is_400() -> None:
    proxy, _ = door(Server("1", A, 1))
    with pytest.raises(Malformed) as fault:
        parse(request(CSeq="1 BYE"))
    assert fault.value.message
    assert status(proxy.bad_request(fault.value.message, PHONE)) == 400
