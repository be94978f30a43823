"""`hotline`: every command of the hotline, one line each."""

import argparse
import importlib
import os
import sys
from pathlib import Path

from assistant.settings import CONFIG_FILE, ConfigError
from assistant.supervision import StartError

COMMANDS = (
    "setup", "serve", "demo", "console", "mic",
    "say", "transcribe", "calls", "bench",
    "policies", "models", "train", "doctor",
    "backend", "speech", "answer", "front",
)  # fmt: skip
"""Modules of assistant.commands, in the order of a newcomer's first hour."""

EPILOG = """\
first steps:
  hotline setup                      models, trained dialogue, database, prompts
  hotline doctor                     what is there, what is missing, what to do
  hotline demo                       one whole call over SIP, watched live
  hotline console                    type as the caller, read as the caller
  hotline serve                      answer real phones until Ctrl-C

an operator edits configs/hotline.toml, a policy editor configs/policies/*.yaml.
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="hotline",
        description="A telephone hotline for social insurance: dial in, speak Mandarin.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--config", type=Path, default=CONFIG_FILE, help="configuration file")
    top.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one key of the configuration",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"assistant.commands.{name}").register(commands)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. A wrong configuration is one line, not a trace."""
    args = parser().parse_args(arguments)
    try:
        code: int = args.run(args)
        return code
    except (ConfigError, StartError) as error:
        print(f"hotline: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, `head` say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
