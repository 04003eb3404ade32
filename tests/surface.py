"""What users hold on to: public names, and each command with its options. ``python -m tests.surface`` writes it down.

`surface.json` was written before the rooms of the library were moved; `test_surface.py` compares.
"""

from __future__ import annotations

import inspect
import json
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

KEPT = Path(__file__).with_name("surface.json")
ROOMS = (
    "cfcam",
    "cfcam.capture",
    "cfcam.exchange",
    "cfcam.imaging",
    "cfcam.integrations",
    "cfcam.jobs",
    "cfcam.methods",
    "cfcam.metrics",
    "cfcam.metrics.functional",
    "cfcam.models",
    "cfcam.models.demo",
    "cfcam.clinical.report",
)


def public_names() -> dict[str, dict[str, str]]:
    """Each public name of each room, with what it is: its signature, or its kind."""
    return {room: {name: _told(getattr(import_module(room), name)) for name in _all(room)} for room in ROOMS}


def commands() -> dict[str, list[dict[str, Any]]]:
    """Each command, and of each of its parameters all that a user can see or type."""
    from cfcam.cli.app import app

    found: dict[str, list[dict[str, Any]]] = {}
    _walk("cfcam", typer.main.get_command(app), found)
    return found


def surface() -> dict[str, Any]:
    """All of it, as it is kept."""
    return {"names": public_names(), "commands": commands()}


def _all(room: str) -> list[str]:
    return sorted(import_module(room).__all__)


def _told(value: Any) -> str:
    if inspect.isclass(value) and issubclass(value, Enum):
        return f"enum {[member.value for member in value]}"
    if callable(value):
        try:
            return f"({', '.join(_parameter(p) for p in inspect.signature(value).parameters.values())})"
        except ValueError:
            return "callable"
    return type(value).__name__


def _parameter(parameter: inspect.Parameter) -> str:
    name = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + parameter.name
    return name if parameter.default is parameter.empty else f"{name}=…"


def _walk(name: str, command: Any, found: dict[str, list[dict[str, Any]]]) -> None:
    if hasattr(command, "commands"):
        for inner in sorted(command.commands):
            _walk(f"{name} {inner}", command.commands[inner], found)
    found[name] = [
        {
            "names": sorted([*parameter.opts, *parameter.secondary_opts]),
            "range": [getattr(parameter, "min", None), getattr(parameter, "max", None)],
            "default": None if callable(parameter.default) else _plain(parameter.default),
            "required": parameter.required,
            "multiple": bool(getattr(parameter, "multiple", False)) or parameter.nargs != 1,
            "flag": bool(getattr(parameter, "is_flag", False)),
            "metavar": parameter.metavar,
            "help": " ".join((getattr(parameter, "help", None) or "").split()),
        }
        for parameter in sorted(command.params, key=lambda parameter: parameter.opts)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


if __name__ == "__main__":
    KEPT.write_text(json.dumps(surface(), indent=1, sort_keys=True, default=str, ensure_ascii=False) + "\n")
