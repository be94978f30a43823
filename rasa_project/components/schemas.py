"""Rasa's schemas are checked once, not at every message.

At each answer of an action, and at each request that writes events, Rasa 3.6 has jsonschema
check its own schema against the specification of schemas before it checks the data: 100 ms of a
turn on a slow core. The schemas never change while Rasa runs.
"""

import functools
import json
from typing import Any

from jsonschema import Draft202012Validator

MOST_SCHEMAS = 64


def check_schemas_once() -> None:
    """Remember which schemas were found right; the data is checked as before."""
    check = Draft202012Validator.check_schema

    @functools.lru_cache(MOST_SCHEMAS)
    def check_text(schema: str) -> None:
        check(json.loads(schema))

    def check_once(cls: type, schema: Any, *args: Any, **kwargs: Any) -> None:
        check_text(json.dumps(schema, sort_keys=True))

    Draft202012Validator.check_schema = classmethod(check_once)
