"""`hotline train`: the dialogue model from rasa_project and the policy cards."""

import argparse


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    command = subparsers.add_parser(
        "train",
        help="check the policy cards and train the dialogue model",
        description="Does nothing when the model of the current cards is in the cache.",
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train where needed and print the model's path; a broken card is a ConfigError."""
    from assistant.dialogue import training

    print(training.model(lambda line: print(line, flush=True)))
    return 0
