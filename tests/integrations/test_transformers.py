"""The callback in transformers' Trainer where accelerate is there, and in its own handler of callbacks anywhere."""

from __future__ import annotations

import pytest
import torch

from cfcam.integrations import TrainingMaps

pytest.importorskip("transformers")

from transformers.trainer_callback import CallbackHandler, TrainerControl, TrainerState

from cfcam.integrations import TransformersMaps
from tests.integrations.learning import Net, optional, pictures, trained


def maps_of(**keywords) -> TrainingMaps:
    x, labels, masks = pictures(2)
    return TrainingMaps(x, labels, masks=masks, layer="features.5", **keywords)


def handled(maps: TrainingMaps):
    """What the trainer calls at the end of an epoch and of a step, on its own handler."""
    state, control, handlers = TrainerState(), TrainerControl(), {}

    def each(net, epoch):
        handler = handlers.setdefault("one", CallbackHandler([TransformersMaps(maps)], net, None, None, None))
        state.epoch, state.global_step = float(epoch), state.global_step + 2
        handler.on_step_end(None, state, control)
        handler.on_epoch_end(None, state, control)
        if epoch == 3:
            handler.on_train_end(None, state, control)

    return each


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_the_same_training_with_the_callback_and_without(tmp_path, unit):
    maps = maps_of(to=tmp_path, unit=unit, every=2)
    without = trained(lambda net, epoch: None)
    beside = trained(handled(maps))
    assert maps.failures == []
    assert all(torch.equal(a, b) for a, b in zip(without, beside, strict=True))
    assert {path.name for path in tmp_path.glob("*.png")} == {"picture-0-strip.png", "picture-1-strip.png"}
    counts = {"epoch": [2], "step": [2, 4, 6, 8, 10, 12]}[unit]
    assert [path.stem for path in sorted((tmp_path / "picture-0").iterdir())] == [f"{unit}-{n:06d}" for n in counts]


class Data(torch.utils.data.Dataset):
    def __init__(self) -> None:
        self.x, self.labels, _ = pictures()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index):
        return {"pixel_values": self.x[index], "labels": self.labels[index]}


def run(tmp_path, maps: TrainingMaps | None, **keywords):
    from transformers import Trainer, TrainingArguments, set_seed

    set_seed(7)
    arguments = TrainingArguments(
        tmp_path / "out", num_train_epochs=3, per_device_train_batch_size=6, logging_strategy="epoch", use_cpu=True,
        save_strategy="no", disable_tqdm=True, seed=7, **keywords,
    )  # fmt: skip
    trainer = Trainer(Net(), arguments, train_dataset=Data())
    if maps is not None:
        TransformersMaps(maps).add_to(trainer)
    trainer.train()
    return [*trainer.model.state_dict().values(), torch.rand(2)], trainer.state.log_history


def test_the_trainer_itself_trains_the_same_and_logs_both(tmp_path):
    optional("accelerate")
    without, before = run(tmp_path, None, report_to="none")
    maps = maps_of()
    beside, after = run(tmp_path, maps, report_to="none")
    assert maps.failures == []
    assert all(torch.equal(a, b) for a, b in zip(without, beside, strict=True))
    losses = [[line["loss"] for line in log if "loss" in line] for log in (before, after)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3
    assert [line["step"] for line in after if "cfcam/picture-0/seconds" in line] == [4, 8, 12]


def test_the_trainers_tensorboard_gets_the_pictures(tmp_path, monkeypatch):
    optional("accelerate")
    optional("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    maps = maps_of()
    run(tmp_path, maps, report_to="tensorboard")
    assert maps.failures == []
    events = EventAccumulator(str(next((tmp_path / "board").rglob("events*")).parent))
    events.Reload()
    assert [event.step for event in events.Images("cfcam/picture-1/map")] == [4, 8, 12]
