"""Guards the service API: identity and its lock, tokens, business done once, honest errors.

Every test runs over SQLite and over PostgreSQL, and every answer is held to the OpenAPI
document that the service itself serves.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from argon2 import PasswordHasher
from jsonschema import Draft202012Validator
from sqlalchemy import Connection, func, select

from assistant.backend import access_tables, call_tables  # noqa: F401  they fill the metadata
from assistant.backend.access_tables import AccessLog
from assistant.backend.app import LARGEST_BODY, make_app
from assistant.backend.database import Database, DatabaseUnavailable
from assistant.backend.items import load_items
from assistant.backend.tables import Base, CardEvent, CaseEvent, Contribution, Person, ServiceCase
from tests.api import PERSONS, Api, HeldClock
from tests.baresip import free_port
from tests.database import Databases

NOBODY = "110101199003074477"
"""A well-formed ID number that is in no record."""

RETIRED = PERSONS["P01"]


@contextlib.asynccontextmanager
async def serving(database: Database, clock: HeldClock | None = None) -> AsyncIterator[Api]:
    """The service over `database`."""
    app = make_app(database, load_items(), clock or HeldClock())
    async with TestClient(TestServer(app)) as client:
        yield Api(client)


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    """The service on 2026-11-23 at ten."""
    async with serving(database) as found:
        yield found


# The schema


async def test_migrations_make_the_tables_that_the_code_uses(databases: Databases) -> None:
    url = databases.empty()
    empty, again = Database(url), Database(url)
    await asyncio.gather(empty.migrate(), empty.migrate(), again.migrate())
    await again.close()

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))

    async with empty.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await empty.close()


async def test_a_migration_waits_for_who_writes(tmp_path: Path) -> None:
    file = tmp_path / "hotline.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE something (id INTEGER)")
        database = Database(f"sqlite+aiosqlite:///{file}")
        migrating = asyncio.create_task(database.migrate())
        await asyncio.sleep(0.3)
        assert not migrating.done()
        other.execute("COMMIT")
        await migrating
    async with database.engine.connect() as connection:
        mode = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
    assert mode == "wal"
    await database.close()


async def test_months_agree_with_the_totals_of_each_person(database: Database) -> None:
    months = (
        select(Contribution.person_id, func.count())
        .where(Contribution.kind == "emp", Contribution.status == "paid")
        .group_by(Contribution.person_id)
    )
    async with database.reading() as session:
        counted = {person_id: count for person_id, count in await session.execute(months)}
        for person in await session.scalars(select(Person)):
            enrolment = person.enrolment("emp")
            assert counted.get(person.person_id, 0) == (enrolment.months if enrolment else 0)
            if account := person.pension_account:
                assert account.principal + account.interest == account.balance


# Identity


async def test_the_right_pin_opens_the_record_for_half_an_hour(database: Database) -> None:
    clock = HeldClock()
    async with serving(database, clock) as api:
        answer = await api.try_pin(RETIRED.id_number, RETIRED.pin)
        assert answer["outcome"] == "verified"
        assert answer["name_masked"] == "贾**"
        assert answer["expires_at"] == "2026-11-23T10:30:00+08:00"
    for minutes, status in ((29, 200), (30, 401)):
        async with serving(database, clock.later(timedelta(minutes=minutes))) as api:
            path = "/v1/services/q_pension_account/check"
            assert (await api.post(path, {}, answer["token"]))[0] == status


@pytest.mark.parametrize("id_number", [RETIRED.id_number, NOBODY], ids=["insured", "nobody"])
async def test_three_wrong_pins_lock_for_a_day(database: Database, id_number: str) -> None:
    clock = HeldClock()
    until = {"outcome": "locked", "until": "2026-11-24T10:00:00+08:00"}
    async with serving(database, clock) as api:
        assert await api.try_pin(id_number, "000000") == {
            "outcome": "wrong",
            "tries_left": 2,
            "spoken": "密码不对，您还可以再试两次。",
        }
        assert await api.try_pin(id_number, "000000", "call-2") == {
            "outcome": "wrong",
            "tries_left": 1,
            "spoken": "还是不对。还有最后一次机会，再输错，电话办理会锁二十四小时。",
        }
        third = await api.try_pin(id_number, "000000")
        assert third.items() >= until.items()
        assert third["spoken"].startswith("三次都不对。")
        assert "到11月24日10点自动解开" in third["spoken"]
    # The lock outlives the service, and the right PIN does not open it.
    async with serving(database, clock.later(timedelta(hours=23, minutes=59))) as api:
        assert await api.try_pin(id_number, RETIRED.pin) == {
            **until,
            "spoken": "您的电话办理还在锁定，到11月24日10点解开。不用核身的问题我可以答。",
        }
    async with serving(database, clock.later(timedelta(hours=24))) as api:
        assert (await api.try_pin(id_number, "000000"))["tries_left"] == 2


async def test_a_right_pin_sets_the_count_back(api: Api) -> None:
    for _ in range(2):
        await api.try_pin(RETIRED.id_number, "000000")
    assert (await api.try_pin(RETIRED.id_number, RETIRED.pin))["outcome"] == "verified"
    assert (await api.try_pin(RETIRED.id_number, "000000"))["tries_left"] == 2


async def test_tries_at_the_same_time_are_all_counted(api: Api) -> None:
    tries = [api.try_pin(RETIRED.id_number, f"00000{n}", f"call-{n}") for n in range(8)]
    outcomes = sorted(answer["outcome"] for answer in await asyncio.gather(*tries))
    assert outcomes == ["locked"] * 6 + ["wrong"] * 2


async def test_an_unknown_id_number_costs_one_hash_check_like_any_other(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    verify = PasswordHasher.verify

    def spy(self: PasswordHasher, pin_hash: str, pin: str) -> bool:
        checked.append(pin_hash.rsplit("$", 2)[0])
        return verify(self, pin_hash, pin)

    monkeypatch.setattr(PasswordHasher, "verify", spy)
    await api.try_pin(NOBODY, "000000")
    await api.try_pin(RETIRED.id_number, "000000")
    assert len(checked) == 2
    assert checked[0] == checked[1], "the same algorithm with the same cost"


async def test_a_call_has_one_identity_at_a_time(api: Api) -> None:
    first = await api.token("P01", "call-1")
    other_call = await api.token("P01", "call-2")
    second = await api.token("P03", "call-1")
    path = "/v1/services/q_pension_account/check"
    assert [(await api.post(path, {}, t))[0] for t in (first, other_call, second)] == [
        401,
        200,
        200,
    ]


# Business


async def test_a_card_is_reported_lost_once(api: Api, database: Database) -> None:
    token = await api.token("P01")
    allowed = await api.check("card_lost", token)
    assert allowed["confirm"] == "我给您尾号0001的社保卡办临时挂失，办完卡马上不能用，对吗？"
    assert allowed["protected"] is True

    unconfirmed = {"slots": {}, "confirmed": False, "request_id": "r1"}
    status, problem = await api.post("/v1/services/card_lost/run", unconfirmed, token)
    assert (status, problem["field"]) == (409, "confirmed")

    done = await api.run("card_lost", token, confirmed=True)
    assert done["outcome"] == "done"
    assert done["case_no"] == "GD202611230001"
    assert done["spoken"].startswith("办好了。您尾号0001的社保卡已经临时挂失")
    assert await api.run("card_lost", token, confirmed=True) == done

    again = await api.run("card_lost", token, confirmed=True, request_id="r2")
    assert again["code"] == "CARD_NOT_LOST_YET"
    progress = await api.run("q_case_progress", token)
    assert progress["spoken"].startswith("查到了。您2026年11月23日报的社会保障卡挂失，现在是办好了")

    async with database.reading() as session:
        case = await session.get_one(ServiceCase, done["case_no"])
        assert (case.status, case.call_id) == ("done", "call-1")
        steps = select(CaseEvent.to_status).order_by(CaseEvent.id)
        steps = steps.where(CaseEvent.case_no == done["case_no"])
        assert list(await session.scalars(steps)) == ["submitted", "accepted", "approved", "done"]
        assert await session.scalar(select(func.count()).select_from(CardEvent)) == 1


@pytest.mark.parametrize("ids", [("r1", "r1"), ("r1", "r2")], ids=["same request", "two"])
async def test_two_at_the_same_time_make_one_case(
    api: Api, database: Database, ids: tuple[str, str]
) -> None:
    token = await api.token("P01")
    answers = await asyncio.gather(
        *(api.run("card_lost", token, confirmed=True, request_id=one) for one in ids)
    )
    if ids[0] == ids[1]:
        assert answers[0] == answers[1]
    else:
        assert sorted(answer["outcome"] for answer in answers) == ["done", "refused"]
    async with database.reading() as session:
        lost = select(func.count()).select_from(ServiceCase).where(ServiceCase.call_id == "call-1")
        assert await session.scalar(lost) == 1


async def test_case_numbers_step_over_those_given_out_elsewhere(database: Database) -> None:
    async with database.writing() as session:
        other = await session.scalar(select(Person.person_id).where(Person.name == "贾在岗"))
        session.add(
            ServiceCase(
                case_no="GD202611230001",
                item_id="x",
                item_name="x",
                person_id=other,
                slots={},
                status="done",
                submitted_on=HeldClock().today(),
            )
        )
    async with serving(database) as api:
        done = await api.run("card_lost", await api.token("P01"), confirmed=True)
        assert done["case_no"] == "GD202611230002"


async def test_a_request_id_serves_one_person_only(api: Api) -> None:
    await api.run("card_lost", await api.token("P01"), confirmed=True)
    body = {"confirmed": True, "request_id": "r1"}
    token = await api.token("P03", "call-2")
    status, problem = await api.post("/v1/services/card_lost/run", body, token)
    assert (status, problem["field"]) == (409, "request_id")


async def test_every_access_is_on_record(api: Api, database: Database) -> None:
    await api.try_pin(NOBODY, "000000", "call-9")
    token = await api.token("P01", "call-9")
    await api.check("card_lost", token)
    await api.run("q_pension_account", token)
    await api.run("card_lost", token, lost_kind="正式挂失", confirmed=True)
    async with database.reading() as session:
        rows = await session.scalars(select(AccessLog).order_by(AccessLog.id))
        seen = [(row.call_id, row.item_id, row.result, row.person_id is None) for row in rows]
    assert seen == [
        ("call-9", "identity", "wrong", True),
        ("call-9", "identity", "verified", False),
        ("call-9", "card_lost", "allowed", False),
        ("call-9", "q_pension_account", "done", False),
        ("call-9", "card_lost", "refused LOSS_BY_PHONE", False),
    ]


# Requests that cannot be served


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pin": "12345"}, "pin"),
        ({"pin": 123456}, "pin"),
        ({"pin": "１２３４５６"}, "pin"),
        ({"id_number": "440103196305129978"}, "id_number"),
        ({"id_number": "44010319630512997x"}, "id_number"),
        ({"id_number": "440103196302309977"}, "id_number"),
        ({"call_id": ""}, "call_id"),
        ({"call_id": "a\0b"}, "call_id"),
        ({"extra": 1}, "extra"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, change: dict[str, object], field: str) -> None:
    right = {"call_id": "c", "id_number": RETIRED.id_number, "pin": RETIRED.pin}
    status, problem = await api.post("/v1/identity", right | change)
    assert (status, problem["error"], problem["field"]) == (422, "invalid", field)
    assert RETIRED.pin not in str(problem)


async def test_a_wrong_slot_is_named(api: Api) -> None:
    token = await api.token("P01")
    for item, slots in (
        ("q_pension_payment", {"month_from": "2026-13"}),
        ("q_contribution_detail", {"insurance_kind": "医疗"}),
        ("q_case_progress", {"case_no": "GD１２３４５６７８９０１２"}),
        ("card_lost", {"colour": "red"}),
    ):
        path, name = f"/v1/services/{item}/check", next(iter(slots))
        status, problem = await api.post(path, {"slots": slots}, token)
        assert (status, problem["field"]) == (422, f"slots.{name}")


async def test_what_is_not_a_request_gets_an_answer(api: Api) -> None:
    path = "/v1/services/q_pension_account/run"
    for body in (b"", b"{", b"\xff\xfe", b"[" * 5000):
        assert (await api.post_raw(path, body))[0] == 400
    assert (await api.post_raw(path, b"[]"))[0] == 422
    assert (await api.post_raw(path, b" " * (LARGEST_BODY + 1)))[0] == 413
    assert (await api.post(path, {"request_id": "r"}))[0] == 401
    assert (await api.post(path, {"request_id": "r"}, "no such token"))[0] == 401
    token = await api.token("P01")
    assert (await api.post("/v1/services/none/check", {}, token))[0] == 404
    assert (await api.get("/v2"))[1]["error"] == "not_found"
    assert (await api.get("/v1/identity"))[0] == 405


async def test_the_document_and_the_index_tell_of_every_route(api: Api) -> None:
    document = await (await api.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    index = await (await api.client.get("/")).text()
    assert all(path in index for path in document["paths"])
    assert {path for path in document["paths"]} == {
        "/v1/identity",
        "/v1/services",
        "/v1/services/{id}/check",
        "/v1/services/{id}/run",
        "/v1/calculators/{id}",
        "/health",
    }


async def test_a_calculator_over_http(api: Api) -> None:
    async def post(name: str, body: object) -> tuple[int, dict[str, Any]]:
        answer = await api.client.post(f"/v1/calculators/{name}", json=body)
        return answer.status, await answer.json()

    status, asked = await post("unemployment", {"inputs": {}})
    assert (status, asked["outcome"], asked["input"]) == (200, "ask", "months")
    status, done = await post("unemployment", {"inputs": {"months": "100", "carried": "4"}})
    assert (status, done["outcome"], done["values"]["longest"]) == (200, "done", 22)
    status, unfit = await post("unemployment", {"inputs": {"months": "9999"}})
    assert (status, unfit["outcome"], unfit["input"]) == (200, "unfit", "months")
    assert (await post("lottery", {}))[0] == 404
    assert (await post("unemployment", {"inputs": {"colour": "red"}}))[0] == 422
    assert (await post("unemployment", {"inputs": {"months": "1" * 99}}))[0] == 422
    assert (await post("unemployment", ["months"]))[0] == 422


async def test_no_personal_data_reaches_the_log(
    api: Api, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = await api.token("P01")
    await api.try_pin(RETIRED.id_number, "000000")
    await api.run("q_pension_account", token)
    await api.post("/v1/identity", {"id_number": RETIRED.id_number, "pin": RETIRED.pin})
    async with database.writing() as session:
        await session.execute(Base.metadata.tables["card"].delete())
        await session.execute(Base.metadata.tables["auth_state"].delete())
    await database.close()
    async with serving(database) as again:
        await again.try_pin(RETIRED.id_number, RETIRED.pin)
    for secret in (RETIRED.id_number, RETIRED.pin, RETIRED.mobile, RETIRED.name, "58214", token):
        assert secret not in caplog.text


# A database that fails


async def test_a_read_only_database_is_read_and_never_guessed_at(
    databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    url = databases.copy()
    writable = Database(url)
    async with serving(writable) as api:
        token = await api.token("P01")
        assert await api.get("/health") == (200, {"status": "ok", "database": "ok"})
    await writable.close()
    database = Database(databases.read_only(url))
    await database.migrate()
    async with serving(database) as api:
        done = await api.run("q_pension_account", token)
        assert done["values"]["balance"] == "58214.36"
        assert "access not in access_log: call call-1" in caplog.text

        lost = await api.run("card_lost", token, confirmed=True)
        assert (lost["error"], lost["message"][-9:]) == ("unavailable", "read-only")
        identity = {"call_id": "c", "id_number": RETIRED.id_number, "pin": RETIRED.pin}
        assert (await api.post("/v1/identity", identity))[0] == 503
        assert "POST /v1/identity not served: the database" in caplog.text
        health = {"status": "degraded", "database": "read_only"}
        assert await api.get("/health") == (503, health)
    await database.close()


async def test_a_database_that_is_not_there_is_said_so(databases: Databases) -> None:
    database = Database(databases.unreachable())
    async with serving(database) as api:
        health = {"status": "unavailable", "database": "unreachable"}
        assert await api.get("/health") == (503, health)
        identity = {"call_id": "c", "id_number": RETIRED.id_number, "pin": RETIRED.pin}
        status, problem = await api.post("/v1/identity", identity)
        assert (status, problem["error"]) == (503, "unavailable")
        status, services = await api.get("/v1/services")
        assert (status, len(services)) == (200, 5)
    await database.close()


# The command


def _hotline(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "assistant.cli", *arguments]


def test_the_command_serves_until_sigterm(database_url: str) -> None:
    port = free_port()
    command = _hotline(
        *("--set", f"backend.database='{database_url}'", "--set", f"backend.port={port}"),
        "backend",
    )
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            assert f"http://127.0.0.1:{port}" in server.stderr.readline()
            second = subprocess.run(
                command, capture_output=True, text=True, timeout=60, check=False
            )
            taken = f"hotline: cannot listen on 127.0.0.1:{port}: "
            assert second.returncode == 1
            assert second.stderr.splitlines()[-1].startswith(taken)
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
        finally:
            server.kill()


def test_a_database_that_cannot_be_had_ends_the_command_with_one_line(
    databases: Databases,
) -> None:
    for url in (databases.unreachable(), "mysql://x/y"):
        command = _hotline("--set", f"backend.database='{url}'", "backend")
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode in (1, 2)
        assert ended.stderr.startswith("hotline: backend.database")
        assert len(ended.stderr.splitlines()) == 1


def test_a_wrong_business_day_is_named(tmp_path: Path) -> None:
    command = _hotline(
        "--set", f"backend.database='sqlite+aiosqlite:///{tmp_path}/x.db'", "backend"
    )
    env = {**os.environ, "HOTLINE_TODAY": "tomorrow"}
    ended = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr.splitlines()[-1][:30]) == (
        2,
        "hotline: HOTLINE_TODAY=tomorro",
    )


async def test_setting_the_demo_persons_back_undoes_what_a_demo_did(database_url: str) -> None:
    database = Database(database_url)
    async with serving(database) as api:
        await api.run("card_lost", await api.token("P01"), confirmed=True)
        for _ in range(3):
            await api.try_pin(RETIRED.id_number, "000000")
    command = _hotline("--set", f"backend.database='{database_url}'", "backend", "--demo-persons")
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
    async with serving(database) as api:
        assert (await api.check("card_lost", await api.token("P01")))["outcome"] == "allowed"
    await database.close()


async def test_an_unavailable_database_is_no_other_error(databases: Databases) -> None:
    database = Database(databases.unreachable())
    with pytest.raises(DatabaseUnavailable):
        async with database.reading() as session:
            await session.execute(select(Person))
    await database.close()
