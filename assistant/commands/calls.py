"""`hotline calls`: what happened in past calls."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant import settings

if TYPE_CHECKING:
    from assistant.backend.call_tables import CallRecord, TurnRecord


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = subparsers.add_parser("calls", help="list past calls, or show one turn by turn")
    actions = command.add_subparsers(dest="action", required=True, metavar="list|show")
    listed = actions.add_parser("list", help="the latest calls, newest first")
    listed.add_argument("--limit", type=int, default=20, help="how many (default: 20)")
    shown = actions.add_parser("show", help="one call, turn by turn")
    shown.add_argument("call_id", metavar="ID")
    shown.add_argument(
        "--picture",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="FILE.png",
        help="draw both voices, the words and the waits (default: var/pictures/ID.png)",
    )
    for action in (listed, shown):
        action.add_argument("--json", action="store_true", help="JSON instead of text")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Returns 0; 1 when the database cannot be read or there is no such call."""
    from assistant.backend.database import DatabaseUnavailable

    config = settings.load(args.config, args.overrides)
    try:
        return asyncio.run(_run(config, args))
    except DatabaseUnavailable as error:
        print(f"hotline: backend.database: {error}", file=sys.stderr)
        return 1


async def _run(config: settings.Settings, args: argparse.Namespace) -> int:
    from assistant.backend.call_tables import CallRecord
    from assistant.backend.database import Database
    from assistant.records import calls, turns

    database = Database(config.backend.database)
    try:
        async with database.reading() as session:
            listed = await calls(session, args.limit) if args.action == "list" else []
            shown = None if args.action == "list" else await session.get(CallRecord, args.call_id)
            spoken = await turns(session, shown.call_id) if shown else []
    finally:
        await database.close()
    if args.action == "list":
        _print_list(listed, as_json=args.json)
    elif shown is None:
        print(f"hotline: no call {args.call_id}; see hotline calls list", file=sys.stderr)
        return 1
    else:
        _print_call(shown, spoken, as_json=args.json)
        if args.picture is not None:
            return _draw(shown, spoken, args.picture)
    return 0


def _draw(call: "CallRecord", found: "list[TurnRecord]", file: Path) -> int:
    import soundfile

    from assistant import call_picture, chinese_font

    if file == Path():
        file = settings.project_path(f"var/pictures/{call.call_id}.png")
    sound = None
    if call.recording:
        try:
            sound = call_picture.listen(settings.project_path(call.recording))
        except (OSError, soundfile.LibsndfileError) as error:
            print(f"hotline: drawn without its recording: {error}", file=sys.stderr)
    if not chinese_font.find():
        print(f"hotline: no font, words are in pinyin; {chinese_font.REMEDY}", file=sys.stderr)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        call_picture.draw(call, found, sound, file)
    except OSError as error:
        print(f"hotline: {file} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"picture: {file}", file=sys.stderr)
    return 0


def _print_list(found: "list[CallRecord]", *, as_json: bool) -> None:
    if as_json:
        for call in found:
            print(json.dumps(_values(call), ensure_ascii=False, default=_iso))
        return
    for call in found:
        started = call.started_at.astimezone()
        outcome = call.outcome or "in progress"
        print(f"{call.call_id}  {started:%Y-%m-%d %H:%M:%S}  {call.channel:10}  {outcome}")


def _print_call(call: "CallRecord", found: "list[TurnRecord]", *, as_json: bool) -> None:
    if as_json:
        whole = {**_values(call), "turns": [_values(turn) for turn in found]}
        print(json.dumps(whole, ensure_ascii=False, default=_iso))
        return
    print(f"call {call.call_id} by {call.channel} from {call.caller or 'unknown'}")
    print(f"started {call.started_at.astimezone():%Y-%m-%d %H:%M:%S}, {call.outcome or 'lasts'}")
    print(f"recording: {call.recording or 'none'}")
    for turn in found:
        print(f"\n{turn.start_ms / 1000:7.1f} s  caller   {turn.said or f'({turn.kind})'}")
        for reply in turn.replies:
            print(f"{'':11}hotline  {reply}")
        facts = [f"{name} {ms}" for name, ms in turn.latencies.items()]
        if turn.intent:
            facts.insert(0, f"{turn.intent} {turn.confidence:.2f}")
        if turn.sure is not None:
            facts.insert(0, f"{turn.decision}, sure {turn.sure:.2f}")
        if facts:
            print(f"{'':11}         {' · '.join(facts)}")


def _values(row: "CallRecord | TurnRecord") -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}


def _iso(value: Any) -> str:
    return str(value.astimezone().isoformat())
