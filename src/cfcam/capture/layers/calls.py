"""Layers that run several times in one pass: ``trunk#1`` is the second call of ``trunk``."""

from __future__ import annotations

import re

from cfcam.errors import LayerError


def split_call(layer: str) -> tuple[str, int | None]:
    """Returns a layer's name without its call, and which call is meant; None: none is named."""
    found = re.fullmatch(r"(.*)#(\d+)", layer)
    return (layer, None) if found is None else (found[1], int(found[2]))


def call_names(name: str, calls: int) -> str:
    """Returns how the calls of a layer are named: "trunk#0, trunk#1" or "trunk#0 to trunk#16"."""
    if calls <= 3:
        return ", ".join(f"{name}#{n}" for n in range(calls))
    return f"{name}#0 to {name}#{calls - 1}"


def check_calls(layer: str, calls: int) -> None:
    """Raises `LayerError` if a layer did not run, runs several times and no call is named, or not as often as named."""
    name, call = split_call(layer)
    if calls == 0:
        raise LayerError(f"layer {name!r} did not run on this input: name one that does (cfcam layers)")
    if call is None and calls > 1:
        raise LayerError(
            f"layer {name!r} runs several times in one pass ({calls} calls), so its output is ambiguous: name one call,"
            f" {call_names(name, calls)}, or the block around it"
        )
    if call is not None and call >= calls:
        times = "once" if calls == 1 else f"{calls} times"
        raise LayerError(
            f"layer {name!r} runs {times} in one pass, and there is no {layer!r}: {call_names(name, calls)}"
        )
