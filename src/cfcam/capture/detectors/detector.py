"""A detector as a network of one batch of images that returns `Detections`."""

from __future__ import annotations

from torch import Tensor, nn

from cfcam.capture.detectors.detections import Detections
from cfcam.capture.detectors.reading import Read, check_padding, reader_of
from cfcam.errors import InputError, OutputError, check_called, shown


class Detector(nn.Module):
    """A model that finds objects, so that its boxes can be explained: see `Box`, `TopBoxes`, `MissingBox`.

    Args:
        model: a detector of transformers (DETR and its relatives, YOLOS) or torchvision, or with ``read`` any other; it
            is not changed. Its layers are named with ``model.`` before.
        read: called with what the model returned and with (height, width) of its input; returns `Detections`. None: the
            output is that of one of the two libraries.

    Example:
        ``cfcam.explain(Detector(model), x, targets=TopBoxes(3), layer="model.backbone.body.layer4")``
    """

    def __init__(self, model: nn.Module, read: Read | None = None) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise InputError(f"Detector: the model is {shown(model)}: give the torch.nn.Module that finds objects")
        if read is not None:
            check_called(read, "Detector: read", "a function of the model's output and (height, width) to Detections")
        self.model = model
        self.read = read

    def forward(self, x: Tensor) -> Detections:
        """Returns the boxes of images (N, C, H, W).

        Raises:
            OutputError: the output cannot be read as boxes.
            InputError: a model of torchvision would pad the images.
        """
        size = (x.shape[-2], x.shape[-1])
        check_padding(self.model, size)
        listed = hasattr(self.model, "transform") and hasattr(self.model, "backbone")  # torchvision: one by one
        output = self.model(list(x) if listed else x)
        found = (self.read or reader_of(self.model, output))(output, size)
        if not isinstance(found, Detections) or len(found.boxes) != len(x):
            what = f"boxes of {len(found.boxes)}" if isinstance(found, Detections) else f"a {type(found).__name__}"
            raise OutputError(f"read= returned {what} for {len(x)} images: return Detections of (N, Q, 4) boxes")
        return found
