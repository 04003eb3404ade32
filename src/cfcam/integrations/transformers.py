"""Maps while the Trainer of transformers trains."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from typing import Any, Self

from cfcam.errors import InputError, MissingExtraError, shown
from cfcam.integrations.training import TrainingMaps, check_maps


def _callback() -> Any:
    if importlib.util.find_spec("transformers"):
        return import_module("transformers.trainer_callback").TrainerCallback
    raise MissingExtraError("transformers", "models", "TransformersMaps")


class TransformersMaps(_callback()):  # type: ignore[misc]  # what is asked for when it is asked for has no type
    """A callback that explains the same pictures each so many epochs or steps.

    As one of ``Trainer(callbacks=[...])`` it writes where its `TrainingMaps` writes. A callback is not told of the
    trainer: `add_to` adds it and lets it write to the trainer's loggers too.

    Args:
        maps: what is explained, how often, and where it is written.

    Example:
        ``TransformersMaps(TrainingMaps(images, labels)).add_to(trainer)``
    """

    def __init__(self, maps: TrainingMaps) -> None:
        check_maps(maps)
        self.maps = maps
        self._trainer: Any = None

    def add_to(self, trainer: Any) -> Self:
        """Adds itself to a trainer's callbacks: numbers go through ``trainer.log``, overlays to its TensorBoard."""
        if not callable(getattr(trainer, "add_callback", None)):
            raise InputError(f"the trainer is {shown(trainer)}: give the transformers.Trainer, once it is built")
        self._trainer = trainer
        trainer.add_callback(self)
        return self

    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Explains at the end of an epoch."""
        if self.maps.unit == "epoch":
            self._explain(state, control, more["model"], round(state.epoch))

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Explains after a step of the optimizer."""
        if self.maps.unit == "step":
            self._explain(state, control, more["model"], state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Writes the strips."""
        if state.is_world_process_zero:
            self.maps.close(to=self._loggers(control), step=state.global_step)

    def _explain(self, state: Any, control: Any, model: Any, count: int) -> None:
        if state.is_world_process_zero:  # other processes have the same weights, and write nothing
            self.maps(model, count, to=self._loggers(control), step=state.global_step)

    def _loggers(self, control: Any) -> list[Any]:
        return [] if self._trainer is None else [_Loggers(self._trainer, control)]


class _Loggers:
    """What a trainer writes to, as one logger of numbers and pictures."""

    def __init__(self, trainer: Any, control: Any) -> None:
        self._trainer, self._control = trainer, control

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Logs as the trainer logs its loss; that it is still due to log that is not forgotten."""
        due = self._control.should_log
        self._trainer.log(dict(metrics))
        self._control.should_log = due

    @property
    def experiment(self) -> Any:
        """The `SummaryWriter` of the trainer's TensorBoard callback; None without one."""
        writers = (getattr(one, "tb_writer", None) for one in self._trainer.callback_handler.callbacks)
        return next((writer for writer in writers if writer is not None), None)
