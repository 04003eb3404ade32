"""Checks of the network itself, before it runs: where it lives, what its weights are, which state it is in."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from cfcam.capture.state.guarantee import is_compiled
from cfcam.diagnosis.findings import Finding, Severity, ok
from cfcam.diagnosis.passes import is_trained
from cfcam.diagnosis.setup import Setup
from cfcam.shown import counted

_SHOWN = 3
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def check_model(setup: Setup) -> Iterator[Finding]:
    """Says what kind of module it is, and whether its arithmetic has gradients and its modules can be observed."""
    module, given = setup.module, setup.model
    parameters = list(module.parameters())
    total = sum(p.numel() for p in parameters)
    if any(is_compiled(m) for m in (given, *module.modules())):
        yield Finding(
            "model",
            Severity.NOTE,
            "the model is compiled by torch.compile",
            "cfcam runs the module inside uncompiled, because compiled code skips hooks: same numbers, slower",
        )
    elif given is not module:
        yield Finding(
            "model",
            Severity.NOTE,
            f"the model is wrapped in {type(given).__name__}",
            f"cfcam runs the {type(module).__name__} inside, in this process, on one device",
        )
    if name := setup.network.quantised:
        yield Finding(
            "model",
            Severity.WARNING,
            f"module {name!r} is quantised",
            "its arithmetic has no gradient, so gradient methods are refused; methods of masked passes work",
            "--method score-cam --method occlusion, or explain the network from before it was quantised",
        )
    frozen = sum(not p.requires_grad for p in parameters)
    all_frozen = bool(parameters) and frozen == len(parameters)
    words = ", all frozen, which does not matter: gradients go to the layer" if all_frozen else ""
    yield ok(
        "model",
        f"{type(module).__name__}, {total:,} parameters in {counted(len(parameters), 'tensor')}{words}",
        parameters=total,
        frozen_tensors=frozen,
    )


def check_device(setup: Setup) -> Iterator[Finding]:
    """Says on which device and in which type the network computes."""
    tensors = [t for t in (*setup.module.parameters(), *setup.module.buffers()) if t.is_floating_point()]
    devices, types = sorted({str(t.device) for t in tensors}), sorted({str(t.dtype)[6:] for t in tensors})
    seen = f"{', '.join(devices) or 'no parameters'}; {', '.join(types) or 'no type'}"
    if "meta" in devices:
        empty = [n for n, p in setup.module.named_parameters() if p.is_meta]
        yield Finding(
            "device",
            Severity.PROBLEM,
            f"{len(empty)} parameters are on the meta device ({_few(empty)})",
            "they have a shape and no numbers: the weights were never loaded",
            "model.to_empty(device='cpu'); model.load_state_dict(...)",
        )
    elif len(devices) > 1:
        yield Finding(
            "device",
            Severity.WARNING,
            f"parameters on {counted(len(devices), 'device')}: {', '.join(devices)}",
            "inputs go to the device of the first parameter; a network that does not move them on will fail",
            "model.to('cuda:0'), or device_map=None when it is loaded",
        )
    elif devices == ["cpu"] and torch.cuda.is_available():
        yield Finding(
            "device",
            Severity.NOTE,
            f"{seen}, and this machine has {torch.cuda.get_device_name(0)}",
            "it works, and would be faster there",
            "--device cuda, or model.to('cuda')",
        )
    elif devices == ["cpu"] and "float16" in types:
        yield Finding(
            "device",
            Severity.NOTE,
            seen,
            "half precision on a CPU is slow, and float16 overflows above 65504",
            "model.float()",
        )
    else:
        yield ok("device", seen, devices=devices, types=types)


def check_weights(setup: Setup) -> Iterator[Finding]:
    """Looks for NaN and infinity in parameters and buffers, and for statistics that never moved."""
    state: dict[str, Tensor] = dict(setup.module.named_parameters()) | dict(setup.module.named_buffers())
    floating = {n: t for n, t in state.items() if t.is_floating_point() and not t.is_meta}
    broken = [name for name, tensor in floating.items() if not bool(tensor.isfinite().all())]
    if broken:
        first = floating[broken[0]]
        bad = int((~first.isfinite()).sum())
        yield Finding(
            "weights",
            Severity.PROBLEM,
            f"{len(broken)} of {counted(len(floating), 'tensor')} hold NaN or infinity: {_few(broken)}"
            f" ({bad} of {first.numel()} numbers in the first)",
            "the training diverged, or the checkpoint is damaged; no map can be made of it",
            "--weights ANOTHER_CHECKPOINT",
            {"tensors": broken},
        )
        return
    norms = [(n, m) for n, m in setup.module.named_modules() if isinstance(m, _BatchNorm)]
    untrained = [n for n, m in norms if m.running_mean is not None and not is_trained(m)]
    if untrained:
        yield Finding(
            "weights",
            Severity.WARNING,
            f"{len(untrained)} of {len(norms)} BatchNorms have mean 0 and variance 1, as before training:"
            f" {_few(untrained)}",
            "the network was not trained, or its statistics were not in the checkpoint: maps of it mean nothing",
            "--weights CHECKPOINT, with running_mean and running_var in it",
            {"modules": untrained},
        )
        return
    yield ok("weights", f"{counted(len(floating), 'tensor')}, all finite", tensors=len(floating))


def check_mode(setup: Setup) -> Iterator[Finding]:
    """Looks for modules in training mode."""
    modules = list(setup.module.modules())
    training = [m for m in modules if m.training]
    moving = sum(isinstance(m, _BatchNorm) for m in training)
    dropping = sum(isinstance(m, _DropoutNd) and m.p > 0 for m in training)
    if not training:
        yield ok("mode", "evaluation mode")
        return
    seen = f"{len(training)} of {len(modules)} modules are in training mode, {moving} BatchNorm and {dropping} dropout"
    if moving or dropping:
        yield Finding(
            "mode",
            Severity.WARNING,
            seen,
            "cfcam explains in evaluation mode and leaves the model as it was; your own predictions are made with"
            + (" statistics that move" if moving else "")
            + (" and" if moving and dropping else "")
            + (" random dropout" if dropping else "")
            + ", and are not the ones that are explained",
            "model.eval()",
            {"training": len(training), "batch_norm": moving, "dropout": dropping},
        )
    else:
        yield Finding("mode", Severity.NOTE, seen, "no module here behaves differently in it", "model.eval()")


def check_hooks(setup: Setup) -> Iterator[Finding]:
    """Looks for hooks that other code left on the modules: they run in every pass, also in cfcam's."""
    hooked = {
        name or "the model": kinds
        for name, module in setup.module.named_modules()
        if (kinds := [k.strip("_").replace("_", " ") for k in _HOOKS if getattr(module, k, None)])
    }
    if not hooked:
        yield ok("hooks", "no hooks of others")
        return
    backward = any("backward" in kind for kinds in hooked.values() for kind in kinds)
    yield Finding(
        "hooks",
        Severity.WARNING if backward else Severity.NOTE,
        f"{len(hooked)} modules carry hooks of other code: "
        + ", ".join(f"{n} ({', '.join(k)})" for n, k in list(hooked.items())[:_SHOWN]),
        "they run in every pass of cfcam too, and what they change is in the maps"
        + ("; full backward hooks and in-place activations do not go together" if backward else ""),
        "handle.remove() on what register_forward_hook returned, or build the model anew",
        {"modules": list(hooked)},
    )


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


MODEL_CHECKS = (check_model, check_device, check_weights, check_mode, check_hooks)
