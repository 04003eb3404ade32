"""Models that are called with something else than one batch of images, or that come wrapped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.inputs import what_is_due
from cfcam.errors import CfcamError, InputError, check_called, describe, shown

_OF_ARGUMENTS = (TypeError, KeyError, IndexError, AttributeError, ValueError, AssertionError)
"""What a forward raises that is called with other things than it takes."""

UNBATCHED = (
    "it takes one image without a batch axis: give cfcam.capture.Adapter(model, lambda x, images: x[0],"
    " lambda output: output[None]) as the model, and one image (1, C, *spatial) at a time"
)

Arguments = Callable[[Tensor, Tensor], Any]


class Adapter(nn.Module):
    """A model seen as a network of one batch of images.

    Its layers are named as in the model, with ``model.`` before: ``layer="model.layer4"``.

    Args:
        model: the model; it is not changed.
        arguments: called with images (M, C, *spatial) and with which image of the batch each was made from, (M,) int64,
            because masked copies of one image arrive together; returns what the model is called with: a tuple of
            positional arguments, a mapping of keyword arguments, or anything else as the only argument. Other inputs of
            an image must follow it: ``lambda x, images: (x, ages[images])``.
        output: called with what the model returned; gives logits (M, classes), or an output that holds them.

    Attributes:
        layer: the layer that is mapped where none is named; None: one is chosen by looking.
        grids: layer -> how its output is seen as maps (a `TokenGrid`), and where their cells lie on the input (a
            `Placement`; None: they share it evenly), where that is known and cannot be told by looking.
        whole: whether the input is pictures as they are; if not, they come in parts, on which no mask can be laid.
        batched: whether gradients of many scores are known to be quicker together, whatever operators are in between.

    Example:
        ``Adapter(model, lambda x, images: {"pixel_values": x, "age": ages[images]})``; a model that takes a mapping as
        its only argument: ``Adapter(model, lambda x, images: ({"image": x},))``.
    """

    def __init__(self, model: nn.Module, arguments: Arguments, output: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise InputError(f"Adapter: the model is {shown(model)}: give the torch.nn.Module that is called")
        check_called(arguments, "Adapter: arguments", "a function, lambda x, images: what the model is called with")
        if output is not None:
            check_called(output, "Adapter: output", "a function from what the model returned to logits (M, classes)")
        self.model = model
        self.arguments = arguments
        self.output = output
        self.layer: str | None = None
        self.grids: dict[str, tuple[Any, Any]] = {}
        self.whole = True
        self.batched = False

    def forward(self, x: Tensor, images: Tensor | None = None) -> Any:
        """Runs the model on (M, C, *spatial) made from the images (M,) of the batch; None: they are the batch."""
        if images is None:
            images = torch.arange(len(x), device=x.device)
        given = self.arguments(x, images)
        if given is None:
            raise InputError(
                "Adapter: arguments returned None: return what the model is called with, a tuple or a mapping"
            )
        try:
            if isinstance(given, Mapping):
                result = self.model(**given)
            else:
                result = self.model(*given) if isinstance(given, tuple) else self.model(given)
        except CfcamError:
            raise
        except Exception as error:
            if not isinstance(error, _OF_ARGUMENTS) and not (isinstance(given, Tensor) and given.ndim < x.ndim - 1):
                raise
            what = f"a tensor {tuple(given.shape)}" if isinstance(given, Tensor) else shown(given)
            raise InputError(
                f"Adapter: {type(self.model).__name__} fails on what arguments returned, {what}"
                f" ({describe(error, 160)}): return what the model is called with; what it answers goes through"
                " output, the third argument"
            ) from error
        return result if self.output is None else self.output(result)


def unwrapped(model: Any) -> nn.Module:
    """Returns the module that does the work inside of ``torch.compile``, DataParallel and DistributedDataParallel.

    Compiled code skips hooks; the parallel wrappers would scatter a batch, or wait for the other processes.

    Raises:
        InputError: the model runs no modules that could be observed: an exported program, or a scripted module.
    """
    if isinstance(model, torch.export.ExportedProgram):
        raise InputError(
            "the model is an ExportedProgram, which runs no modules: give torch.export.unflatten(program), exported"
            " with a dynamic batch"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            f"{getattr(model, 'original_name', 'the model')} is a scripted module, whose layers cannot be observed:"
            " give the Python module that it was made from, with these weights"
        )
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    if "_orig_mod" in model._modules:
        return unwrapped(model._orig_mod)
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return unwrapped(model.module)
    return model


def call(model: nn.Module, x: Tensor, images: Tensor | None, run: Callable[..., Any]) -> Any:
    """Returns what ``run`` returns for the arguments with which cfcam calls a model.

    Args:
        model: the model, perhaps an `Adapter`.
        x: (M, C, *spatial).
        images: (M,) the image of the batch that each was made from; None: these are the batch.
        run: the model, or something that calls it.

    Raises:
        InputError: the model cannot be called with one tensor, or with this one; the message says what to do.
    """
    if isinstance(model, Adapter):
        return run(x, images)
    try:
        return run(x)
    except CfcamError:
        raise
    except _OF_ARGUMENTS as error:
        reason = " ".join(str(error).split())[:160]
        other = "if it is called with other things, wrap it in cfcam.capture.Adapter(model, lambda x, images: ...)"
        raise InputError(
            f"{type(model).__name__} fails on one batch of images {tuple(x.shape)} ({type(error).__name__}: {reason}):"
            f" {what_is_due(model, tuple(x.shape)) or (UNBATCHED if _runs_unbatched(x, run) else other)}"
        ) from error
    except RuntimeError as error:
        if instead := _instead(model, error, tuple(x.shape)) or (UNBATCHED if _runs_unbatched(x, run) else None):
            raise InputError(f"{type(model).__name__} cannot be run on {tuple(x.shape)}: {instead}") from error
        raise


def _runs_unbatched(x: Tensor, run: Callable[..., Any]) -> bool:
    """Tells whether a model that failed on one image (1, C, *spatial) runs on the image alone."""
    if len(x) > 1 or x.ndim < 4:
        return False
    try:
        run(x[0])
    except Exception:  # noqa: BLE001 (a network may raise anything)
        return False
    return True


def _instead(model: nn.Module, error: RuntimeError, shape: tuple[int, ...]) -> str | None:
    """Returns what to do about an error of torch's own whose message does not tell; None: it is the network's."""
    if isinstance(error, NotImplementedError) and '"forward"' in str(error):
        return (
            "it has no forward(): give the network inside of it (model.net; of TrainingMaps"
            " network=lambda model: model.net), or say how it is called with"
            " cfcam.capture.Adapter(model, lambda x, images: ...)"
        )
    if isinstance(model, torch.export.UnflattenedModule) and "dynamic_shapes" in str(error):
        return (
            "it was exported for one batch size: export it with a dynamic batch,"
            " dynamic_shapes={'x': {0: torch.export.Dim('batch')}}"
        )
    if re.search(
        "can't be greater than actual input size|Output size is too small|output size is too small", str(error)
    ):
        return f"its pictures are too small: {' '.join(str(error).split())[:200]}"
    if re.search("channels|shape|size|dimension", str(error)) and not isinstance(error, torch.OutOfMemoryError):
        return what_is_due(model, shape)
    return None
