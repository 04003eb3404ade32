"""The state guarantee: a model, and the process around it, are after a call what they were before."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from cfcam.capture.state.randomness import torch_generators


@dataclass(frozen=True)
class Autocast:
    """The caller's autocast setting, kept so that later masked passes run as the first pass did."""

    device_type: str
    enabled: bool
    dtype: torch.dtype

    @classmethod
    def current(cls, device_type: str) -> Autocast:
        """Reads the setting that is in force for ``device_type``."""
        return cls(device_type, torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type))

    def __call__(self, enabled: bool | None = None) -> torch.autocast:
        """Returns a context with this setting (``enabled=False``: with autocast off)."""
        on = self.enabled if enabled is None else enabled
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=on)

    def quiet(self) -> ExitStack:
        """Returns the context in which methods compute: no graph, no autocast, no inference mode."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stack.enter_context(self(enabled=False))
        return stack


@contextmanager
def preserved(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Runs its body with every module in evaluation mode, and puts modes and random state back.

    What single passes within the body change is `cfcam.capture.state.keeping`'s affair.

    The ``training`` flags are set one by one instead of by ``model.eval()``: a model may mix modes, and may
    override ``train`` with side effects. With them off, BatchNorm statistics do not move and dropout draws nothing.
    Compiled parts run uncompiled inside, because compiled code skips hooks.
    """
    training, compiled = _modes(model)
    states = [(put, get()) for get, put in torch_generators(device)]
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        try:
            for module in training:
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True
            for put, state in states:
                put(state)


def _modes(model: nn.Module) -> tuple[list[nn.Module], bool]:
    """Returns the modules in training mode, and whether any is compiled.

    Each pass asks: this is one walk, in a third of the time of ``model.modules()``.
    """
    todo, found = [model], {id(model)}
    training: list[nn.Module] = []
    compiled = False
    for module in todo:
        if module.training:
            training.append(module)
        compiled = compiled or is_compiled(module)
        for child in module._modules.values():
            if child is not None and id(child) not in found:
                found.add(id(child))
                todo.append(child)
    return training, compiled


def unheard() -> AbstractContextManager[None, bool | None]:
    """Returns the context in which hooks look at tensors: a mode that listens to the pass is not told of it."""
    return torch._C.DisableTorchFunction()


def observable(model: nn.Module) -> dict[nn.Module, str]:
    """Returns the modules that can carry hooks, with their names: all but those that torch.jit has compiled."""
    return {m: name for name, m in model.named_modules() if not isinstance(m, torch.jit.ScriptModule)}


def is_compiled(module: nn.Module) -> bool:
    """Tells whether this very module was given to ``torch.compile``, or compiles itself."""
    return "_orig_mod" in module._modules or module._compiled_call_impl is not None
