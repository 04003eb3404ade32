"""A layer by its name, or by the module that it is."""

from __future__ import annotations

import difflib
import re
from typing import Any

import torch
from torch import nn

from cfcam.capture.layers.calls import split_call
from cfcam.errors import LayerError

INPUT = "input"
"""Names the network's own input where a layer is asked for; `(input)`, if a module of the network is called so."""


def find_layer(model: nn.Module, layer: Any) -> tuple[str, nn.Module]:
    """Returns a layer's canonical dotted name, with the call that was asked for, and its module.

    Args:
        model: the network.
        layer: a module of it, or a name; ``layer4[-1]`` is understood as well as ``layer4.2``. Of a layer that runs
            several times, ``trunk#1`` is its second call; of a module, ``(model.trunk, 1)``.

    Raises:
        LayerError: the network has no such layer, and the nearest names are offered; or this is no name and no module.
    """
    if layer is model:
        raise LayerError(f"layer is the whole {type(model).__name__}: name a layer inside of it (all: cfcam layers)")
    if isinstance(layer, nn.Module):
        for name, module in model.named_modules():
            if module is layer:
                return name, module
        raise LayerError(f"the given {type(layer).__name__} is not a module of this {type(model).__name__}")
    if isinstance(layer, tuple) and len(layer) == 2 and type(layer[1]) is int and layer[1] >= 0:
        name, module = find_layer(model, layer[0])
        return f"{name}#{layer[1]}", module
    if not isinstance(layer, str):
        several = (
            " (several are fused by cfcam.methods.Fusion(layers=(...)))" if isinstance(layer, (list, tuple)) else ""
        )
        raise LayerError(f"layer is a {type(layer).__name__}: give one dotted name, or one module{several}")
    module = model
    path: list[str] = []
    name, call = split_call(layer)
    for part in re.findall(r"[^.\[\]]+", name):
        children = dict(module.named_children())
        key = part
        if re.fullmatch(r"-\d+", part) and int(part) >= -len(children):
            key = list(children)[int(part)]
        if key not in children:
            raise LayerError(_unknown(model, name))
        module = children[key]
        path.append(key)
    if not path:
        raise LayerError(_unknown(model, name))
    if isinstance(module, torch.jit.ScriptModule):
        raise LayerError(
            f"layer {name!r} is compiled by torch.jit and cannot be observed: name the Python module around it, or"
            " give the network from before it was scripted"
        )
    return ".".join(path) + ("" if call is None else f"#{call}"), module


def _unknown(model: nn.Module, layer: str) -> str:
    names = [name for name, _ in model.named_modules() if name]
    near = difflib.get_close_matches(layer, names, n=4, cutoff=0.4) or names[-4:]
    known = getattr(model, "known_as", type(model).__name__)
    every = getattr(model, "layers_by", "cfcam layers")
    return f"{known} has no layer {layer!r}; nearest: {', '.join(near)} (all: {every})"
