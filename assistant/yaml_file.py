"""One YAML file that an operator edits, read and checked."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from assistant.settings import ConfigError

T = TypeVar("T")


def read(file: Path, kind: TypeAdapter[T]) -> T:
    """The file's content as this kind; raises ConfigError that names file and field."""
    try:
        return kind.validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{file}: {where + ': ' if where else ''}{message}") from None
