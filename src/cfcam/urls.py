"""Addresses as messages, logs and records show them: without what opens a door."""

from __future__ import annotations

import re
from typing import Final

_ADDRESS: Final = re.compile(r"(?P<scheme>[A-Za-z][\w.+-]*)://(?P<rest>[^\s'\"<>]*)")
_USER: Final = re.compile(r"[^/]*@")
_SECRET: Final = re.compile(r"(?i)\b(pass\w*|pwd|pw|token|secret|api_?key)(\s*[=:]\s*)[^\s&;,'\"]+")


def shown_url(text: str) -> str:
    """Returns a text, such as an address or what a library says of one, without passwords.

    Of each address its user, its query and its fragment go: a password may stand in any of them.

    Example:
        >>> shown_url("postgresql://u:pw@host:5432/base?sslmode=require&password=pw")
        'postgresql://host:5432/base'
        >>> shown_url("no place: u:pw@host")
        'no place: …@host'
        >>> shown_url("a/folder/audit.sqlite")
        'a/folder/audit.sqlite'
    """
    if "://" not in text:
        return _SECRET.sub(r"\1\2…", re.sub(r"[^\s/'\"]*@", "…@", text))
    return _SECRET.sub(r"\1\2…", _ADDRESS.sub(_without_door, text))


def _without_door(found: re.Match[str]) -> str:
    place = re.split(r"[?#]", found["rest"], maxsplit=1)[0]
    return f"{found['scheme']}://{_USER.sub('', place, count=1)}"
