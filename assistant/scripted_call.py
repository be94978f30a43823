"""A scripted caller in a process of its own, for the demo and the benchmarks."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


async def place_call(
    uri: str, lines: Sequence[dict[str, Any]], folder: Path, limit_s: float, *options: str
) -> dict[str, Any] | None:
    """Call `uri`, play `lines` and return the caller's report; None when it wrote none.

    `lines` and `options` are those of assistant.channels.sip_caller; its files stay in `folder`.
    Raises TimeoutError, with the caller ended, when the call takes longer than `limit_s`.
    """
    script, report = folder / "lines.json", folder / "caller.json"
    script.write_text(json.dumps(lines), encoding="utf-8")
    report.unlink(missing_ok=True)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "assistant.channels.sip_caller", uri,
        "--lines", str(script), "--report", str(report), *options,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await asyncio.wait_for(process.wait(), limit_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not report.exists():
        return None
    found: dict[str, Any] = json.loads(report.read_text("utf-8"))
    return found
