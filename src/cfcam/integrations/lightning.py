"""Maps while Lightning trains."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from typing import Any

from cfcam.errors import MissingExtraError
from cfcam.integrations.training import TrainingMaps, check_maps


def _callback() -> Any:
    """Returns the class of Lightning's callbacks, under either of the two names of the library."""
    if importlib.util.find_spec("lightning"):
        return import_module("lightning.pytorch").Callback
    if importlib.util.find_spec("pytorch_lightning"):
        return import_module("pytorch_lightning").Callback
    raise MissingExtraError("lightning", "", "LightningMaps")


class LightningMaps(_callback()):  # type: ignore[misc]  # what is asked for when it is asked for has no type
    """A callback that explains the same pictures each so many epochs or steps, and writes to the trainer's loggers.

    Args:
        maps: what is explained, how often, and where it is written besides the trainer's loggers.

    Example:
        ``Trainer(callbacks=[LightningMaps(TrainingMaps(images, labels))])``
    """

    def __init__(self, maps: TrainingMaps) -> None:
        super().__init__()
        check_maps(maps)
        self.maps = maps
        self._step = 0

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Explains at the end of an epoch."""
        if self.maps.unit == "epoch":
            self._explain(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Explains after a step of the optimizer; batches whose gradients are only added up are none."""
        if self.maps.unit == "step" and trainer.global_step != self._step:
            self._step = trainer.global_step
            self._explain(trainer, pl_module, trainer.global_step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Writes the strips."""
        if trainer.is_global_zero:
            self.maps.close(to=trainer.loggers, step=trainer.global_step)

    def _explain(self, trainer: Any, module: Any, count: int) -> None:
        if trainer.is_global_zero:  # other processes have the same weights, and write nothing
            self.maps(module, count, to=trainer.loggers, step=trainer.global_step)
