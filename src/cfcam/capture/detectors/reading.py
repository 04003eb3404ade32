"""What detectors of three libraries return, read as `Detections`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cfcam.capture.detectors.detections import Detections
from cfcam.errors import InputError, OutputError

Read = Callable[[Any, tuple[int, int]], Detections]
"""From what a detector returned, and height and width of its input, to boxes in pixels of the input."""


def from_centres(boxes: Tensor) -> Tensor:
    """Returns corners x0, y0, x1, y1 (..., 4) of boxes given by centre, width and height."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def read_transformers(output: Any, size: tuple[int, int], labels: int | None = None) -> Detections:
    """Reads DETR, its relatives (Deformable, Conditional, RT-DETR, D-FINE, …) and YOLOS of transformers.

    Args:
        output: with `pred_boxes` (N, Q, 4), centres and sizes as shares of the picture, and `logits`.
        size: height and width of the input.
        labels: classes that the configuration names: logits for one more have "no object" last, and are read by a
            softmax; others by sigmoids.
    """
    height, width = size
    scale = output.pred_boxes.new_tensor([width, height, width, height])
    softmax = labels is not None and output.logits.shape[-1] == labels + 1
    return Detections(from_centres(output.pred_boxes) * scale, output.logits, "softmax" if softmax else "sigmoid")


def read_torchvision(output: Any, size: tuple[int, int], labels: int | None = None) -> Detections:
    """Reads what torchvision's detectors return: for each image boxes, each with one class and its probability.

    Args:
        output: a mapping for each image, with `boxes` (Q, 4), `labels` (Q,) and `scores` (Q,).
        size: of the input.
        labels: number of classes, the background among them; None: as many as are found.
    """
    longest = max(1, *(len(one["labels"]) for one in output))
    seen = max((int(one["labels"].max()) + 1 for one in output if len(one["labels"])), default=1)
    boxes, values = [], []
    for one in output:
        missing = longest - len(one["labels"])
        boxes.append(nn.functional.pad(one["boxes"], (0, 0, 0, missing)))
        of_class = one["scores"].new_zeros(len(one["scores"]), labels or seen)
        of_class = of_class.scatter(1, one["labels"][:, None], one["scores"][:, None])
        values.append(nn.functional.pad(of_class, (0, 0, 0, missing)))
    return Detections(torch.stack(boxes), torch.stack(values), "given")


def read_ultralytics(output: Any, size: tuple[int, int]) -> Detections:
    """Reads the raw output of YOLO heads without "objectness", as of ultralytics' YOLOv8 and YOLO11.

    Args:
        output: (N, 4 + C, A), alone or first in a tuple: for each of A anchors centre and size in pixels, then the
            probabilities of C classes.
        size: of the input.

    Raises:
        OutputError: it has another shape.
    """
    raw = output[0] if isinstance(output, (tuple, list)) else output
    if not isinstance(raw, Tensor) or raw.ndim != 3 or not 5 <= raw.shape[1] < raw.shape[2]:
        shape = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
        raise OutputError(f"a YOLO head returned {shape} and not (N, 4 + classes, anchors): give Detector a read=...")
    raw = raw.transpose(1, 2)
    return Detections(from_centres(raw[..., :4]), raw[..., 4:], "given")


def reader_of(model: nn.Module, output: Any) -> Read:
    """Returns what reads the output of a model of transformers or torchvision.

    Raises:
        OutputError: it is neither.
    """
    if hasattr(output, "pred_boxes") and hasattr(output, "logits"):
        config = getattr(model, "config", None)
        if getattr(config, "use_focal_loss", True) is False:
            raise OutputError(
                f"{type(model).__name__} says use_focal_loss=False, and not whether its last class is no object: give"
                " Detector(model, read=...) a function from the output and (height, width) to Detections"
            )
        labels = getattr(config, "num_labels", None)
        return lambda out, size: read_transformers(out, size, labels)
    if is_list_of_boxes(output):
        labels = _torchvision_classes(model)
        if labels is None:
            raise OutputError(
                f"the number of classes of {type(model).__name__} is not known: give Detector(model,"
                " read=lambda output, size: cfcam.capture.read_torchvision(output, size, CLASSES)), background counted"
            )
        return lambda out, size: read_torchvision(out, size, labels)
    raise OutputError(
        f"{type(model).__name__} returns {type(output).__name__}, and neither pred_boxes (transformers) nor boxes,"
        " labels and scores of each image (torchvision): give Detector(model, read=...) a function from the output and"
        " (height, width) to Detections"
    )


def is_list_of_boxes(output: Any) -> bool:
    """Tells whether an output is a list of torchvision's mappings."""
    return (
        isinstance(output, (list, tuple))
        and bool(output)
        and all(isinstance(one, Mapping) and {"boxes", "labels", "scores"} <= one.keys() for one in output)
    )


def _torchvision_classes(model: nn.Module) -> int | None:
    heads = (
        ("roi_heads.box_predictor.cls_score", "out_features"),
        ("head.classification_head", "num_classes"),
        ("head.classification_head", "num_columns"),
    )
    for path, name in heads:
        found: Any = model
        for part in path.split("."):
            found = getattr(found, part, None)
        if isinstance(count := getattr(found, name, None), int):
            return count
    return None


def check_padding(model: nn.Module, size: Sequence[int]) -> None:
    """Raises `InputError` if torchvision would pad pictures of this size, whose maps would then lie beside them."""
    transform: Any = getattr(model, "transform", None)
    step = getattr(transform, "size_divisible", None)
    if not isinstance(step, int) or step < 2 or getattr(transform, "fixed_size", None) is not None:
        return
    shorter = transform.min_size[-1] if isinstance(transform.min_size, (list, tuple)) else transform.min_size
    scale = min(shorter / min(size), transform.max_size / max(size))
    resized = [math.floor(side * scale) for side in size]
    if any(side % step for side in resized):
        raise InputError(
            f"{type(model).__name__} resizes pictures of {tuple(size)} to {tuple(resized)} and pads them to multiples"
            f" of {step}, so that maps would not lie on them: pad or cut them to a shape whose sides stay multiples"
            " of it, a square for instance"
        )
