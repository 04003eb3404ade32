"""Everything that a module holds: its containers, and the tensors, arrays and generators in them."""

from __future__ import annotations

import functools
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from itertools import chain
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.state.containers import (
    Cell,
    Key,
    Slots,
    exchanged,
    get_at,
    restore,
    set_at,
)
from cfcam.capture.state.guarantee import unheard
from cfcam.capture.state.randomness import generator_of
from cfcam.capture.state.twins import is_array

_ATOMS: frozenset[type] = frozenset(
    {int, float, bool, str, bytes, complex, type, range, slice, torch.dtype, torch.device, torch.Size, torch.layout}
    | {torch.memory_format, types.NoneType, types.EllipsisType, types.BuiltinFunctionType, types.ModuleType}
)
_ALIVE = frozenset(
    {"torch", "threading", "queue", "multiprocessing", "concurrent", "asyncio", "socket", "logging", "io", "_io"}
    | {"subprocess", "weakref", "ctypes", "inspect", "pathlib", "re", "ray", "accelerate"}
    | {"lightning", "lightning_fabric", "pytorch_lightning"}
)
"""Packages whose objects live by themselves (threads, files, trainers), or are torch's own: left alone."""
_REGISTERED = ("_parameters", "_buffers", "_modules")
_HOOKS = frozenset(n for n in vars(nn.Module()) if n.endswith(("_hooks", "_with_kwargs", "_always_called")))
_END = object()
_MOST = 1 << 16
"""Entries of one container beyond which it is left alone: a table of words, a data set."""

Mark = tuple[int, int, bool]
"""Of a tensor its version, its place in memory and whether it requires gradients."""
Marks = tuple[list[int], list[int], list[bool]]
"""The same of many, in three lists: as many tuples would call the garbage collector in each pass."""
Place = tuple[Any, Key]
"""A container, and where in it."""


class Holdings:
    """What a module holds at one moment, reached through attributes, containers and plain objects.

    Reached are: all modules, also those in lists that are not registered; their parameters and buffers; every
    attribute; what is in dictionaries, lists, tuples, sets, deques, dataclasses and other plain objects of any depth;
    tensors that functions have closed over. Not reached: what other code hooked on (it may count passes), class
    attributes and globals, objects of compiled code, threads, files, and containers of more than 65536 entries.

    Args:
        model: the module.

    Attributes:
        tensors: by `id`, all that were found.
        ids: of these, in an order that stays.
        parameters: of these the ids of parameters.
        places: of each tensor, array and the like (by `id`) the containers that hold it, or a tuple with it.
        copied: arrays and the like, which are copied for a pass.
        generators: of random numbers, with what reads and what sets their state.
    """

    def __init__(self, model: nn.Module) -> None:
        self.tensors: dict[int, Tensor] = {}
        self.parameters: set[int] = set()
        self.names: dict[int, str] = {}
        self.places: dict[int, list[Place]] = {}
        self.copied: dict[int, Any] = {}
        self.generators: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = []
        self._containers: list[tuple[Any, Any, str]] = []
        self._empty: list[Any] = []
        self._hooks: list[dict[Any, Any]] = []
        self._seen: set[int] = set()
        self._kept: list[Any] = [model]  # what was seen must live, or its id would be given to another object
        self._todo: list[tuple[Any, Place | None, str]] = [(model, None, "")]
        while self._todo:
            self._visit(*self._todo.pop())
        # Tensors with versions come first; those made under inference mode, or without memory of their own, have none.
        order = sorted(self.tensors.items(), key=lambda item: not _has_mark(item[1]))
        self.tensors, self.ids = dict(order), [i for i, _ in order]
        self._marked = [t for _, t in order if _has_mark(t)]
        self._unmarked: list[Mark] = [(0, 0, t.requires_grad) for _, t in order[len(self._marked) :]]
        self._leaves = [self.tensors[i] for i in self.parameters]
        self._keyed = [c for c, _, _ in self._containers if isinstance(c, dict)]
        self._views = [c.values() if isinstance(c, dict) else c for c, _, _ in self._containers]
        self._keys = [*chain.from_iterable(self._keyed), _END]
        self._values = [*chain.from_iterable(self._views), _END]

    def unchanged(self, *, names: bool = True) -> bool:
        """Tells whether every container holds the very objects that it held, under the same names if these matter.

        This is done before and after every pass, in loops of compiled code.
        """
        if any(self._empty):
            return False
        try:
            same = all(map(is_, chain(chain.from_iterable(self._views), (_END,)), self._values))
        except (RuntimeError, ValueError):  # a cell that was emptied
            return False
        return same and (not names or all(map(is_, chain(chain.from_iterable(self._keyed), (_END,)), self._keys)))

    def restore(self) -> list[str]:
        """Puts every container back as it was, and returns the names of what had changed."""
        changed: list[str] = []
        for container in filter(None, self._empty):
            container.clear()
            changed.append(self.names.get(id(container), ""))
        for container, saved, name in self._containers:
            changed += restore(container, saved, name)
        return changed

    def marks(self) -> Marks:
        """Returns the marks of all tensors that have versions."""
        tensors = self._marked
        with unheard():
            return [t._version for t in tensors], [t.data_ptr() for t in tensors], [t.requires_grad for t in tensors]

    def each(self, marks: Marks) -> list[Mark]:
        """Returns `marks` tensor by tensor, in the order of `ids`."""
        return [*zip(*marks, strict=True), *self._unmarked]

    def copy_grads(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Gives parameters copies of the gradients that they have; returns parameter, gradient and copy of each."""
        found = [
            (p, grad, grad.clone()) for p, grad in zip(self._leaves, self.grads(), strict=True) if grad is not None
        ]
        for parameter, _, twin in found:
            parameter.grad = twin
        return found

    def grads(self) -> list[Tensor | None]:
        """Returns the gradients that the parameters have."""
        with unheard():
            return [p.grad for p in self._leaves]

    def restore_grads(self, before: list[Tensor | None]) -> list[str]:
        """Gives the parameters these gradients again, and returns the names of those that had others."""
        now = zip(self._leaves, self.grads(), before, strict=True)
        different = [(p, old) for p, grad, old in now if grad is not old]
        for parameter, grad in different:
            parameter.grad = grad
        return [f"{self.names[id(p)]}.grad" for p, _ in different]

    def hooks(self) -> list[tuple[dict[Any, Any], dict[Any, Any]]]:
        """Returns the modules' dictionaries of hooks that are not empty, each with a copy."""
        return [(hooks, hooks.copy()) for hooks in filter(None, self._hooks)]

    def restore_hooks(self, before: list[tuple[dict[Any, Any], dict[Any, Any]]]) -> None:
        """Takes off hooks that were set meanwhile, and puts back those taken off."""
        now = list(filter(None, self._hooks))
        if len(now) != len(before) or any(a is not b or a != old for a, (b, old) in zip(now, before, strict=True)):
            for hooks in now:
                hooks.clear()
            for hooks, old in before:
                hooks.update(old)

    def put(self, new: dict[int, Any]) -> list[tuple[Any, Key, Any, Any]]:
        """Puts objects in the places of others, which are given by `id`.

        Returns:
            For each place the container, where in it, what was there and what is there now: for `take_back`.
        """
        places = {(id(c), str(key)): (c, key) for i in new for c, key in self.places.get(i, ())}
        done = []
        for container, key in places.values():
            old = get_at(container, key)
            now = exchanged(old, new)
            set_at(container, key, now)
            done.append((container, key, old, now))
        return done

    @staticmethod
    def take_back(done: list[tuple[Any, Key, Any, Any]]) -> None:
        """Undoes `put` where nobody has put something else in the place."""
        for container, key, old, now in done:
            try:
                if get_at(container, key) is now:
                    set_at(container, key, old)
            except (LookupError, AttributeError, ValueError):  # the place is gone; `restore` brings it back
                continue

    def _visit(self, value: Any, place: Place | None, name: str) -> None:
        kind = type(value)
        if isinstance(value, nn.Module):
            if id(value) not in self._seen:
                self._seen.add(id(value))
                self._kept.append(value)
                self._module(value, name)
            return
        if isinstance(value, Tensor):
            self._tensor(value, place, name)
            return
        if kind is tuple or (isinstance(value, tuple) and hasattr(value, "_fields")):
            self._todo += [(v, place, f"{name}[{n}]") for n, v in enumerate(value) if type(v) not in _ATOMS]
            return
        if is_array(value):
            self.copied[id(value)] = value
            self.names[id(value)] = name
            self._kept.append(value)
            if place is not None:
                self.places.setdefault(id(value), []).append(place)
            return
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        self._kept.append(value)
        if generator := generator_of(value):
            self.generators.append(generator)
        elif isinstance(value, (dict, list, deque, set)):
            self._container(value, name)
        elif isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
            self._function(value, name)
        elif kind.__module__.partition(".")[0] not in _ALIVE:
            self._object(value, name)

    def _tensor(self, tensor: Tensor, place: Place | None, name: str) -> None:
        if place is not None:
            self.places.setdefault(id(tensor), []).append(place)
        if id(tensor) in self.tensors:
            return
        self.tensors[id(tensor)], self.names[id(tensor)] = tensor, name
        if isinstance(tensor, nn.Parameter):
            self.parameters.add(id(tensor))
        if type(tensor) is not Tensor and type(tensor) is not nn.Parameter:
            self._object(tensor, name)  # a subclass may keep its scale, or its state, beside the numbers

    def _module(self, module: nn.Module, name: str) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            for key, tensor in chain(module.named_parameters(), module.named_buffers()):
                self._tensor(tensor, None, f"{name}.{key}")
            return
        if type(module).__module__.startswith("torch.distributed"):
            self._todo += [(child, None, f"{name}.{key}") for key, child in module.named_children()]
            return
        held = vars(module)
        self._containers.append((held, held.copy(), name))
        before = f"{name}." if name else ""
        for key, value in held.items():
            if type(value) in _ATOMS:
                continue
            if key in _HOOKS:
                self._hooks.append(value)
            elif key in _REGISTERED:
                self._registered(value, name, before)
            else:
                self._todo.append((value, (held, key), before + key))

    def _registered(self, held: dict[str, Any], name: str, before: str) -> None:
        """Parameters, buffers or modules: most of what there is, and nothing else is in these."""
        if not held:
            self._empty.append(held)
            self.names[id(held)] = name
            return
        self._containers.append((held, held.copy(), name))
        for key, value in held.items():
            if isinstance(value, Tensor):
                self._tensor(value, (held, key), before + key)
            elif value is not None:
                self._todo.append((value, (held, key), before + key))

    def _object(self, value: Any, name: str) -> None:
        held = getattr(value, "__dict__", None)
        if type(held) is dict:
            self._container(held, name)
        slots = [n for c in type(value).__mro__ for n in _names(c.__dict__.get("__slots__", ()))]
        if slots and (usable := [n for n in slots if n not in ("__dict__", "__weakref__")]):
            self._container(Slots(value, usable), name)

    def _function(self, value: Any, name: str) -> None:
        if isinstance(value, functools.partial):
            self._todo += [(v, None, name) for v in (value.func, value.args, value.keywords)]
        elif isinstance(value, types.MethodType):
            self._todo.append((value.__self__, None, name))
        else:
            # Only tensors: a list that a function fills is what somebody wants to see afterwards.
            for variable, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
                content = getattr(cell, "cell_contents", None)
                if isinstance(content, Tensor) or is_array(content):
                    self._container(Cell(cell), f"{name}.{variable}")

    def _container(self, container: Any, name: str) -> None:
        if isinstance(container, (Slots, Cell)):
            keys = container.names if isinstance(container, Slots) else (0,)
            entries: Iterable[tuple[Key, Any]] = list(zip(keys, container, strict=True))
            saved: Any = tuple(container)
        elif not container:
            self._empty.append(container)
            self.names[id(container)] = name
            return
        elif len(container) > _MOST:
            return
        else:
            keyed = isinstance(container, dict)
            entries = list(container.items() if keyed else enumerate(container))
            saved = dict(entries) if keyed else tuple(container)
        self._containers.append((container, saved, name))
        before, nameless = f"{name}." if name else "", isinstance(container, set)
        for key, value in entries:
            if type(value) not in _ATOMS:
                self._todo.append((value, None if nameless else (container, key), f"{before}{key}"))
        if type(container) not in _PLAIN:
            self._object(container, name)  # a subclass may have attributes too


_PLAIN = frozenset({dict, list, deque, set, OrderedDict, Slots, Cell})


def _has_mark(tensor: Tensor) -> bool:
    return not tensor.is_inference() and tensor.layout == torch.strided and tensor.device.type != "meta"


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
