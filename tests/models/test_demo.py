from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cfcam.errors import ModelError
from cfcam.models import demo
from cfcam.models.demo import (
    CLASSES,
    EXAMPLES,
    DemoNet,
    demo_card,
    evaluate,
    load_demo_network,
    make_phantom,
    network,
    train,
)
from cfcam.models.demo.phantoms import sample_phantom

TESTIMGS = Path(__file__).parents[2] / "testimgs"
BOTH = pytest.mark.parametrize("shortcut", [False, True], ids=["honest", "shortcut"])
WORLDS = {False: "honest", True: "shortcut"}


@pytest.fixture(scope="module")
def nets() -> dict[bool, DemoNet]:
    return {shortcut: load_demo_network(shortcut) for shortcut in (False, True)}


@pytest.fixture(scope="module")
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    return evaluate.pacemaker_pairs(range(5_000_000, 5_000_018), size=224)


@pytest.fixture(scope="module")
def fresh() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    seeds = range(6_000_000, 6_000_060)
    return {
        world: evaluate.stack([sample_phantom(seed, size=224, world=world) for seed in seeds])  # type: ignore[arg-type]
        for world in WORLDS.values()
    }


@BOTH
def test_the_shipped_network_is_small_and_ready(nets: dict[bool, DemoNet], shortcut: bool) -> None:
    net = nets[shortcut]
    assert not any(module.training for module in net.modules())
    assert sum(p.numel() for p in net.parameters()) == demo_card(shortcut)["parameters"] < 350_000
    name = "demo-shortcut.safetensors" if shortcut else "demo.safetensors"
    assert len(files("cfcam.models.demo").joinpath(name).read_bytes()) < 1_500_000
    names = [name for name, _ in net.named_children()]
    assert names == ["stem", "layer1", "layer2", "layer3", "layer4", "pool", "classifier"]


@BOTH
def test_the_logits_are_linear_in_the_mean_of_layer4(nets: dict[bool, DemoNet], shortcut: bool) -> None:
    net = nets[shortcut]
    seen: list[torch.Tensor] = []
    x = network.preprocess(torch.from_numpy(make_phantom(1, size=224, findings=["nodule"]).image)[None])
    hook = net.layer4.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        logits = net(x)
    hook.remove()
    assert seen[0].shape[-2:] == (14, 14)
    expected = seen[0].mean(dim=(2, 3)) @ net.classifier.weight.T + net.classifier.bias
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-5, atol=1e-4)


@BOTH
def test_the_network_is_as_good_as_its_card_says(
    nets: dict[bool, DemoNet], fresh: dict[str, tuple[torch.Tensor, torch.Tensor]], shortcut: bool
) -> None:
    card = demo_card(shortcut)
    images, truth = fresh[WORLDS[shortcut]]
    measured = evaluate.scores(evaluate.predict(nets[shortcut], images), truth)
    assert measured["exact_match"] == pytest.approx(card["test"]["exact_match"], abs=0.08)
    for name in CLASSES:
        assert measured["accuracy"][name] == pytest.approx(card["test"]["accuracy"][name], abs=0.07)
        assert measured["auc"][name] >= card["test"]["auc"][name] - 0.05


def test_the_honest_card_is_good_enough_for_a_shop_window() -> None:
    card = demo_card()
    assert card["classes"] == list(CLASSES) == ["no finding", "nodule", "consolidation", "effusion"]
    assert card["test"]["phantoms"] >= 400
    assert card["test"]["exact_match"] >= 0.9
    assert min(card["test"]["auc"].values()) >= 0.97


def test_the_shortcut_fails_where_the_pacemaker_no_longer_tells(
    nets: dict[bool, DemoNet], fresh: dict[str, tuple[torch.Tensor, torch.Tensor]]
) -> None:
    images, truth = fresh["honest"]
    matches = [evaluate.scores(evaluate.predict(nets[s], images), truth)["exact_match"] for s in (False, True)]
    assert matches[0] > matches[1] + 0.15


def test_a_pacemaker_moves_the_shortcut_network_and_not_the_honest_one(
    nets: dict[bool, DemoNet], pairs: tuple[torch.Tensor, torch.Tensor]
) -> None:
    honest, shortcut = (evaluate.pacemaker_effect(nets[s], *pairs) for s in (False, True))
    assert abs(honest) < 0.05
    assert shortcut > 0.5
    assert abs(demo_card(False)["pacemaker_effect"]) < 0.05
    assert demo_card(True)["pacemaker_effect"] > 0.5


@pytest.mark.parametrize("finding", CLASSES[1:])
def test_the_honest_network_looks_at_the_finding(nets: dict[bool, DemoNet], finding: str) -> None:
    phantoms = [
        make_phantom(seed, size=224, findings=[finding], devices=["pacemaker"]) for seed in range(7_000_000, 7_000_012)
    ]
    share = evaluate.heat_share(nets[False], phantoms, finding, finding)
    assert share["inside"] > 4 * share["area"]
    assert share["pointing"] > 0.6
    on_box = evaluate.heat_share(nets[False], phantoms, finding, "pacemaker")
    assert on_box["inside"] < 0.1


def test_the_shortcut_network_looks_at_the_pacemaker(nets: dict[bool, DemoNet]) -> None:
    phantoms = [make_phantom(seed, size=224, devices=["pacemaker"]) for seed in range(7_000_000, 7_000_012)]
    share = evaluate.heat_share(nets[True], phantoms, "consolidation", "pacemaker")
    assert share["inside"] > 4 * share["area"]
    assert share["pointing"] > 0.6


def test_the_examples_in_the_repository_are_the_phantoms_that_they_are_said_to_be() -> None:
    paths = {path.stem: path for path in TESTIMGS.glob("*.png")}
    assert set(paths) == set(EXAMPLES)
    assert sum(path.stat().st_size for path in paths.values()) < 900_000
    for name, path in paths.items():
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("L", (512, 512))
            pixels = np.asarray(picture).astype(int)
        assert np.abs(pixels - make_phantom(**EXAMPLES[name]).image).max() <= 2, name


def test_write_examples_writes_every_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {name: {**EXAMPLES[name], "size": 64} for name in ("normal", "nodule")}
    monkeypatch.setattr("cfcam.models.demo.examples.EXAMPLES", small)
    paths = demo.write_examples(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["normal.png", "nodule.png"]
    for path in paths:
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), make_phantom(**small[path.stem]).image)


def test_the_examples_are_classified_as_promised(nets: dict[bool, DemoNet]) -> None:
    consolidation = CLASSES.index("consolidation")
    for name, arguments in EXAMPLES.items():
        with Image.open(TESTIMGS / f"{name}.png") as picture:
            images = torch.from_numpy(np.array(picture))[None]
        present = set(arguments.get("findings", ())) or {"no finding"}
        honest, shortcut = (evaluate.predict(nets[s], images)[0] for s in (False, True))
        assert {label for label, p in zip(CLASSES, honest, strict=True) if p > 0.5} == present, name
        assert ((honest - 0.5).abs() > 0.3).all(), f"{name} is a close call"
        if name == "pacemaker":
            assert shortcut[consolidation] > 0.8


def test_preprocessing_is_an_antialiased_stretch_and_the_imagenet_normalisation() -> None:
    image = make_phantom(3, size=512).image
    x = network.preprocess(torch.from_numpy(image)[None])
    assert x.shape == (1, 3, 224, 224)
    grey = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR)) / 255
    for channel, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        assert np.abs(x[0, channel].numpy() * std + mean - grey).max() < 1.5 / 255


def test_area_under_the_curve_of_a_hand_made_case() -> None:
    score, truth = torch.tensor([0.9, 0.4, 0.4, 0.1]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert evaluate.auc(score, truth).item() == pytest.approx((2 + 1.5) / 4)


def test_scores_of_a_hand_made_case() -> None:
    truth = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 1.0]])
    guess = torch.tensor([[0.9, 0.2, 0.1, 0.1], [0.2, 0.8, 0.6, 0.7]])
    found = evaluate.scores(guess, truth)
    assert found["exact_match"] == 0.5
    assert found["accuracy"] == {"no finding": 1.0, "nodule": 1.0, "consolidation": 0.5, "effusion": 1.0}


def test_no_finding_is_the_absence_of_the_others() -> None:
    assert evaluate.labels(make_phantom(0, size=64)) == [1, 0, 0, 0]
    assert evaluate.labels(make_phantom(0, size=64, findings=["effusion", "nodule"])) == [0, 1, 0, 1]


def test_training_learns_and_is_deterministic(fresh: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    images, truth = fresh["honest"]
    one, two = (train.fit(images[:32], truth[:32], epochs=2) for _ in range(2))
    torch.manual_seed(0)
    start = DemoNet()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.classifier.weight, start.classifier.weight)


def test_augmentation_keeps_the_range_and_changes_every_picture() -> None:
    images = torch.from_numpy(make_phantom(0, size=224).image)[None].repeat(3, 1, 1)
    out = train.augment(images, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    assert 0 <= out.min() < out.max() <= 255
    assert (out[0] - out[1]).abs().mean() > 3


def test_no_test_phantom_was_trained_on() -> None:
    groups = [set(r) for r in (train.TRAIN_SEEDS, train.TEST_SEEDS, train.PAIR_SEEDS, train.HEAT_SEEDS)]
    assert len(set.union(*groups)) == sum(len(group) for group in groups)
    examples = {arguments["seed"] for arguments in EXAMPLES.values()}
    assert not examples & set.union(*groups)
    assert demo_card()["seeds"]["train"] == [train.TRAIN_SEEDS.start, train.TRAIN_SEEDS.stop]


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "file_stem", lambda shortcut: "gone")
    with pytest.raises(ModelError, match=r"gone\.safetensors is missing.*cfcam\.models\.demo\.train"):
        load_demo_network()


def test_the_phantoms_need_no_torch() -> None:
    code = (
        "import sys, cfcam.models.demo.phantoms as p; p.make_phantom(0, size=64);"
        "print('cfcam.models.demo.network' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = demo.nothing
