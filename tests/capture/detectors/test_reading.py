"""What detectors of libraries return, read as boxes: transformers' own models, torchvision's form, a YOLO head."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Detections, Detector, read_torchvision, read_ultralytics
from cfcam.capture.detectors.reading import check_padding
from cfcam.errors import InputError, OutputError

RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "out_features": ["stage4"]}
SMALL = {
    "use_timm_backbone": False, "backbone": None, "d_model": 16, "num_queries": 5, "num_labels": 3, "encoder_layers": 1,
    "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
}  # fmt: skip


def detr() -> nn.Module:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    return DetrForObjectDetection(DetrConfig(**SMALL, backbone_config=ResNetConfig(**RESNET))).eval()


def conditional() -> nn.Module:
    from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection, ResNetConfig

    config = ConditionalDetrConfig(**SMALL, backbone_config=ResNetConfig(**RESNET))
    return ConditionalDetrForObjectDetection(config).eval()


def yolos() -> nn.Module:
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=[64, 64],
        patch_size=16, num_detection_tokens=5, num_labels=3,
    )  # fmt: skip
    return YolosForObjectDetection(config).eval()


WIDE = {
    "embedding_size": 32,
    "hidden_sizes": [32] * 4,
    "depths": [1] * 4,
    "out_features": ["stage2", "stage3", "stage4"],
}


def deformable() -> nn.Module:
    from transformers import DeformableDetrConfig, DeformableDetrForObjectDetection, ResNetConfig

    two = {"d_model": 64, "decoder_layers": 2}  # of one layer transformers 5.23 cannot tie the boxes' weights
    config = DeformableDetrConfig(**SMALL | two, backbone_config=ResNetConfig(**WIDE))
    return DeformableDetrForObjectDetection(config).eval()


def rt_detr() -> nn.Module:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    config = RTDetrConfig(
        backbone_config=RTDetrResNetConfig(**WIDE, layer_type="basic"), encoder_in_channels=[32] * 3,
        encoder_hidden_dim=16, encoder_ffn_dim=24, encoder_attention_heads=2, d_model=16, decoder_in_channels=[16] * 3,
        decoder_ffn_dim=24, decoder_attention_heads=2, decoder_layers=2, num_queries=5, num_labels=3, num_denoising=0,
    )  # fmt: skip
    network = RTDetrForObjectDetection(config).eval()
    for parameter in network.parameters():  # at its start the encoder hardly depends on the picture
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return network


MODELS = {  # what is built, how its scores are read, a layer
    "detr": (detr, "softmax", "model.model.backbone.model.encoder.stages.3"),
    "conditional-detr": (conditional, "sigmoid", "model.model.backbone.model.encoder.stages.3"),
    "deformable-detr": (deformable, "sigmoid", "model.model.backbone.model.encoder.stages.3"),
    "rt-detr": (rt_detr, "sigmoid", "model.model.backbone.model.encoder.stages.3"),
    "yolos": (yolos, "softmax", "model.vit.encoder.layer.0"),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_detector_of_transformers_is_explained_box_by_box(name):
    pytest.importorskip("transformers")
    build, reading, layer = MODELS[name]
    torch.manual_seed(0)
    model = build()
    detector, x = Detector(model), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found, output = detector(x), model(x)
    assert (found.reading, found.classes) == (reading, 3)
    centre, size = output.pred_boxes.split(2, -1)
    torch.testing.assert_close(found.boxes, 64 * torch.cat([centre - size / 2, centre + size / 2], -1))
    e = cfcam.explain(detector, x, ["grad-cam", "hires-cam"], targets=cfcam.TopBoxes(1), layer=layer)
    assert e.maps["grad-cam"].shape[:2] == (2, 1)
    values = output.logits
    p = values.softmax(2)[..., :-1] if reading == "softmax" else values.sigmoid()
    p = p.flatten(1).amax(1)
    torch.testing.assert_close(e.scores[:, 0], torch.logit(p), rtol=1e-4, atol=1e-5)
    alone = cfcam.explain(detector, x[1:], "hires-cam", targets=cfcam.TopBoxes(1), layer=layer)
    torch.testing.assert_close(alone.maps["hires-cam"][0], e.maps["hires-cam"][1], rtol=1e-3, atol=1e-6)
    box = found.boxes[:1, 0].clamp(0, 64)
    missing = cfcam.explain(detector, x[:1], "hires-cam", targets=cfcam.MissingBox(box, 1), layer=layer)
    assert missing.scores.isfinite().all()


class TwoHeads(nn.Module):
    """A YOLO head on a grid of 4 x 4: centre and size in pixels, then the probabilities of two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Conv2d(2, 2, 4, 4, bias=False)
        self.trunk.weight.data = torch.eye(2)[..., None, None].expand(2, 2, 4, 4) / 16

    def forward(self, x):
        p = (2 * self.trunk(x) - 1).sigmoid().flatten(2)
        rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
        centres = torch.stack([columns, rows]).flatten(1) * 4 + 2
        boxes = torch.cat([centres, torch.full_like(centres, 4)]).expand(len(x), 4, 16)
        return torch.cat([boxes, p], 1), ["features of no interest"]


def test_a_yolo_head_by_the_documented_function():
    x = torch.zeros(1, 2, 16, 16)
    x[0, 1, 4:8, 8:12] = 1.5  # cell (1, 2)
    detector = Detector(TwoHeads(), read_ultralytics)
    e = cfcam.explain(detector, x, "hires-cam", targets=cfcam.TopBoxes(1), layer="model.trunk", classes=["a", "b"])
    assert e.target_names == ("b at (8, 4, 12, 8)",)
    assert float(e.scores) == pytest.approx(2 * 1.5 - 1, abs=1e-5)
    expected = torch.zeros(4, 4)
    expected[1, 2] = 2 * 1.5  # gradient times activation
    torch.testing.assert_close(e.maps["hires-cam"][0, 0], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(OutputError, match=r"a YOLO head returned \(1, 300, 6\)"):
        read_ultralytics(torch.zeros(1, 300, 6), (16, 16))


def test_lists_of_torchvision_are_padded_with_boxes_that_nobody_finds():
    one = {"boxes": torch.tensor([[0.0, 0, 4, 4], [4, 4, 8, 8]]), "labels": torch.tensor([2, 1]),
           "scores": torch.tensor([0.9, 0.6])}  # fmt: skip
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "scores": torch.zeros(0)}
    found = read_torchvision([one, none], (8, 8), 4)
    assert found.values.shape == (2, 2, 4)
    assert [[object_.label for object_ in image] for image in found.found()] == [[2, 1], []]
    assert read_torchvision([none], (8, 8)).found() == [[]]


def test_a_detector_that_says_it_is_read_otherwise_is_not_read_as_the_others():
    model = rt_detr()
    model.config.use_focal_loss = False
    with pytest.raises(cfcam.CfcamError, match="use_focal_loss=False, and not whether its last class is no object"):
        Detector(model)(torch.zeros(1, 3, 64, 64))


def test_an_output_that_nobody_knows_and_a_function_that_returns_something_else():
    net, x = nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 8, 8)
    with pytest.raises(OutputError, match="Conv2d returns Tensor, and neither pred_boxes"):
        Detector(net)(x)
    unknown = nn.Module()
    unknown.forward = lambda x: [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}]
    with pytest.raises(OutputError, match="the number of classes of Module is not known"):
        Detector(unknown)(x)
    with pytest.raises(OutputError, match="returned a Tensor for 1 images: return Detections"):
        Detector(net, lambda output, size: output)(x)
    with pytest.raises(OutputError, match=r"give \(N, Q, 4\)"):
        Detections(torch.zeros(1, 2, 4), torch.zeros(1, 3, 2))
    with pytest.raises(OutputError, match="reading 'logits'"):
        Detections(torch.zeros(1, 2, 4), torch.zeros(1, 2, 2), "logits")


class Transform(nn.Module):
    min_size, max_size, size_divisible, fixed_size = (800,), 1333, 32, None


def test_pictures_that_torchvision_would_pad_are_refused():
    net = nn.Module()
    check_padding(net, (100, 130))
    net.transform = Transform()
    check_padding(net, (96, 96))
    with pytest.raises(InputError, match=r"resizes pictures of \(100, 130\) to \(800, 1040\) and pads them"):
        check_padding(net, (100, 130))


TORCHVISION = """
import torch, torchvision
from torchvision.ops import boxes as ops

def nms(dets, scores, threshold):  # the compiled operator is not in this wheel
    keep, order = [], scores.argsort(descending=True).tolist()
    while order:
        keep.append(order.pop(0))
        order = [n for n in order if torchvision.ops.box_iou(dets[keep[-1:]], dets[n:n + 1])[0, 0] <= threshold]
    return torch.tensor(keep, dtype=torch.long)

ops._assert_has_ops = lambda: None
library.impl("nms", nms, "CPU")
import cfcam
from cfcam.capture import Detector

torch.manual_seed(0)
x, none = torch.rand(2, 3, 64, 64), {"weights": None, "weights_backbone": None}
small = {"min_size": 64, "max_size": 64}
zoo, few = torchvision.models.detection, {"score_thresh": 0.0, "detections_per_img": 5}
retina = zoo.retinanet_resnet50_fpn(num_classes=3, **few, **none, **small)
fcos = zoo.fcos_resnet50_fpn(num_classes=3, **few, **none, **small)
faster = zoo.fasterrcnn_resnet50_fpn(
    num_classes=3, box_score_thresh=0.0, box_detections_per_img=5, rpn_post_nms_top_n_test=20, **none, **small)
layer = "model.backbone.body.layer4"
for model in (retina, fcos, faster):
    detector = Detector(model.eval())
    with torch.no_grad():
        found = detector(x)
    assert found.classes == 3, found.classes
    e = cfcam.explain(detector, x, ["grad-cam", "hires-cam"], targets=cfcam.TopBoxes(1), layer=layer)
    assert e.maps["hires-cam"].shape == (2, 1, 2, 2)
    assert e.maps["hires-cam"].abs().amax() > 0
    p = torch.stack([one["scores"].max() for one in model(list(x))])
    torch.testing.assert_close(e.scores[:, 0].sigmoid(), p.detach())
    one = found.found(0.0)[0][0]
    again = cfcam.explain(detector, x[:1], "hires-cam", targets=cfcam.Box(one.box, one.label), layer=layer)
    torch.testing.assert_close(again.maps["hires-cam"][0], e.maps["hires-cam"][0], rtol=1e-3, atol=1e-6)
    print(type(model).__name__)
"""


@pytest.mark.skipif(not os.environ.get("CFCAM_TORCHVISION"), reason="CFCAM_TORCHVISION names no folder (Makefile)")
def test_detectors_of_torchvision(tmp_path):
    code = (
        'import torch\nlibrary = torch.library.Library("torchvision", "FRAGMENT")\n'
        'library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")\n'
        'library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")\n' + TORCHVISION
    )
    path = os.pathsep.join([os.environ["CFCAM_TORCHVISION"], os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "TORCHDYNAMO_DISABLE": "1"},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["RetinaNet", "FCOS", "FasterRCNN"]


@pytest.mark.parametrize("reading", ["sigmoid", "softmax"])
def test_of_probabilities_that_are_1_to_all_digits_the_greater_score_is_first(reading: str) -> None:
    boxes = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [0.0, 1.0, 4.0, 5.0], [9.0, 9.0, 12.0, 12.0]]])  # two of one object
    values = torch.tensor([[[40.0, 0.0], [60.0, 0.0], [0.0, 70.0]]])
    if reading == "softmax":
        values = torch.cat([values, torch.full((1, 3, 1), -40.0)], 2)
    found = Detections(boxes, values, reading)
    assert found.probabilities.amax(2).tolist() == [[1.0, 1.0, 1.0]]
    assert [(one.box, one.label) for one in found.found()[0]] == [((9, 9, 12, 12), 1), ((0, 1, 4, 5), 0)]


@pytest.mark.parametrize("reading", ["sigmoid", "softmax"])
def test_the_order_is_the_log_odds(reading: str) -> None:
    values = 3 * torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = Detections(torch.rand(2, 5, 4), values, reading)
    torch.testing.assert_close(found.order, torch.logit(found.probabilities))
    given = Detections(torch.rand(2, 5, 4), found.probabilities.round(), "given")
    assert (given.order == -torch.inf).tolist() == (given.probabilities == 0).tolist()
