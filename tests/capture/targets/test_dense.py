"""Segmentation targets against arithmetic by hand, in two and three dimensions, and what cannot be explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from cfcam import Explanation, Segmentation
from cfcam.capture import Adapter, Capture, Network, automatic_layer
from cfcam.capture.answers.probabilities import Kind
from cfcam.capture.targets.dense import background_of
from cfcam.capture.targets.scores import FirstPass
from cfcam.errors import TargetError
from cfcam.methods import ScoreCAM
from tests.networks import CONV

CLASSES = ("background", "liver", "spleen")
SIZES = {2: (4, 6), 3: (4, 3, 6)}
Array = np.ndarray


def tiny(dims: int = 2, classes: int = 3) -> nn.Sequential:
    """``y(p) = V U x(p) + b``: every place by itself."""
    conv = CONV[dims]
    net = nn.Sequential(conv(2, 4, 1, bias=False), conv(4, classes, 1)).double().eval()
    with torch.no_grad():
        net[1].weight.mul_(4)
    return net


@pytest.fixture(params=[2, 3], ids=["2-D", "3-D"])
def dims(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def net(dims: int) -> nn.Sequential:
    torch.manual_seed(2)
    return tiny(dims)


@pytest.fixture
def x(dims: int) -> Tensor:
    return torch.randn(3, 2, *SIZES[dims], dtype=torch.float64)


@pytest.fixture
def mask(x: Tensor) -> Tensor:
    chosen = torch.zeros(3, *x.shape[2:], dtype=torch.bool)
    chosen[0, 1:3], chosen[1, ..., :2], chosen[2, 0] = True, True, True
    return chosen


def weights(net: nn.Sequential) -> tuple[Array, Array, Array]:
    U, V = (net[i].weight.detach().numpy().reshape(net[i].weight.shape[:2]) for i in (0, 1))
    return U, V, net[1].bias.detach().numpy()


def mixed(matrix: Array, channels: Array) -> Array:
    return np.einsum("oc,c...->o...", matrix, channels)


def outputs(net: nn.Sequential, image: Array) -> Array:
    U, V, b = weights(net)
    return mixed(V @ U, image) + b.reshape(-1, *[1] * (image.ndim - 1))


def softmax(z: Array) -> Array:
    odds = np.exp(z - z.max(0))
    return odds / odds.sum(0)


def oracle(net: nn.Sequential, image: Array, c: int, mask: Array) -> dict[str, Array]:
    """Grad-CAM, HiResCAM, Ablation-CAM and Score-CAM of the score ``sum_p m_p y_c(p)``, and the score, in loops."""
    U, V, _ = weights(net)
    A = mixed(U, image)
    grad, hires, ablation, score = (np.zeros_like(A[0]) for _ in range(4))
    nothing = (softmax(outputs(net, 0 * image))[c] * mask).sum()
    for k in range(len(A)):
        grad += V[c, k] * mask.sum() / mask.size * A[k]
        hires += V[c, k] * mask * A[k]
        ablation += (V[c, k] * A[k] * mask).sum() * A[k]
        seen = (A[k] - A[k].min()) / (A[k].max() - A[k].min())
        score += ((softmax(outputs(net, image * seen))[c] * mask).sum() - nothing) * A[k]
    own = np.array((outputs(net, image)[c] * mask).sum())
    positive = {"grad-cam": grad, "ablation-cam": ablation, "score-cam": score}
    return {"hires-cam": hires, "score": own} | {name: np.maximum(m, 0) for name, m in positive.items()}


METHODS = ["grad-cam", "hires-cam", "ablation-cam", ScoreCAM(batch_size=4)]


def assert_equals_oracle(e: Explanation, column: int, net: nn.Sequential, x: Tensor, c: list[int], mask: Array) -> None:
    for n, image in enumerate(x.numpy()):
        expected = oracle(net, image, c[n], mask[n])
        np.testing.assert_allclose(e.scores[n, column], expected.pop("score"))
        for method, maps in expected.items():
            np.testing.assert_allclose(e.maps[method][n, column], maps, atol=1e-10, err_msg=method)


def test_a_class_in_a_given_mask(net: nn.Sequential, x: Tensor, mask: Tensor) -> None:
    """Gradients, ablated channels and masked passes all ask for the same places of the image."""
    targets = [Segmentation("spleen", mask), Segmentation(0, mask)]
    e = cfcam.explain(net, x, METHODS, targets=targets, layer="0", classes=CLASSES)
    assert e.targets.tolist() == [[2, 0]] * 3
    assert e.probabilities is None
    assert e.probability(0, 0) is None
    assert e.target_names == ("spleen in the mask", "background in the mask")
    for column, c in enumerate((2, 0)):
        assert_equals_oracle(e, column, net, x, [c] * 3, mask.numpy())


def test_a_class_where_it_is_predicted(net: nn.Sequential, x: Tensor) -> None:
    """The prediction for the input itself is the mask, and stays it in masked passes that predict something else."""
    predicted = np.stack([outputs(net, image) for image in x.numpy()]).argmax(1)
    for target in (1, "liver", Segmentation(1), torch.tensor([1, 1, 1])):
        e = cfcam.explain(net, x, METHODS, targets=target, layer="0", classes=CLASSES)
        assert e.targets.tolist() == [[1]] * 3
        assert e.label(0, 0) == "liver"
        assert_equals_oracle(e, 0, net, x, [1] * 3, predicted == 1)


def test_the_predicted_class_is_the_largest_region(net: nn.Sequential, x: Tensor) -> None:
    """By default, image by image; class 0, the background, is not chosen however large it is."""
    with torch.no_grad():
        net[1].bias[0] += 2
    predicted = np.stack([outputs(net, image) for image in x.numpy()]).argmax(1)
    areas = np.stack([(predicted == c).reshape(3, -1).sum(1) for c in range(3)], axis=1)
    assert (areas.argmax(1) == 0).any()  # else the background would have to be left out in no image
    largest = (areas[:, 1:].argmax(1) + 1).tolist()
    own = np.stack([p == c for p, c in zip(predicted, largest, strict=True)])
    for target in (None, "predicted", Segmentation()):
        e = cfcam.explain(net, x, METHODS, targets=target, layer="0", classes=CLASSES)
        assert e.targets[:, 0].tolist() == largest
        assert_equals_oracle(e, 0, net, x, largest, own)
    every = cfcam.explain(net, x, "grad-cam", targets=Segmentation(background=None), layer="0")
    assert every.targets[:, 0].tolist() == areas.argmax(1).tolist()


NAMED: list[tuple[tuple[str, ...] | None, str, int | None]] = [
    (None, "softmax", 0),
    (None, "sigmoid", None),  # labels that may overlap
    (("background", "liver", "spleen"), "softmax", 0),
    (("liver", "spleen", "Background"), "softmax", 2),
    (("__background__", "liver", "spleen"), "sigmoid", 0),
    (("unlabelled", "road", "car"), "softmax", 0),
    (("wall", "sky", "person"), "softmax", None),
    (("other", "road", "car"), "softmax", 0),
    (("other vehicle", "road", "car"), "softmax", None),
    (("no lesion", "cyst", "tumour"), "softmax", 0),
    (("nose", "eye", "ear"), "softmax", None),
    (("No_finding", "cyst", "tumour"), "softmax", 0),
    (("non-tumour", "oedema", "tumour"), "softmax", 0),
    (("0", "1", "2"), "softmax", 0),  # numbers are no names
    (("class 0", "class 1", "class 2"), "sigmoid", None),
]


@pytest.mark.parametrize(("names", "probability", "expected"), NAMED)
def test_what_is_background_is_read_from_the_names(
    names: tuple[str, ...] | None, probability: Kind, expected: int | None
) -> None:
    """What is called so is not chosen by its area; where nothing is, the largest class is, whatever its number."""
    largest, next_ = expected or 0, 1
    logits = torch.full((1, 3, 4, 4), -1.0)
    logits[0, largest, :3], logits[0, next_, 3] = 1.0, 1.0  # three rows of the largest class, one of another
    first = FirstPass(logits, logits, names, probability, (4, 4))
    assert background_of(first) == expected
    same = nn.Conv2d(3, 3, 1, bias=False)
    same.weight.data = torch.eye(3).reshape(3, 3, 1, 1)
    for target in (None, "top-1", Segmentation()):
        explainer = cfcam.Explainer(nn.Sequential(same), "grad-cam", layer="0", classes=names, probability=probability)
        assert explainer(logits, target).targets.tolist() == [[largest if expected is None else next_]]


def test_of_two_classes_and_of_one_channel_the_first_is_background() -> None:
    for channels, names in ((2, ("wall", "sky")), (2, None), (1, ("left", "right"))):
        logits = torch.zeros(1, channels, 4, 4)
        assert background_of(FirstPass(logits, logits, names, "softmax", (4, 4))) == 0


def test_of_two_classes_the_one_whose_name_says_nothing_is_background() -> None:
    """As class 0 the lesion was, and what was explained of each picture was the healthy tissue."""
    logits = torch.zeros(1, 2, 4, 4)
    for names in (("lesion", "normal"), ("nodule", "no nodule"), ("tumour", "None")):
        assert background_of(FirstPass(logits, logits, names, "softmax", (4, 4))) == 1
    assert background_of(FirstPass(logits, logits, ("normal", "other"), "softmax", (4, 4))) == 0
    assert background_of(FirstPass(logits, logits, ("lesion", "normal"), "sigmoid", (4, 4))) is None


def test_a_class_said_to_be_background_is_a_number() -> None:
    with pytest.raises(TargetError, match="background"):
        Segmentation(background="wall")  # type: ignore[arg-type]


def test_several_classes_by_area_and_all(net: nn.Sequential, x: Tensor) -> None:
    order = cfcam.explain(net, x, "grad-cam", targets="top-2", layer="0")
    predicted = net(x).argmax(1)
    for n in range(3):
        areas = [int((predicted[n] == c).sum()) for c in range(3)]
        assert areas[order.targets[n, 0]] >= areas[order.targets[n, 1]] > 0
        assert 0 not in order.targets[n]
    every = cfcam.explain(net, x, ["grad-cam", "score-cam"], targets="all", layer="0")
    assert every.targets.tolist() == [[0, 1, 2]] * 3
    for c in range(3):
        alone = cfcam.explain(net, x, ["grad-cam", "score-cam"], targets=c, layer="0")
        for method in alone.maps:
            torch.testing.assert_close(every.maps[method][:, c : c + 1], alone.maps[method])


def test_a_batch_equals_its_images_one_by_one(net: nn.Sequential, x: Tensor, mask: Tensor) -> None:
    methods = ["grad-cam", "cf-cam", "score-cam", "ablation-cam", "occlusion", "cf-cam-best", "smooth-grad-cam++"]
    together = cfcam.explain(net, x, methods, targets=[Segmentation(2, mask), Segmentation()], layer="0")
    for n in range(3):
        own = [Segmentation(2, mask[n]), Segmentation()]  # one mask for all images of the batch
        alone = cfcam.explain(net, x[n : n + 1], methods, targets=own, layer="0")
        for method in methods:
            torch.testing.assert_close(together.maps[method][n : n + 1], alone.maps[method], msg=method)


def test_the_mean_is_the_sum_by_the_area(net: nn.Sequential, x: Tensor, mask: Tensor) -> None:
    methods = ["grad-cam", "score-cam"]
    total = cfcam.explain(net, x, methods, targets=Segmentation(1, mask), layer="0")
    mean = cfcam.explain(net, x, methods, targets=Segmentation(1, mask, "mean"), layer="0")
    area = mask.flatten(1).sum(1)
    torch.testing.assert_close(mean.scores[:, 0] * area, total.scores[:, 0])
    for method in methods:
        by_area = area.reshape(-1, 1, *[1] * (x.ndim - 2))
        torch.testing.assert_close(mean.maps[method] * by_area, total.maps[method])
    inside = Capture(Network(net), x, layer="0", targets=Segmentation(1, mask, "mean"))
    probability = inside.rescore(x, torch.arange(3), probability=True)[:, 0]
    expected = [softmax(outputs(net, x[n].numpy()))[1][mask[n].numpy()].mean() for n in range(3)]
    np.testing.assert_allclose(probability, expected)


def test_a_single_channel_has_two_classes(dims: int, x: Tensor) -> None:
    """Foreground where the logit is positive; class 0 is its negative, where it is not."""
    net = tiny(dims, classes=1)
    z = net(x).detach()[:, 0]
    e = cfcam.explain(net, x, "grad-cam", targets=[None, 1, 0], layer="0")
    assert e.targets.tolist() == [[1, 1, 0]] * 3
    positive, negative = z.clamp(min=0).flatten(1).sum(1), (-z).clamp(min=0).flatten(1).sum(1)
    torch.testing.assert_close(e.scores, torch.stack([positive, positive, negative], 1))


def test_labels_by_themselves(net: nn.Sequential, x: Tensor) -> None:
    """With sigmoids, regions may overlap: a label is predicted wherever its own logit is positive."""
    z = net(x).detach()
    e = cfcam.explain(net, x, "grad-cam", targets=[1, 2], layer="0", probability="sigmoid")
    torch.testing.assert_close(e.scores, z[:, 1:].clamp(min=0).flatten(2).sum(2))


def test_a_coarser_output_takes_the_share_of_each_place(net: nn.Sequential, x: Tensor, mask: Tensor) -> None:
    """A mask of the input's size on an output of half its resolution: every place counts by how much of it is in."""
    pool = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[x.ndim - 2]
    coarse = nn.Sequential(net[0], pool(2), net[1])
    e = cfcam.explain(coarse, x, "grad-cam", targets=Segmentation(2, mask), layer="0")
    share = {2: F.avg_pool2d, 3: F.avg_pool3d}[x.ndim - 2](mask.double()[:, None], 2)[:, 0]
    torch.testing.assert_close(e.scores[:, 0], (coarse(x)[:, 2] * share).flatten(1).sum(1).detach())


def test_names_survive_saving(net: nn.Sequential, x: Tensor, mask: Tensor, tmp_path: Path) -> None:
    targets = [Segmentation("spleen", mask), "liver", Segmentation()]
    e = cfcam.explain(net, x, "grad-cam", targets=targets, layer="0", classes=CLASSES)
    again = Explanation.load(e.save(tmp_path))
    assert again.target_names == ("spleen in the mask", "where predicted", "the largest class where predicted")
    assert [again.label(0, k) for k in range(2)] == ["spleen", "liver"]
    assert torch.equal(again.targets, e.targets)


def test_a_mask_moves_with_its_input(net: nn.Sequential, x: Tensor, mask: Tensor) -> None:
    """`Scores.moved` keeps the places asked for on the tissue when the input is flipped."""
    capture = Capture(Network(net), x, layer="0", targets=[1, Segmentation(2, mask)])
    flipped = capture.again(x.flip(-1), targets=capture.targets.moved(lambda maps: maps.flip(-1)))
    torch.testing.assert_close(flipped.scores, capture.scores)
    assert not torch.allclose(capture.again(x.flip(-1)).scores, capture.scores)


# --- what cannot be explained ----------------------------------------------------------------------------------------


def test_a_class_that_is_predicted_nowhere(net: nn.Sequential, x: Tensor) -> None:
    """Said in words, and no map of zeros; with a mask the question has an answer."""
    with torch.no_grad():
        net[1].bias[1] -= 100
    for target in (1, "liver", Segmentation("liver"), "all", "top-2"):
        with pytest.raises(
            TargetError, match=r"^liver is predicted nowhere in image 0 of the batch.*cfcam.Segmentation\(1, mask\)"
        ):
            cfcam.explain(net, x, "grad-cam", targets=target, layer="0", classes=CLASSES)
    everywhere = torch.ones(x.shape[2:])
    e = cfcam.explain(net, x, "hires-cam", targets=Segmentation(1, everywhere), layer="0")
    torch.testing.assert_close(e.maps["hires-cam"].flatten(1).sum(1), (net(x)[:, 1].flatten(1).sum(1) - net[1].bias[1]
                               * everywhere.numel()).detach())  # fmt: skip


def test_nothing_but_background(net: nn.Sequential, x: Tensor) -> None:
    with torch.no_grad():
        net[1].bias[0] += 100
    for target in (None, Segmentation(), Segmentation(mask=torch.ones(x.shape[2:]))):
        with pytest.raises(TargetError, match=r"^nothing but background is predicted in image 0"):
            cfcam.explain(net, x, "grad-cam", targets=target, layer="0")


def test_masks_that_do_not_fit(net: nn.Sequential, x: Tensor, mask: Tensor) -> None:
    class Never(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("the model ran")

    for wrong in (mask[:2], mask[0, 0], mask[None]):
        with pytest.raises(TargetError, match=r"the mask has shape .* for 3 images of"):
            cfcam.explain(Never(), x, "grad-cam", targets=Segmentation(1, wrong), layer="layer")
    with pytest.raises(TargetError, match="give it on the input's grid"):
        cfcam.explain(net, x, "grad-cam", targets=Segmentation(1, mask[..., :-1]), layer="0")
    with pytest.raises(TargetError, match="the mask of image 1 of the batch is empty"):
        cfcam.explain(net, x, "grad-cam", targets=Segmentation(1, mask & (torch.arange(3) != 1).reshape(
            -1, *[1] * (x.ndim - 2))), layer="0")  # fmt: skip
    with pytest.raises(TargetError, match=r"torch.int64 with values outside of \[0, 1\]"):
        Segmentation(1, 3 * mask.long())
    with pytest.raises(TargetError, match="class 7 is out of range: the network has 3 classes"):
        cfcam.explain(net, x, "grad-cam", targets=Segmentation(7, mask), layer="0")


def test_a_segmentation_target_of_a_classifier(x: Tensor) -> None:
    net = nn.Sequential(CONV[x.ndim - 2](2, 3, 1), nn.Flatten(), nn.LazyLinear(2)).double().eval()
    net(x)
    with pytest.raises(TargetError, match=r"needs an output \(N, classes, \*spatial\).*has shape \(3, 2\)"):
        cfcam.explain(net, x, "grad-cam", targets=Segmentation(1), layer="0")


# --- the layer -------------------------------------------------------------------------------------------------------


class WithAuxiliaryHead(nn.Module):
    """As torchvision's DeepLab and transformers' UperNet: coarse scores, enlarged; an auxiliary head after."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.decoder = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.classifier = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
        self.auxiliary = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        A = self.backbone(x)
        enlarged = [
            F.interpolate(z, x.shape[2:], mode="bilinear")
            for z in (self.classifier(self.decoder(A)), self.auxiliary(A))
        ]
        return {"out": enlarged[0], "aux": enlarged[1]}


def test_the_layer_is_what_the_last_convolution_is_given() -> None:
    """Not the scores themselves on a coarser grid, nor a head that the explained output does not depend on."""
    net, x = WithAuxiliaryHead().eval(), torch.randn(2, 3, 16, 12)
    assert automatic_layer(Network(net), x) == "classifier.1"
    e = cfcam.explain(net, x, "hires-cam", targets=Segmentation(1, torch.ones(16, 12)))
    bias = net.classifier[2].bias[1] * 16 * 12
    # The scores are linear in this layer: HiResCAM adds up to them, up to the bias.
    torch.testing.assert_close(e.maps["hires-cam"].flatten(1).sum(1), (e.scores[:, 0] - bias).detach(), rtol=1e-4,
                               atol=1e-4)  # fmt: skip


def test_a_block_as_wide_as_there_are_classes_is_no_head() -> None:
    """Its output has the shape of the scores, and is mapped: the last convolution comes behind it."""
    block = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), block, nn.Conv2d(4, 4, 3, padding=1)).eval()
    assert automatic_layer(Network(net), torch.randn(1, 3, 16, 12)) == "2"


def test_scores_inside_of_another_output() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = tiny()

        def forward(self, x: Tensor) -> Tensor:
            z = self.net(x)
            return torch.stack([z, z / 2], dim=1)  # deep supervision, as MONAI's DynUNet in training

    model, x = Deep().eval(), torch.randn(2, 2, 4, 6, dtype=torch.float64)
    with pytest.raises(TargetError, match=r"has shape \(2, 2, 3, 4, 6\).*Adapter\(model"):
        cfcam.explain(model, x, "grad-cam", targets=Segmentation(1), layer="net.0")
    adapted = Adapter(model, lambda x, images: x, lambda output: output[:, 0])
    e = cfcam.explain(adapted, x, "grad-cam", targets=1, layer="model.net.0")
    torch.testing.assert_close(e.maps, cfcam.explain(model.net, x, "grad-cam", targets=1, layer="0").maps)


def test_segformer() -> None:
    """A transformer whose scores are a quarter of the picture's size; its map adds up to the score of the mask."""
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(
        num_labels=3, depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], decoder_hidden_size=16,
        num_attention_heads=[1, 2, 2, 4],
    )  # fmt: skip
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    x, mask = torch.randn(2, 3, 64, 96), torch.zeros(64, 96)
    mask[8:40, 16:60] = 1
    e = cfcam.explain(model, x, "hires-cam", targets=Segmentation(1, mask))
    assert (e.layer, e.maps["hires-cam"].shape) == ("decode_head.activation", (2, 1, 16, 24))
    bias = model.decode_head.classifier.bias[1].item() * 8 * 11
    torch.testing.assert_close(e.maps["hires-cam"].flatten(1).sum(1) + bias, e.scores[:, 0], atol=1e-4, rtol=1e-4)
