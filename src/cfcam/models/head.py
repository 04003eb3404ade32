"""Find and replace a network's classifier."""

from typing import Final

import torch
from torch import nn

from cfcam.errors import ModelError, one_line
from cfcam.models.expects import CONVOLUTIONS

_HEAD_WORDS: Final = ("classifier", "head", "fc", "logits")
Head = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def find_head(module: nn.Module) -> tuple[str, Head] | None:
    """Find the layer that gives the class scores.

    It is the last ``nn.Linear`` in the module's order, unless a 1x1 convolution behind it bears a
    classifier's name (a network may have linear layers inside its blocks, e.g. squeeze-and-excitation). A
    network without linear layers may end in a 1x1 convolution, like SqueezeNet.

    Args:
        module: The network.

    Returns:
        The layer's dotted name and the layer, or None if there is no such layer.
    """
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, Head)]
    linear = [index for index, (_, layer) in enumerate(layers) if _is_plain_linear(layer)]
    behind = layers[linear[-1] + 1 :] if linear else layers[-1:]
    for name, layer in reversed(behind):
        if _is_pointwise(layer) and (not linear or any(word in name.lower() for word in _HEAD_WORDS)):
            return name, layer
    return layers[linear[-1]] if linear else None


def outputs_of(head: Head) -> int:
    """Give the number of classes a head scores."""
    return head.out_features if isinstance(head, nn.Linear) else head.out_channels


def replace_head(module: nn.Module, num_classes: int) -> str:
    """Give a network another number of classes, in place, as fine-tuning does before training.

    The classifier (see `find_head`) is replaced by a new one with the same inputs, bias, dtype and device
    and random weights. A classifier that already has this many outputs is left as it is.

    Args:
        module: The network; it is changed.
        num_classes: The number of outputs, at least 1.

    Returns:
        The dotted name of the classifier.

    Raises:
        ModelError: If the number is not positive or the network has no classifier that can be replaced.
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise ModelError(f"the number of classes is {one_line(repr(num_classes), 40)}: give a whole number from 1")
    found = find_head(module)
    if found is None or not found[0]:
        raise ModelError(
            f"{type(module).__name__} has no linear layer or 1x1 convolution that could be its classifier: "
            f"build it with {num_classes} classes, e.g. networks.py:my_network(classes={num_classes})"
        )
    name, old = found
    if outputs_of(old) == num_classes:
        return name
    new = _like(old, num_classes).train(old.training)
    for place, layer in list(module.named_modules(remove_duplicate=False)):
        if layer is old:
            parent, _, leaf = place.rpartition(".")
            setattr(module.get_submodule(parent), leaf, new)
    return name


def _like(old: Head, num_classes: int) -> Head:
    bias, device, dtype = old.bias is not None, old.weight.device, old.weight.dtype
    with torch.inference_mode(mode=False):
        if isinstance(old, nn.Linear):
            return nn.Linear(old.in_features, num_classes, bias, device=device, dtype=dtype)
        kind = next(kind for kind in CONVOLUTIONS if isinstance(old, kind))
        return kind(old.in_channels, num_classes, 1, bias=bias, device=device, dtype=dtype)


def _is_plain_linear(layer: nn.Module) -> bool:
    # The output projection of nn.MultiheadAttention is a linear layer by type, but is never called as a
    # module.
    return isinstance(layer, nn.Linear) and type(layer).__name__ != "NonDynamicallyQuantizableLinear"


def _is_pointwise(layer: nn.Module) -> bool:
    return isinstance(layer, CONVOLUTIONS) and set(layer.kernel_size) == {1} and layer.groups == 1
