"""A file of settings to begin with: every key with what it means, made from the settings themselves."""

from __future__ import annotations

import textwrap
import typing
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from cfcam.jobs.gateway.settings import GatewaySettings
from cfcam.jobs.gateway.toml import described

_VALUES = {  # of keys that have no default, and of those that a beginner changes first
    "[spool] folder": "spool",
    "[receive] calling": ("ARCHIVE",),
    "[send] place": "dicom://ARCHIVE@127.0.0.1:4242",
    "[watch] folder": "in",
    "[poll] place": "http://127.0.0.1:8042/dicom-web",
    "[fhir] url": "https://fhir.example/r4",
    "[prior] place": "dicom://ARCHIVE@127.0.0.1:4242",
    "[network.chest] model": "demo",
    "[[rule]] name": "chest",
    "[[rule]] networks": ("chest",),
    "[[rule]] modality": ("CR", "DX"),
}
_WITHOUT = ("watch", "poll", "fhir", "prior")  # which are written, each line behind a "#"
_SHOWN = {"network": "[network.chest]", "rule": "[[rule]]"}
_HEAD = """\
# A gateway of cfcam. What is behind a # has the value that stands there.
# cfcam gateway THIS --explain FOLDER shows what would be done with the objects of a folder.
# Research use only; not a medical device.
"""


def example() -> str:
    """Returns the text of the file; it can be read as it is."""
    means = described(GatewaySettings)
    hints = typing.get_type_hints(GatewaySettings)
    parts = [_HEAD]
    for one in fields(GatewaySettings):
        kind = _dataclass_of(hints[one.name])
        title = _SHOWN.get(one.name, f"[{one.name}]")
        off = one.name in _WITHOUT
        parts.append(f"# {means[one.name][0].upper()}{means[one.name][1:]}\n{'# ' if off else ''}{title}\n")
        parts += [_line(title, field, text, off) for field, text in _documented(kind)]
    return "\n".join(parts)


def _documented(kind: type[Any]) -> list[tuple[Field[Any], str]]:
    inherited: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        inherited |= {name: text for name, text in described(base).items() if text}
    return [(one, inherited[one.name]) for one in fields(kind)]


def _line(title: str, one: Field[Any], text: str, off: bool) -> str:
    words = textwrap.fill(text, 110, initial_indent="# ", subsequent_indent="# ")
    given = _VALUES.get(f"{title} {one.name}", MISSING)
    value = one.default if given is MISSING else given
    before = "# " if off or given is MISSING else ""
    return f"{words}\n{before}{one.name} = {'' if value is None else _toml(value)}".rstrip() + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_toml(one) for one in value)}]"
    if isinstance(value, (str, Path)):
        return f'"{value}"'
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dataclass_of(hint: Any) -> type[Any]:
    """The dataclass in a hint such as ``Receive | None`` or ``dict[str, Network]``."""
    if hasattr(hint, "__dataclass_fields__"):
        return hint
    return next(one for one in typing.get_args(hint) if hasattr(one, "__dataclass_fields__"))
