"""JSON Schema, for rewards: any draft that the package jsonschema knows. Nothing is fetched: a `$ref` that leads out of
the schema is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ouvert.tuning.error import TuningError

Follows = Callable[[Any], bool]


def schema_in(path: Path) -> Follows:
    """Of the schema in a file. Raises TuningError for a file that cannot be read, and as `validator_of` does."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise TuningError(f"the reward schema:{path}: {problem}. Expected a file with a JSON Schema.") from None
    return validator_of(text, str(path))


def validator_of(text: str, where: str) -> Follows:
    """Whether values follow the schema in a text. Raises TuningError, with the place, for what is no schema, and where
    the package jsonschema is not installed."""
    try:
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import Draft202012Validator, validator_for
        from referencing import Registry
        from referencing.exceptions import Unresolvable
    except ModuleNotFoundError:
        raise TuningError(
            "rewarding answers that follow a schema: the package jsonschema is not installed, expected it. Install it: "
            "python -m pip install jsonschema"
        ) from None
    try:
        schema = json.loads(text)
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
    except (ValueError, RecursionError, SchemaError) as problem:
        said = problem.message if isinstance(problem, SchemaError) else str(problem)
        raise TuningError(f"the schema in {where}: {said}. Expected a JSON Schema.") from None
    validator = kind(schema, registry=Registry())  # one that fetches nothing

    def follows(value: Any) -> bool:
        """Raises TuningError for a schema that refers to another."""
        try:
            return bool(validator.is_valid(value))
        except Unresolvable as problem:
            raise TuningError(
                f"the schema in {where} refers to {problem.ref!r}, which does not stand in it. Put all of it into one "
                "schema, under $defs."
            ) from None
        except RecursionError:
            return False  # nested deeper than Python reads

    return follows
