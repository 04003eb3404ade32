"""Live maps are those of ``cfcam explain`` to the last bit, and cost one pass of the network."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from cfcam.errors import CfcamError, ImageError, InputError, LayerError, MethodError, ModelError, TargetError
from cfcam.explanation import Explanation
from cfcam.imaging import Image, Volume, VolumePreprocess, read_image, read_volume
from cfcam.jobs import VolumeSettings, Windows, explain_study
from cfcam.jobs.study.explained import way_back
from cfcam.models import load
from cfcam.web.live.engine import LiveEngine, content_of
from cfcam.web.live.maps import study_map
from cfcam.web.live.network import Abandoned, Ticket
from tests import nnunet
from tests.jobs.studies import THREE_D, marked_voxels, nodule_phantom
from tests.jobs.world import NETWORKS, draw, run

UNIT = VolumePreprocess(intensity="unit")
METHODS = ("grad-cam", "cf-cam", "layer-cam", "score-cam", "eigen-cam")


def phantom(shift=0):
    pixels = np.roll(nodule_phantom().image, shift, axis=1)
    return Image(pixels, None, f"{shift:064d}")


def heat_of(engine, image, one):
    return way_back(engine.preprocess(image), image)(one.heatmaps(one.methods[0])[0, 0]).numpy()


@pytest.fixture(scope="module")
def demo():
    return LiveEngine(load("demo"))


class Passes:
    """Counts the passes of a network."""

    def __init__(self, engine):
        self.count = 0
        engine.model.module.register_forward_pre_hook(self)

    def __call__(self, *_):
        self.count += 1

    def of(self, work):
        before = self.count
        work()
        return self.count - before


def test_every_map_is_that_of_a_study_to_the_last_bit(demo, tmp_path):
    image = phantom()
    for target in ("predicted", "effusion", 2):
        for layer in (None, "layer3"):
            expected = explain_study(load("demo"), image, METHODS, target, layer=layer)
            found = demo.maps(image, METHODS, [target], layer=layer)
            assert [one.methods[0] for one in found] == list(METHODS)
            for ours, theirs in zip(found, expected.maps, strict=True):
                assert ours.methods == [theirs.method]
                assert ours.label(0, 0) == theirs.class_name
                assert ours.probability(0, 0) == theirs.probability
                assert ours.status[theirs.method][0, 0] == theirs.status
                np.testing.assert_array_equal(heat_of(demo, image, ours), theirs.heatmap)


def test_every_map_is_that_in_the_files_of_a_run(tmp_path):
    path = draw(tmp_path / "in" / "one.png", corner=1)
    running = run(path, tmp_path / "out", save=frozenset({"maps"}), methods=("grad-cam", "cf-cam"), targets=("dark",))
    list(running)
    (folder,) = {file.parent for file in (tmp_path / "out").rglob("maps.safetensors")}
    stored = Explanation.load(folder)
    model = load(f"{NETWORKS}:brightness", classes=("bright", "dark"))
    engine = LiveEngine(model, prepare=lambda *_: running.preprocess)
    for one in engine.maps(read_image(path), ("grad-cam", "cf-cam"), ["predicted", "dark"])[2:]:
        assert torch.equal(one.maps[one.methods[0]], stored.maps[one.methods[0]])
        assert torch.equal(one.probabilities, stored.probabilities)
        assert one.provenance["model"] == stored.provenance["model"]


@pytest.mark.parametrize("windows", [None, Windows(9)])
def test_maps_of_a_volume_are_those_of_a_study(tmp_path, windows):
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(marked_voxels().astype(np.float32), np.diag([1.0, 2, 3, 1])), path)
    model = load(f"{THREE_D}:bright", classes=("bright", "dark"))
    expected = explain_study(
        model, path, ("grad-cam", "layer-cam"), preprocess=UNIT, volumes=VolumeSettings(windows=windows)
    )
    engine, volume = LiveEngine(model, prepare=lambda *_: UNIT, windows=windows), read_volume(path)
    found = engine.maps(volume, ("grad-cam", "layer-cam"), ["predicted"])
    for ours, theirs in zip(found, expected.maps, strict=True):
        np.testing.assert_array_equal(heat_of(engine, volume, ours), theirs.heatmap)
        assert ours.label(0, 0) == theirs.class_name


def test_a_pass_is_run_once_for_all_methods_and_classes_and_once_more_for_another_layer():
    engine, image = LiveEngine(load("demo")), phantom(3)
    passes = Passes(engine)
    assert passes.of(lambda: engine.maps(image, ["grad-cam", "cf-cam"], ["predicted"])) == 1
    assert passes.of(lambda: engine.maps(image, ["layer-cam", "grad-cam++"], ["effusion", 0, "nodule"])) == 0
    assert passes.of(lambda: engine.maps(image, ["grad-cam"], ["effusion vs nodule"])) == 0
    assert passes.of(lambda: engine.maps(image, ["grad-cam"], ["predicted"], layer="layer3")) == 1
    assert passes.of(lambda: engine.maps(image, ["grad-cam"], ["nodule"], layer="layer4")) == 0  # as chosen
    for shift in range(10, 14):  # of many pictures only the latest are kept
        engine.maps(phantom(shift), ["grad-cam"], ["predicted"])
    assert len(engine._passes) == 3
    assert passes.of(lambda: engine.maps(image, ["grad-cam"], ["nodule"])) == 1


def test_a_class_that_several_targets_stand_for_is_explained_once(demo):
    found = demo.maps(phantom(), ["grad-cam", "cf-cam"], ["predicted", "nodule", 1, "top-2"])
    names = [(one.label(0, 0), one.methods[0]) for one in found]
    assert len(set(names)) == len(names) == 4
    assert names[:2] == [("nodule", "grad-cam"), ("nodule", "cf-cam")]


def test_a_contrast_has_a_margin_and_no_probability(demo):
    (one,) = demo.maps(phantom(), ["grad-cam"], ["nodule vs effusion"])
    logits = one.logits[0]
    assert one.margin(0, 0) == pytest.approx(float(logits[1] - logits[3]), rel=1e-6)
    assert one.probability(0, 0) is None
    (plain,) = demo.maps(phantom(), ["grad-cam"], ["nodule"])
    assert plain.margin(0, 0) is None


def test_what_cannot_be_explained_is_said_in_one_line(demo):
    image = phantom()
    for methods, targets, layer, kind, words in (
        (["gradcam"], ["predicted"], None, MethodError, "grad-cam"),
        (["grad-cam"], ["nodul"], None, TargetError, "nodule"),
        (["grad-cam"], [17], None, TargetError, "0 to 3"),
        (["grad-cam"], ["predicted"], "layer9", LayerError, "layer4"),
        (["attention-rollout"], ["predicted"], None, CfcamError, "."),
    ):
        with pytest.raises(kind, match=words) as found:
            demo.maps(image, methods, targets, layer=layer)
        assert "\n" not in str(found.value)
    demo.maps(image, ["grad-cam"], ["predicted"])  # and goes on


def test_a_volume_is_refused_by_a_network_of_pictures(demo, tmp_path):
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32) + np.arange(6), np.eye(4)), path)
    with pytest.raises(ImageError, match="takes pictures"):
        demo.maps(read_volume(path), ["grad-cam"], ["predicted"])


def test_a_network_of_several_files_is_told_what_to_do_and_takes_one_file_of_all_channels(tmp_path):
    affine, voxels = np.diag([1.0, 2, 3, 1]), marked_voxels().astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "one.nii.gz")
    nib.save(nib.Nifti1Image(np.stack([voxels, voxels], -1), affine), tmp_path / "both.nii.gz")
    two = VolumePreprocess(intensity="unit", mean=(0.0, 0.0), std=(1.0, 1.0))
    engine = LiveEngine(load(f"{THREE_D}:bright(channels=2)", classes=("bright", "dark")), prepare=lambda *_: two)
    with pytest.raises(
        ImageError, match=r"^the network takes 2 channels, and this study is one file of one channel"
    ) as told:
        engine.maps(read_volume(tmp_path / "one.nii.gz"), ["grad-cam"], ["predicted"])
    assert "start cfcam view with the files of all (--channels A,B)" in str(told.value)
    (found,) = engine.maps(read_volume(tmp_path / "both.nii.gz", channel="all"), ["grad-cam"], ["predicted"])
    assert found.label(0, 0) == "bright"


def test_maps_of_nnunets_networks_lie_on_the_volume_though_their_way_back_goes_by_its_voxels(tmp_path):
    values = np.zeros((2, 30, 28, 12), np.float32)
    values[:, 4:26, 5:24, 2:10] = np.random.default_rng(0).normal(100, 20, (2, 22, 19, 8))  # it is cut to this
    volume = Volume(values, np.diag([1.0, 1, 3, 1]))
    engine = LiveEngine(load(f"nnunet:{nnunet.folder(tmp_path / 'net')}"))
    (found,) = engine.maps(volume, ["grad-cam"], ["predicted"])
    heat = study_map(engine, volume, found, seconds=0).heat()
    assert heat.shape == (30, 28, 12)
    assert not heat[:4].any()
    assert heat[4:26, 5:24, 2:10].any() == (found.status["grad-cam"][0, 0] == "ok")


def test_more_maps_than_anybody_looks_at_are_refused(demo, monkeypatch):
    monkeypatch.setattr("cfcam.web.live.engine.MOST_MAPS", 3)
    with pytest.raises(InputError, match="more than 3 maps"):
        demo.maps(phantom(), ["grad-cam"], ["all"])


def test_a_network_that_fails_is_named_and_what_was_kept_is_forgotten_when_memory_is_short(monkeypatch):
    engine, image = LiveEngine(load("demo")), phantom()
    engine.maps(image, ["grad-cam"], ["predicted"])
    for error, words in ((KeyError("x"), "KeyError"), (torch.OutOfMemoryError("CUDA out of memory"), "fewer maps")):
        monkeypatch.setattr("cfcam.explainer.Explainer.explained", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(ModelError, match=words):
            engine.maps(image, ["grad-cam"], ["predicted"])
    assert not engine._passes


def test_work_that_is_stopped_in_the_middle_leaves_the_network_as_it_was():
    engine, image = LiveEngine(load("demo")), phantom(5)
    module = engine.model.module
    before = {name: value.clone() for name, value in module.state_dict().items()}
    modes = [one.training for one in module.modules()]
    random = torch.random.get_rng_state()
    ticket, seen = Ticket(), []
    hook = module.register_forward_pre_hook(lambda *_: seen.append(1) or (ticket.stop() if len(seen) == 3 else None))
    with pytest.raises(Abandoned):
        engine.maps(image, ["score-cam"], ["predicted"], ticket=ticket)
    hook.remove()
    assert len(seen) == 3  # it ended at the next pass
    assert torch.equal(random, torch.random.get_rng_state())
    assert [one.training for one in module.modules()] == modes
    assert not any(one._forward_hooks or one._forward_pre_hooks or one._backward_hooks for one in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(p.grad is not None for p in module.parameters())
    (again,) = engine.maps(image, ["score-cam"], ["predicted"])
    (fresh,) = LiveEngine(load("demo")).maps(image, ["score-cam"], ["predicted"])
    assert torch.equal(again.maps["score-cam"], fresh.maps["score-cam"])


def test_the_layers_that_can_be_mapped_are_told(demo):
    assert demo.layer == "layer4"
    assert {"layer3", "layer4"} <= set(demo.layers)
    assert demo.takes == "picture"


def test_content_is_the_file_or_what_is_in_memory():
    image = phantom()
    assert content_of(image) == image.sha256
    bare, other = (Image(image.pixels + n, None, "") for n in (0, 1))
    assert content_of(bare) != content_of(other)
    assert len(content_of(bare)) == 64


SEGMENTS = """
import torch
from torch import nn


def net():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    for layer in (net[0], net[2]):
        nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
        layer.weight.data[1] = 1.0  # the second class where it is bright
    net[2].bias.data = torch.tensor([0.5, 0.0, -9.0])  # the third nowhere
    return net.eval()
"""


def test_classes_that_a_segmentation_has_nowhere_are_left_out_beside_others_and_told(tmp_path):
    """As cfcam explain does; in the viewer "all" failed of a picture without one of the classes."""
    (tmp_path / "nets.py").write_text(SEGMENTS)
    engine = LiveEngine(load(f"{tmp_path / 'nets.py'}:net", classes=["background", "bright", "dark"]))
    for targets, expected in (("all", [0, 1]), ("top-2", [1]), (2, None)):
        if expected is None:
            with pytest.raises(TargetError, match="dark is predicted nowhere"):
                engine.maps(phantom(), ["hires-cam"], [targets])
            continue
        found = engine.maps(phantom(), ["hires-cam", "grad-cam"], [targets])
        assert [int(one.targets[0, 0]) for one in found[::2]] == expected
        assert engine.absent == ["dark is predicted nowhere in this image: there is no map of it"]
    assert [int(one.targets[0, 0]) for one in engine.maps(phantom(), ["hires-cam"], [2, 1])] == [1]
    engine.maps(phantom(), ["hires-cam"], [1])
    assert engine.absent == []
