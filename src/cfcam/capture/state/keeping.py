"""A network's state kept through its passes: each begins with the same, and leaves it as it was."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.state.holdings import Holdings, Mark, Marks
from cfcam.capture.state.process import Process
from cfcam.capture.state.randomness import same_state
from cfcam.capture.state.twins import twin
from cfcam.errors import CfcamError

_LARGE = 1 << 28
"""Bytes of a tensor of which no second copy is kept between passes."""


@dataclass(eq=False)
class _Known:
    """What earlier passes told about a tensor.

    Attributes:
        tensor: which.
        moves: whether a pass changes it in place: passes then work on a copy.
        passes: the kinds of pass that have been looked at.
        mark: its version and place in memory when ``backup`` was made.
        backup: a copy, of tensors that are no parameters.
    """

    tensor: weakref.ref[Tensor]
    moves: bool = False
    passes: set[bool] = field(default_factory=set)
    mark: Mark | None = None
    backup: Tensor | None = None


@dataclass(eq=False)
class _Record:
    """What earlier passes told about a network.

    Attributes:
        tensors: by `id`, what is known of each.
        settled: for each kind of pass in which nothing moved, the tensors and their marks then.
        grads: for each kind of pass, whether it changes the gradients that parameters have, as a `backward` does.
    """

    tensors: dict[int, _Known] = field(default_factory=dict)
    settled: dict[bool, tuple[list[int], Marks]] = field(default_factory=dict)
    grads: dict[bool, bool] = field(default_factory=dict)


_RECORDS: weakref.WeakKeyDictionary[nn.Module, _Record] = weakref.WeakKeyDictionary()


class Keeper:
    """Keeps what a network holds, and the process around it, through one pass at a time.

    What is replaced is put back: that costs a comparison of identities. What is changed in place is more dear, because
    it must be copied before. The first pass, and the first of several images, work on copies of all tensors that are no
    parameters, and parameters are copied and compared after them; later ones copy only what was seen to move, and
    compare versions for the rest. A parameter that only a later pass changes is an error.

    Args:
        model: the network.

    Attributes:
        changed: names of what the last pass had changed, before it was put back.
        drew: whether the last pass drew random numbers.
        sets: whether it changed settings of torch, or the working folder.
        late: whether the last pass changed, in place, what was not expected to change: a graph of it is void.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._record = _RECORDS.setdefault(model, _Record())
        self._holdings: Holdings | None = None
        self.changed: list[str] = []
        self.drew = self.sets = False
        self.late = False

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": self._model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_model"])  # type: ignore[misc]

    @property
    def moves(self) -> bool:
        """Whether passes change tensors in place."""
        return any(k.moves for k in self._record.tensors.values())

    @contextmanager
    def kept(self, device: torch.device, images: int, *, look: bool = True) -> Iterator[None]:
        """Runs one pass in its body.

        Args:
            device: on which it runs.
            images: how many it gets.
            look: whether parameters are looked at, if this is the first pass of its kind.

        Raises:
            CfcamError: the pass changed a parameter that cannot be put back.
        """
        if self._holdings is None or not self._holdings.unchanged(names=False):
            self._holdings = Holdings(self._model)
        holdings = self._holdings
        known, settled = self._record.tensors, self._record.settled
        marks, grads, several = holdings.marks(), holdings.grads(), images > 1
        # Where nothing ever moved in place, and nobody has changed anything since, versions are all there is to watch.
        quick = settled.get(several) == (holdings.ids, marks) and not holdings.copied
        watch = None if quick else _Watch(holdings, known, marks, several=several, look=look)
        hooks, process = holdings.hooks(), Process(device)
        generators = [(get, put, get()) for get, put in holdings.generators]
        lost: list[str] = []
        placed: list[Any] = []
        twins: list[tuple[Tensor, Tensor, Tensor]] = []
        self.changed, self.late, self.drew, self.sets = [], False, False, False
        try:
            if watch is not None and watch.stand_ins:
                placed = holdings.put(watch.stand_ins)
            if self._record.grads.get(several, True):
                twins = holdings.copy_grads()
            yield
        finally:
            holdings.take_back(placed)
            holdings.restore_hooks(hooks)
            if not holdings.unchanged():
                self.changed = holdings.restore()
            if twins:
                self._record.grads[several] = not all(p.grad is now and equal(old, now) for p, old, now in twins)
                for parameter, grad, now in twins:
                    if parameter.grad is now:
                        parameter.grad = grad
            if not all(map(is_, holdings.grads(), grads)):
                self.changed += holdings.restore_grads(grads)
            if watch is None and holdings.marks() != marks:
                watch = _Watch(holdings, known, marks, several=several, look=False, after=True)
            if watch is not None:
                moved, lost = watch.compare()
                self.changed += moved
                self.late = watch.late
                settled.pop(several, None)
                if watch.settled():
                    settled[several] = (holdings.ids, holdings.marks())
            self.drew, self.sets = process.restore(), process.sets
            for get, put, state in generators:
                if not same_state(get(), state):
                    put(state)
                    self.drew = True
        if lost:
            raise CfcamError(
                f"this pass of {type(self._model).__name__} changes the parameter {lost[0]!r} in place, which earlier"
                " ones did not, so that it was not copied and stays changed: load the weights again, and give a"
                " network whose forward leaves them alone"
            )


class _Watch:
    """The copies and comparisons of one pass in which tensors move, or may do so.

    Args:
        holdings: of the network.
        known: what is known of its tensors; completed here.
        marks: of its tensors before the pass.
        several: whether the pass is of several images.
        look: whether parameters that were not looked at are copied.
        after: made after the pass: nothing is copied any more.
    """

    def __init__(
        self,
        holdings: Holdings,
        known: dict[int, _Known],
        marks: Marks,
        *,
        several: bool,
        look: bool,
        after: bool = False,
    ) -> None:
        self._holdings, self._several, self._marks = holdings, several, holdings.each(marks)
        self.late = False
        self._tensors = list(holdings.tensors.items())
        self._known: list[_Known] = []
        for i, tensor in self._tensors:
            found = known.get(i)
            if found is None or found.tensor() is not tensor:
                found = known[i] = _Known(weakref.ref(tensor), moves=tensor.is_inference())
            self._known.append(found)
        self.stand_ins: dict[int, Any] = {}
        self._second: dict[int, tuple[Tensor, Tensor]] = {}
        if not after:
            self.stand_ins = {i: twin(value, holdings.names[i]) for i, value in holdings.copied.items()}
            storages: dict[int, Any] = {}
            for (i, tensor), found, mark in zip(self._tensors, self._known, self._marks, strict=True):
                self._prepare(i, tensor, found, mark, look, storages)

    def _prepare(self, i: int, tensor: Tensor, found: _Known, mark: Mark, look: bool, storages: dict[int, Any]) -> None:
        new = self._several not in found.passes
        if i in self._holdings.parameters and not found.moves:
            if new and look:
                with suppress(RuntimeError):  # no room for a second set of weights: versions must do
                    self._second[i] = (tensor.detach(), tensor.detach().clone())
        elif (found.moves or new) and i in self._holdings.places and _is_plain(tensor):
            self.stand_ins[i] = _copied(tensor, storages)
        elif found.mark != mark:
            _back_up(found, tensor.detach().clone() if _is_small(tensor) else None, mark)

    def compare(self) -> tuple[list[str], list[str]]:
        """Puts back what moved in place; returns the names of that, and of what cannot be put back."""
        moved: list[str] = []
        lost: list[str] = []
        names, now = self._holdings.names, self._holdings.each(self._holdings.marks())
        for n, (i, tensor) in enumerate(self._tensors):
            found, mark = self._known[n], self._marks[n]
            if i in self.stand_ins:
                if not equal(tensor, self.stand_ins[i]):
                    found.moves, found.backup = True, None
                    moved.append(names[i])
                elif not found.moves:
                    _back_up(found, self.stand_ins[i] if _is_small(tensor) else None, mark)
            elif i in self._second:
                before, second = self._second[i]
                if now[n] != mark or not equal(tensor, second):
                    _put_back(tensor, before, second, mark)
                    found.moves = self.late = True
                    moved.append(names[i])
            elif now[n] != mark:
                moved.append(names[i])
                if not self._is_put_back(tensor, found, mark, now[n]):
                    lost.append(names[i])
            if i not in self._holdings.parameters or i in self._second:
                found.passes.add(self._several)
        if self.late:
            self._compare_all()
        return moved, lost

    def settled(self) -> bool:
        """Whether nothing moves, and all has been looked at in this kind of pass."""
        return not any(k.moves for k in self._known) and all(self._several in k.passes for k in self._known)

    def _is_put_back(self, tensor: Tensor, found: _Known, mark: Mark, now: Mark) -> bool:
        if now[:-1] == mark[:-1]:
            tensor.requires_grad_(mark[-1])
            return True
        found.moves = self.late = True
        if found.backup is None or found.mark != mark:
            return False
        _put_back(tensor, tensor.detach(), found.backup, mark)
        return True

    def _compare_all(self) -> None:
        """Some kernels move tensors without a new version (those of batch norm): where one moved, all are compared."""
        for (_, tensor), found, mark in zip(self._tensors, self._known, self._marks, strict=True):
            if found.backup is not None and found.mark == mark and not equal(tensor, found.backup):
                _put_back(tensor, tensor.detach(), found.backup, mark)
                found.moves = True


def _put_back(tensor: Tensor, before: Tensor, values: Tensor, mark: Mark) -> None:
    """Gives a tensor the memory that it had, with the values that were there."""
    if before.shape != values.shape:
        before = values.clone()
    with torch.no_grad():
        before.copy_(values)
        if tensor.data_ptr() != before.data_ptr() or tensor.shape != before.shape:
            tensor.data = before
    if tensor.requires_grad != mark[-1] and tensor.is_leaf:
        tensor.requires_grad_(mark[-1])


def _back_up(found: _Known, values: Tensor | None, mark: Mark) -> None:
    found.backup, found.mark = values, mark


def _is_small(tensor: Tensor) -> bool:
    return tensor.numel() * tensor.element_size() <= _LARGE


def _is_plain(tensor: Tensor) -> bool:
    """Tells whether a copy can stand in for a tensor."""
    usual = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    return usual and not tensor.is_quantized and tensor.device.type != "meta"


def _copied(tensor: Tensor, storages: dict[int, Any]) -> Tensor:
    """Returns a copy in memory of its own; copies of tensors that share memory share that of the copies."""
    memory = tensor.untyped_storage()
    key = memory.data_ptr()
    if key not in storages:
        storages[key] = memory.clone()
    new = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    new.set_(storages[key], tensor.storage_offset(), tensor.shape, tensor.stride())
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(new, requires_grad=tensor.requires_grad)
    return new.requires_grad_(tensor.requires_grad) if tensor.is_floating_point() or tensor.is_complex() else new


def equal(first: Tensor, second: Tensor) -> bool:
    """Tells whether two tensors hold the same numbers; NaN is the same as NaN."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if first.device.type == "meta":
        return True
    if torch.equal(first, second):
        return True
    if not first.is_floating_point():
        return False
    return bool(((first == second) | (first.isnan() & second.isnan())).all())
