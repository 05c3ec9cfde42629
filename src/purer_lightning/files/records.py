"""Records: our JSON files, read by typed schemas. One sentence explains whatever is wrong with a file.

A schema is a dataclass (or a NamedTuple) whose annotations say what is allowed; pydantic reads them, strictly: no text
for a number, no number for a truth value, no NaN, no unknown field.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import AfterValidator, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from purer_lightning.errors import PurerError

Schema = TypeVar("Schema")

FORMAT = "format"
LARGEST = 2**27  # bytes; a pool of 10,000 teachers has some 6 MB
LONGEST_NAME = 200  # bytes; file systems take 255, and an ending is added
SHOWN = 60  # characters of a value that a sentence shows
STRICT = {"strict": True, "extra": "forbid", "allow_inf_nan": False}
"""The configuration of every schema: its ``__pydantic_config__``."""

# What a value has to be, by pydantic's name of the error; braces are filled with its limits.
EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "mapping_type": "an object",
    "dataclass_type": "an object",
    "none_required": "null",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} long",
    "string_too_short": "not empty",
    "json_invalid": "Unicode text",
}


def plain_name(name: str) -> str:
    """Return the name of a file or folder if it is one, without a path: nothing outside a record's folder is opened."""
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0") or len(name.encode()) > LONGEST_NAME:
        raise PydanticCustomError("plain_name", "a file's name without a path")
    return name


FileName = Annotated[str, AfterValidator(plain_name)]


def read_record(file: Path, schema: type[Schema], version: int | None, remedy: str) -> Schema:
    """Read a file by a schema.

    Args:
        file: of JSON.
        schema: a dataclass whose ``__pydantic_config__`` is ``STRICT``.
        version: that the file's field ``format`` has to have; None for a file without one.
        remedy: what can be done about a damaged file: a clause without a full stop.

    Raises:
        PurerError: the file cannot be read, is no JSON, of another version, or not of the schema: where, what was
            expected there, what was found.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise PurerError(f"Expected '{file}' to be at most {LARGEST >> 20} MiB, but it is larger; {remedy}.")
        content = file.read_bytes()
    except OSError as error:
        raise PurerError(f"'{file}' cannot be read ({error.strerror}); {remedy}.") from error
    return parsed(content, schema, version, f"'{file}'", remedy)


def parsed(content: bytes, schema: type[Schema], version: int | None, where: str, remedy: str) -> Schema:
    """Return what the JSON text ``content`` stands for; ``where`` names its place. Raises as ``read_record`` does."""
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise PurerError(f"{where} is damaged: it is no JSON ({_first_line(error)}); {remedy}.") from error
    if version is not None:
        if not isinstance(found, dict) or FORMAT not in found:
            raise PurerError(f"{where} is not of purer-lightning, or damaged: it has no field '{FORMAT}'; {remedy}.")
        other = found.pop(FORMAT)
        if type(other) is not int or other != version:
            raise PurerError(
                f"Expected {FORMAT} {version} in {where}, but found {_shown(other)}; {remedy}, or use the version of "
                "purer-lightning that wrote it."
            )
    return checked(found, schema, where, remedy)


def checked(content: object, schema: type[Schema], where: str, remedy: str) -> Schema:
    """Return what plain values (those that JSON can hold) stand for. Raises as ``read_record`` does.

    Args:
        content: plain values.
        schema: a dataclass, or any other annotation.
        where: what they are, and where they stand, as the subject of a sentence.
        remedy: see ``read_record``.
    """
    try:
        text = json.dumps(content, allow_nan=False).encode("utf-8")
        found: Schema = _adapter(schema).validate_json(text, strict=True)  # type: ignore[arg-type]  # mypy: types are no Hashable
        return found
    except ValidationError as error:
        raise PurerError(f"{where} is damaged: {_sentence(error)}; {remedy}.") from error
    except (TypeError, ValueError, RecursionError) as error:
        wrong = f"it holds more than plain values ({_first_line(error)})"
        raise PurerError(f"{where} is damaged: {wrong}; {remedy}.") from error


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


def _sentence(error: ValidationError) -> str:
    """Return the first thing that is wrong: where, what was expected, what was found."""
    first, more = error.errors(include_url=False)[0], error.error_count() - 1
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    kind, limits = first["type"], first.get("ctx", {})
    if kind == "missing" or kind == "missing_argument":
        said = f"'{place}' is missing"
    elif kind.startswith(("extra_forbidden", "unexpected_keyword")):
        said = f"'{place}' is no field of this version"
    else:
        expected = EXPECTED[kind].format(**limits) if kind in EXPECTED else first["msg"][:1].lower() + first["msg"][1:]
        what = f"'{place}'" if place else "it"
        said = f"expected {what} to be {expected}, but found {_shown(first['input'])}"
    return said + (f", and {more} more" if more else "")


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number]))
        raise ValueError(f"the name {twice!r} stands twice in an object")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
