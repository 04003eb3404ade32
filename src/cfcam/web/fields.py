"""What is wrong with the fields of a request, in one line: the field, what it is, what is expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_NUMBER, _WHOLE, _TEXT, _LIST, _OBJECT = "a number", "a whole number", "a text", "a list", "an object"

_EXPECTED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "float_type": lambda _: _NUMBER,
    "float_parsing": lambda _: _NUMBER,
    "finite_number": lambda _: "a finite number",
    "int_type": lambda _: _WHOLE,
    "int_parsing": lambda _: _WHOLE,
    "int_from_float": lambda _: _WHOLE,
    "bool_type": lambda _: "true or false",
    "bool_parsing": lambda _: "true or false",
    "string_type": lambda _: _TEXT,
    "string_too_short": lambda c: f"a text of {c['min_length']} characters or more",
    "string_too_long": lambda c: f"a text of {c['max_length']} characters or fewer",
    "string_pattern_mismatch": lambda c: f"a text like {c['pattern']}",
    "literal_error": lambda c: str(c["expected"]),
    "list_type": lambda _: _LIST,
    "tuple_type": lambda _: _LIST,
    "too_short": lambda c: f"{c['min_length']} entries or more",
    "too_long": lambda c: f"{c['max_length']} entries or fewer",
    "dict_type": lambda _: _OBJECT,
    "model_type": lambda _: _OBJECT,
    "model_attributes_type": lambda _: _OBJECT,
    "greater_than": lambda c: f"more than {c['gt']:g}",
    "greater_than_equal": lambda c: f"{c['ge']:g} or more",
    "less_than": lambda c: f"less than {c['lt']:g}",
    "less_than_equal": lambda c: f"{c['le']:g} or less",
}
"""What pydantic calls an error, and what it says of its limits -> what is expected."""


def told(errors: Sequence[Mapping[str, Any]], body: Any = None) -> str:
    """Returns what is wrong with the first field that is wrong.

    Args:
        errors: of pydantic; of a field that may be of several kinds there is one for each kind.
        body: that was sent, which tells names of fields from names of these kinds.

    Example:
        >>> one = {"loc": ("body", "threshold", "float"), "type": "float_type", "input": True}
        >>> told([one], {"threshold": True})
        'threshold: is true; expected a number'
    """
    first, field = errors[0], _field(errors[0], body)
    if first["type"] == "json_invalid":
        return "body: is no JSON; expected an object as /api/openapi.json describes it"
    if first["type"] == "missing":
        return f"{field}: is missing; see /api/openapi.json for what is expected"
    if first["type"] == "extra_forbidden":
        return f"{field}: is no field of this request; see /api/openapi.json for those that are"
    same = [one for one in errors if _field(one, body) == field]
    expected = dict.fromkeys(_expected(one) for one in same)
    return f"{field}: {_what(first.get('input'))}; expected {' or '.join(expected)}"


def _field(error: Mapping[str, Any], body: Any) -> str:
    top, *rest = error["loc"]
    if top != "body":
        return ".".join(map(str, rest)) or str(top)
    parts, there = "", body
    for depth, part in enumerate(rest, 1):
        named = error["type"] == "missing" and depth == len(rest)
        if isinstance(there, Mapping) and (part in there or named):
            parts += f".{part}"
            there = there.get(part)
        elif isinstance(there, list) and isinstance(part, int) and (named or part < len(there)):
            parts += f"[{part}]"
            there = None if named else there[part]
    return parts.removeprefix(".") or str(top)


def _what(value: Any) -> str:
    """What was sent, without repeating it: it may name somebody."""
    if value is None or isinstance(value, bool):
        return f"is {'null' if value is None else str(value).lower()}"
    if isinstance(value, (int, float)):
        return "is another number"
    if isinstance(value, (list, tuple)):
        return f"is a list of {len(value)}"
    return "is an object" if isinstance(value, Mapping) else "is another text"


def _expected(error: Mapping[str, Any]) -> str:
    known = _EXPECTED.get(error["type"])
    if known is not None:
        return known(error.get("ctx") or {})
    return str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
