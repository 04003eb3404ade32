"""Lightning's own trainer, with the callback and without."""

from __future__ import annotations

import csv
import inspect

import numpy as np
import pytest
import torch
from torch import nn

from cfcam.integrations import TrainingMaps
from tests.integrations.learning import Net, optional, pictures

lightning = pytest.importorskip("lightning")

from lightning.pytorch.loggers import CSVLogger, Logger  # noqa: E402  (the library may not be there)

from cfcam.integrations import LightningMaps  # noqa: E402


class Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def training_step(self, batch, number):
        loss = self.net(batch[0] + 0.1 * torch.randn_like(batch[0]), batch[1])["loss"]
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)


class Pictures(Logger):
    """A logger as W&B's: it takes lists of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.images, self.metrics = [], []

    name, version = "pictures", 0

    def log_hyperparams(self, *arguments, **keywords):
        pass

    def log_metrics(self, metrics, step=None):
        self.metrics.append((step, metrics))

    def log_image(self, key, images, step=None, caption=None):
        self.images.append((key, step, images[0].shape, caption))


def fitted(tmp_path, callbacks, loggers=False, **keywords):
    lightning.seed_everything(5, verbose=False)
    x, labels, _ = pictures()
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, labels), batch_size=6, shuffle=True)
    module = Module()
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=3, callbacks=callbacks, logger=loggers, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path, **keywords,
    )  # fmt: skip
    trainer.fit(module, data)
    return [*module.state_dict().values(), torch.rand(2)]


def maps_of(**keywords) -> TrainingMaps:
    x, labels, masks = pictures(2)
    return TrainingMaps(x, labels, masks=masks, layer="features.5", network=lambda module: module.net, **keywords)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_same_weights_with_the_callback_and_without(tmp_path, precision):
    maps = maps_of()
    without = fitted(tmp_path, [], precision=precision)
    beside = fitted(tmp_path, [LightningMaps(maps)], precision=precision)
    assert maps.failures == []
    assert maps.strip().ndim == 3
    assert all(torch.equal(a, b) for a, b in zip(without, beside, strict=True))


def test_the_trainers_loggers_get_numbers_and_pictures(tmp_path):
    logger, shown = CSVLogger(tmp_path, name="run"), Pictures()
    maps = maps_of(to=tmp_path / "maps")
    fitted(tmp_path, [LightningMaps(maps)], [logger, shown], log_every_n_steps=1)
    with open(f"{logger.log_dir}/metrics.csv", newline="", encoding="utf-8") as stream:  # noqa: PTH123
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows if row["cfcam/picture-0/seconds"]] == ["4", "8", "12"]
    assert any(row["loss"] for row in rows)
    keys = [(key, step) for key, step, _, _ in shown.images]
    assert keys[:2] == [("cfcam/picture-0/map", 4), ("cfcam/picture-1/map", 4)]
    assert keys[-2:] == [("cfcam/picture-0/strip", 12), ("cfcam/picture-1/strip", 12)]
    assert shown.images[0][2] == (12, 12, 3)
    assert shown.images[0][3] == ["epoch 1: class 0"]
    assert (tmp_path / "maps" / "scorecard.csv").is_file()


def test_steps_are_those_of_the_optimizer(tmp_path):
    seen = []
    maps = maps_of(unit="step", every=2, steps=0)
    maps.close = lambda **more: seen.extend(moment.count for moment in maps._history())
    fitted(tmp_path, [LightningMaps(maps)], accumulate_grad_batches=2)  # 4 batches an epoch, 2 steps
    assert seen == [2, 4, 6]


def test_a_module_whose_forward_does_not_explain_is_trained_all_the_same(tmp_path):
    x, labels, _ = pictures(2)
    without = fitted(tmp_path, [])
    with pytest.warns(RuntimeWarning, match="the training goes on"):
        beside = fitted(tmp_path, [LightningMaps(TrainingMaps(x, labels))])
    assert all(torch.equal(a, b) for a, b in zip(without, beside, strict=True))


def test_tensorboard_gets_them(tmp_path):
    optional("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="board")
    fitted(tmp_path, [LightningMaps(maps_of())], logger)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert [event.step for event in events.Scalars("cfcam/picture-1/energy")] == [4, 8, 12]
    assert [(event.width, event.height) for event in events.Images("cfcam/picture-1/map")] == 3 * [(12, 12)]
    assert len(events.Images("cfcam/picture-1/strip")) == 1


def test_it_is_one_of_lightnings_callbacks():
    assert issubclass(LightningMaps, lightning.Callback)
    assert isinstance(Module(), nn.Module)


def test_pictures_are_handed_over_as_lightnings_own_logger_of_weights_and_biases_takes_them():
    from lightning.pytorch.loggers import WandbLogger

    handed = inspect.signature(WandbLogger.log_image).bind(
        None, key="cfcam/picture-0/map", images=[np.zeros((4, 4, 3), np.uint8)], step=3, caption=["epoch 3: nodule"]
    )
    assert {"key", "images", "step"} <= handed.arguments.keys()
    assert handed.arguments["kwargs"] == {"caption": ["epoch 3: nodule"]}  # which it hands to wandb.Image, one by one
