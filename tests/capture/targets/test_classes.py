"""Targets that are no single class logit, against arithmetic by hand on a network of one linear layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam import Contrast, Explanation, ImageTower, PerImage, Regression, Similarity
from cfcam.errors import InputError, LayerError, TargetError
from cfcam.methods import ScoreCAM
from tests.networks import GapNet

CLASSES = ("bus", "cat", "dog", "elk")
Array = np.ndarray


def tiny(outputs: int = 4) -> nn.Sequential:
    """Three channels, pooled, and one linear layer: ``y = V mean_p(U x_p) + b``."""
    layers = [nn.Conv2d(2, 3, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, outputs)]
    return nn.Sequential(*layers).double().eval()


@pytest.fixture
def net() -> nn.Sequential:
    return tiny()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 2, 4, 5, dtype=torch.float64)


def outputs(net: nn.Sequential, A: Array) -> Array:
    """What the network makes of activations (3, H, W), in NumPy."""
    return net[3].weight.detach().numpy() @ A.mean((1, 2)) + net[3].bias.detach().numpy()


def activations(net: nn.Sequential, x: Array) -> Array:
    return np.einsum("kc,chw->khw", net[0].weight.detach().numpy()[:, :, 0, 0], x)


def grad_cam(net: nn.Sequential, x: Array, slope: Array) -> Array:
    """``ReLU(sum_k w_k A_k)`` for a score whose derivative by the network's outputs is ``slope``."""
    A = activations(net, x)
    w = slope @ net[3].weight.detach().numpy() / A[0].size
    return np.maximum(sum(w[k] * A[k] for k in range(3)), 0)


def score_cam(net: nn.Sequential, x: Array, score: Callable[[Array], float]) -> Array:
    A = activations(net, x)
    total = np.zeros_like(A[0])
    nothing = score(outputs(net, activations(net, 0 * x)))
    for k in range(3):
        mask = (A[k] - A[k].min()) / (A[k].max() - A[k].min())
        total += (score(outputs(net, activations(net, x * mask))) - nothing) * A[k]
    return np.maximum(total, 0)


def softmax(z: Array) -> Array:
    return np.exp(z - z.max()) / np.exp(z - z.max()).sum()


def one_hot(index: int) -> Array:
    return np.eye(4)[index]


@dataclass(frozen=True)
class Case:
    """A target, its score of outputs z (4,) of an image n, the score's derivative, and what Score-CAM asks for."""

    name: str
    target: object
    score: Callable[[Array, int], float]
    slope: Callable[[Array, int], Array]
    masked: Callable[[Array, int, Array], float] | None = None
    label: str | None = None


R = np.array([[0.3, -1.0, 0.5, 2.0], [1.0, 0.2, -0.4, 0.1], [-0.7, 0.6, 0.9, -0.2]])


def cosine(z: Array, r: Array) -> float:
    return float(z @ r / np.linalg.norm(z) / np.linalg.norm(r))


def cosine_slope(z: Array, r: Array) -> Array:
    size = np.linalg.norm(z)
    return r / np.linalg.norm(r) / size - cosine(z, r) * z / size**2


def runner_up(z: Array) -> int:
    return int(np.argsort(z)[-2])


CASES = [
    Case(
        "contrast by index",
        Contrast(2, 0),
        lambda z, n: z[2] - z[0],
        lambda z, n: one_hot(2) - one_hot(0),
        lambda z, n, first: softmax(z)[2] - softmax(z)[0],
        "dog against bus",
    ),
    Case(
        "contrast by name",
        "dog vs Bus",
        lambda z, n: z[2] - z[0],
        lambda z, n: one_hot(2) - one_hot(0),
        lambda z, n, first: softmax(z)[2] - softmax(z)[0],
        "dog against Bus",
    ),
    Case(
        "predicted against runner-up",
        Contrast(),
        lambda z, n: z.max() - z[runner_up(z)],
        lambda z, n: one_hot(int(z.argmax())) - one_hot(runner_up(z)),
        lambda z, n, first: softmax(z)[int(first.argmax())] - softmax(z)[runner_up(first)],
        "the predicted class against the runner-up",
    ),
    Case("regression", Regression(3), lambda z, n: z[3], lambda z, n: one_hot(3), None, "output 3"),
    Case("regression, lower", Regression(1, lower=True), lambda z, n: -z[1], lambda z, n: -one_hot(1), None,
         "output 1, lower"),
    Case("regression by keyword", "output-2", lambda z, n: z[2], lambda z, n: one_hot(2), None, "output 2"),
    Case("one reference", Similarity(R[1], words="like that one"), lambda z, n: cosine(z, R[1]),
         lambda z, n: cosine_slope(z, R[1]), None, "like that one"),
    Case("a reference for each image", Similarity(R), lambda z, n: cosine(z, R[n]),
         lambda z, n: cosine_slope(z, R[n]), None, "similarity"),
    Case(
        "a callable for each image",
        PerImage(lambda output, images: (output * torch.from_numpy(R)[images]).sum(1), "weighted"),
        lambda z, n: float(z @ R[n]),
        lambda z, n: R[n],
        None,
        "weighted",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_scores_and_maps_equal_arithmetic_by_hand(case: Case, net: nn.Sequential, x: Tensor) -> None:
    """The score, Grad-CAM from its derivative, and Score-CAM from masked passes that follow their images."""
    methods = ["grad-cam", ScoreCAM(batch_size=4)]  # masks of several images come in one batch
    e = cfcam.explain(net, x, methods, targets=case.target, layer="0", classes=CLASSES)
    assert e.targets.tolist() == [[-1]] * 3
    assert (e.label(0, 0), e.probability(0, 0)) == (case.label, None)
    for n, image in enumerate(x.numpy()):
        z = outputs(net, activations(net, image))
        np.testing.assert_allclose(e.scores[n, 0], case.score(z, n))
        np.testing.assert_allclose(e.maps["grad-cam"][n, 0], grad_cam(net, image, case.slope(z, n)), atol=1e-12)
        masked = case.masked or (lambda other, n, first: case.score(other, n))
        expected = score_cam(net, image, lambda other, n=n, z=z, masked=masked: masked(other, n, z))
        np.testing.assert_allclose(e.maps["score-cam"][n, 0], expected, atol=1e-12)


def test_several_targets_equal_one_at_a_time(net: nn.Sequential, x: Tensor) -> None:
    targets = [1, Contrast("cat", "elk"), Similarity(R[0]), Regression(2), "top-2"]
    methods = ["grad-cam", "score-cam", "ablation-cam", "occlusion", "cf-cam"]
    together = cfcam.explain(net, x, methods, targets=targets, layer="0", classes=CLASSES)
    assert together.targets.shape == (3, 6)
    for column, target in zip((0, 1, 2, 3, slice(4, 6)), targets, strict=True):
        alone = cfcam.explain(net, x, methods, targets=target, layer="0", classes=CLASSES)
        for method in methods:
            found = together.maps[method][:, column].reshape(alone.maps[method].shape)
            torch.testing.assert_close(found, alone.maps[method])


def test_a_batch_equals_its_images_one_by_one(net: nn.Sequential, x: Tensor) -> None:
    methods = ["grad-cam", "score-cam"]
    together = cfcam.explain(net, x, methods, targets=[Contrast(), Similarity(R)], layer="0")
    for n in range(3):
        alone = cfcam.explain(net, x[n : n + 1], methods, targets=[Contrast(), Similarity(R[n])], layer="0")
        for method in methods:
            torch.testing.assert_close(together.maps[method][n : n + 1], alone.maps[method])


def test_labels_by_themselves(net: nn.Sequential, x: Tensor) -> None:
    """Multi-label: a label's sigmoid does not fall because another label rises."""
    e = cfcam.explain(net, x, "score-cam", targets=[0, 3], layer="0", probability="sigmoid")
    for n, image in enumerate(x.numpy()):
        for column, label in enumerate((0, 3)):
            expected = score_cam(net, image, lambda z, label=label: 1 / (1 + np.exp(-z[label])))
            np.testing.assert_allclose(e.maps["score-cam"][n, column], expected, atol=1e-12)
    np.testing.assert_allclose(e.probabilities, 1 / (1 + np.exp(-e.logits)))


def test_one_estimate_has_no_class_zero(x: Tensor) -> None:
    """A single output is a number to `Regression`, and two classes to a class target."""
    net = tiny(1)
    e = cfcam.explain(net, x, "grad-cam", targets=[Regression(), 0, 1], layer="0")
    torch.testing.assert_close(e.scores, torch.cat([net(x), -net(x), net(x)], 1).detach())


def test_names_survive_saving(net: nn.Sequential, x: Tensor, tmp_path: Path) -> None:
    targets = [Contrast("dog", "cat"), 1, Similarity(R[0], words="like the reference"), Regression(2, lower=True)]
    e = cfcam.explain(net, x, "grad-cam", targets=targets, layer="0", classes=CLASSES)
    again = Explanation.load(e.save(tmp_path))
    assert [again.label(0, k) for k in range(4)] == ["dog against cat", "cat", "like the reference", "output 2, lower"]
    assert again.target_names == e.target_names


class Never(GapNet):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("the model ran")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Similarity(torch.randn(2, 4)), r"reference has shape \(2, 4\) for 3 images"),
        (Contrast, r"is a class: give an instance, Contrast\("),
        ([Regression(), 0.5], r"target 0.5 is a float"),
    ],
)
def test_what_fits_no_batch_is_seen_before_the_model_runs(target: object, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        cfcam.explain(Never(), torch.randn(3, 3, 8, 8), "grad-cam", targets=target, layer="features")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (10**30, f"class {10**30} is out of range: the network has 4 classes"),
        (Contrast(0, 9), "class 9 is out of range: the network has 4 classes"),
        (Contrast("dgo", 1), "no class is called 'dgo'; nearest of 4: 'dog'"),
        (Contrast("dog", 2), "dog is compared with itself"),
        (Regression(4), "output 4 is out of range: the network has 4, 0 to 3"),
        (Similarity(torch.ones(7)), "embeds in 4 numbers, and the reference has 7"),
        (Similarity(torch.ones(4), of="pooler_output"), "gives NoneType for an embedding, not .N, E.: say where"),
        (PerImage(lambda output, images: output), r"target <lambda> returned \(3, 4\): a callable must return one"),
    ],
)
def test_what_does_not_fit_the_output(target: object, message: str, net: nn.Sequential, x: Tensor) -> None:
    with pytest.raises(TargetError, match=message) as error:
        cfcam.explain(net, x, "grad-cam", targets=target, layer="0", classes=CLASSES)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Similarity(torch.zeros(4)), "the reference is 0 or not finite"),
        (lambda: Similarity(torch.ones(2, 3, 4)), r"the reference has shape \(2, 3, 4\)"),
        (lambda: Contrast(1, 1), "a class against itself"),
    ],
)
def test_targets_without_sense(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TargetError, match=message):
        make()


# --- embeddings ------------------------------------------------------------------------------------------------------


def test_similarity_to_another_image(net: nn.Sequential, x: Tensor) -> None:
    """The reference is the network's own embedding of the other image, and an image is like itself."""
    rng = torch.get_rng_state()
    target = Similarity.to_image(net, x[1:2], words="like the second")
    assert torch.equal(torch.get_rng_state(), rng)
    torch.testing.assert_close(target.reference, net(x[1:2])[0].detach())
    e = cfcam.explain(net, x, ["grad-cam", "score-cam"], targets=target, layer="0")
    torch.testing.assert_close(e.scores[1, 0], torch.tensor(1.0, dtype=torch.float64))
    pairs = cfcam.explain(net, x, "grad-cam", targets=Similarity.to_image(net, x.flip(0)), layer="0").scores
    torch.testing.assert_close(pairs[:, 0], torch.cosine_similarity(net(x), net(x.flip(0))).detach())


def clip() -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": 40, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(3)
    return CLIPModel(
        CLIPConfig(
            projection_dim=8,
            vision_config={**tower, "image_size": 32, "patch_size": 8},
            text_config={**tower, "vocab_size": 50, "max_position_embeddings": 9, "eos_token_id": 49},
        )
    ).eval()


def test_similarity_of_an_image_and_a_text() -> None:
    """CLIP's own score, up to its temperature; gradients reach the patches of the image."""
    pytest.importorskip("transformers")
    model, x = clip(), torch.randn(2, 3, 32, 32)
    texts = torch.tensor([[1, 5, 7, 49], [1, 9, 3, 49]])
    with torch.no_grad():
        whole = model(input_ids=texts, pixel_values=x)
    expected = whole.logits_per_image / model.logit_scale.exp()
    targets = [Similarity.to_text(model, {"input_ids": text[None]}, words=f"text {n}") for n, text in enumerate(texts)]
    e = cfcam.explain(ImageTower(model), x, ["grad-cam", "score-cam"], targets=targets)
    torch.testing.assert_close(e.scores, expected.detach(), atol=1e-5, rtol=1e-5)
    assert e.maps["grad-cam"].shape == (2, 2, 4, 4)
    assert [e.label(0, k) for k in range(2)] == ["text 0", "text 1"]
    with pytest.raises(InputError, match=r"Sequential has no get_text_features\(\)"):
        Similarity.to_text(tiny(), {"input_ids": texts})
    with pytest.raises(InputError, match=r"Sequential has no get_image_features\(\)"):
        ImageTower(tiny())


def test_the_embedding_is_found_in_the_output() -> None:
    """In a mapping by its usual names, by a key, or by a callable; what is no (N, E) is refused."""

    class Embedder(GapNet):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            A = self.features(x)
            return {"last_hidden_state": A, "pooler_output": self.pool(A).flatten(1), "projected": self.tail(A)}

    net, x = Embedder().eval(), torch.randn(2, 3, 8, 8)
    found = {
        of: cfcam.explain(net, x, "grad-cam", targets=Similarity(torch.ones(size), of=of), layer="features").scores
        for of, size in ((None, 12), ("projected", 4))
    }
    for of, key in ((None, "pooler_output"), ("projected", "projected")):
        expected = torch.cosine_similarity(net(x)[key], torch.ones_like(net(x)[key])).detach()
        torch.testing.assert_close(found[of][:, 0], expected)
    by_hand = Similarity(torch.ones(4), of=lambda output: output["projected"])
    e = cfcam.explain(net, x, "grad-cam", targets=by_hand, layer="features")
    torch.testing.assert_close(e.scores, found["projected"])
    with pytest.raises(TargetError, match=r"holds last_hidden_state, pooler_output, projected\) gives \(2, 12, 4, 4\)"):
        cfcam.explain(net, x, "grad-cam", targets=Similarity(torch.ones(4), of="last_hidden_state"), layer="features")


# --- detection -------------------------------------------------------------------------------------------------------


def overlap(boxes: Tensor, wanted: Tensor) -> Tensor:
    """Intersection over union of boxes (M, Q, 4) and wanted ones (M, 4): centre, width and height in [0, 1]."""
    low, high = boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2
    wanted = wanted[:, None]
    own_low, own_high = wanted[..., :2] - wanted[..., 2:] / 2, wanted[..., :2] + wanted[..., 2:] / 2
    shared = (torch.minimum(high, own_high) - torch.maximum(low, own_low)).clamp(min=0).prod(-1)
    return shared / (boxes[..., 2:].prod(-1) + wanted[..., 2:].prod(-1) - shared)


def detr() -> nn.Module:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    torch.manual_seed(0)
    backbone = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=["stage4"])
    config = DetrConfig(
        use_timm_backbone=False, backbone=None, backbone_config=backbone, d_model=16, num_queries=5, num_labels=3,
        encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=24, decoder_ffn_dim=24,
    )  # fmt: skip
    return DetrForObjectDetection(config).eval()


def test_the_score_of_a_detected_box() -> None:
    """DETR: the logit of a class at the query whose box overlaps the wanted one most, image by image."""
    pytest.importorskip("transformers")
    model, x, layer = detr(), torch.randn(2, 3, 96, 64), "model.backbone.model.encoder.stages.3"
    wanted = torch.tensor([[0.3, 0.3, 0.4, 0.4], [0.7, 0.6, 0.3, 0.5]])

    def box_score(output: Any, images: Tensor) -> Tensor:
        best = overlap(output.pred_boxes.detach(), wanted[images]).argmax(1)
        return output.logits[torch.arange(len(best)), best, 1]

    with torch.no_grad():
        output = model(x)
    queries = [overlap(output.pred_boxes[n : n + 1], wanted[n : n + 1]).argmax() for n in range(2)]
    methods = ["grad-cam", ScoreCAM(batch_size=5)]
    e = cfcam.explain(model, x, methods, targets=PerImage(box_score), layer=layer)
    assert e.label(0, 0) == "box_score"
    torch.testing.assert_close(e.scores[:, 0], torch.stack([output.logits[n, q, 1] for n, q in enumerate(queries)]))
    assert e.maps["grad-cam"].shape == (2, 1, 3, 2)
    for n in range(2):
        own = PerImage(lambda output, images, n=n: box_score(output, torch.full_like(images, n)))
        alone = cfcam.explain(model, x[n : n + 1], methods, targets=own, layer=layer)
        for method in e.methods:
            torch.testing.assert_close(alone.maps[method][0], e.maps[method][n], atol=1e-6, rtol=1e-3)
    with pytest.raises(TargetError, match=r"needs an output \(N, classes\), and the network's has shape \(2, 5, 4\)"):
        cfcam.explain(model, x, "grad-cam", targets=1, layer=layer)
    with pytest.raises(LayerError, match="works on tokens"):  # its queries have no places
        cfcam.explain(model, x, "grad-cam", targets=PerImage(box_score))
