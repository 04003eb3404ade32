"""Networks that segment by queries, read as class scores for each place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.errors import InputError, OutputError


class Queries(nn.Module):
    """Two queries, whose masks are the first two channels; their classes are fixed: of two, and none."""

    config: Any

    def __init__(self, names: tuple[str, str] = ("class_queries_logits", "masks_queries_logits")) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 3, 1, bias=False)
        self.same.weight.data = torch.eye(3).reshape(3, 3, 1, 1)
        self.classes = torch.tensor([[2.0, 0.0, 1.0], [-1.0, 1.0, 0.0]])
        self.names = names

    def forward(self, x: Tensor) -> dict[str, Any]:
        return dict(zip(self.names, (self.classes.expand(len(x), -1, -1), self.same(x)[:, :2]), strict=True))


def test_the_score_is_the_logarithm_of_what_queries_give_a_class_together() -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 4
    found = cfcam.Segmenter(Queries())(x)
    share = torch.tensor([[2.0, 0.0, 1.0], [-1.0, 1.0, 0.0]]).softmax(-1)
    for place in ((0, 0, 0), (1, 3, 4)):
        n, row, column = place
        wanted = x[n, :2, row, column].sigmoid()
        for c in range(2):
            by_hand = share[0, c] * wanted[0] + share[1, c] * wanted[1]
            torch.testing.assert_close(found[n, c, row, column], by_hand.log())
    assert found.shape == (2, 2, 4, 5)


def test_a_place_that_no_query_wants_has_a_score_and_a_gradient() -> None:
    x = torch.full((1, 3, 1, 1), -200.0, requires_grad=True)  # its sigmoid is 0 in float32
    found = cfcam.Segmenter(Queries())(x)
    assert found.isfinite().all()
    assert found[0, 0].item() == pytest.approx(-200, abs=1)
    (slope,) = torch.autograd.grad(found[0, 0, 0, 0], x)
    assert slope.sum().item() == pytest.approx(1)


def test_a_class_is_explained_where_it_is_predicted() -> None:
    x = torch.full((1, 3, 4, 4), -3.0)
    x[0, 0, :2], x[0, 1, 2:] = 3.0, 3.0  # above the first query's, below the second's
    net = cfcam.Segmenter(Queries())
    e = cfcam.explain(net, x, "hires-cam", targets=["sky", "road"], classes=["sky", "road"], layer="model.same")
    above, below = e.maps["hires-cam"][0]
    assert above[:2].min() > 0 == above[2:].abs().max()
    assert below[2:].min() > 0 == below[:2].abs().max()


def test_without_it_such_a_network_is_told_of_it() -> None:
    x = torch.randn(1, 3, 4, 4)
    with pytest.raises(OutputError, match=r"masks and a class for each: give cfcam\.Segmenter\(model\)$"):
        cfcam.explain(Queries(), x, "grad-cam", layer="same")

    class Boxes(Queries):
        def forward(self, x: Tensor) -> dict[str, Any]:
            return super().forward(x) | {"pred_boxes": torch.rand(len(x), 2, 4)}

    with pytest.raises(OutputError, match=r"Segmenter\(model\), or cfcam\.Detector\(model\) for its boxes"):
        cfcam.explain(Boxes(("logits", "pred_masks")), x, "grad-cam", layer="same")


def test_masks_without_no_object_are_refused() -> None:
    """Of Conditional DETR and RF-DETR the last class is one like the others."""
    net = Queries(("logits", "pred_masks"))
    net.config = SimpleNamespace(num_labels=2)
    assert cfcam.Segmenter(net)(torch.rand(1, 3, 4, 4)).shape == (1, 2, 4, 4)
    net.config = SimpleNamespace(num_labels=3)
    with pytest.raises(OutputError, match="3 classes for 3 names"):
        cfcam.Segmenter(net)(torch.rand(1, 3, 4, 4))


def test_what_holds_no_queries_is_refused() -> None:
    with pytest.raises(OutputError, match=r"returns no masks of queries.*leave Segmenter out"):
        cfcam.Segmenter(nn.Conv2d(3, 2, 1))(torch.rand(1, 3, 4, 4))
    with pytest.raises(InputError, match=r"give the torch\.nn\.Module"):
        cfcam.Segmenter("mask2former")  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "size"), [("Eomt", 32), ("Mask2Former", 64)])
def test_transformers_predicts_the_same_classes(kind: str, size: int) -> None:
    transformers = pytest.importorskip("transformers")
    if kind == "Eomt":
        config = transformers.EomtConfig(
            num_labels=3, image_size=32, num_queries=5, num_blocks=1, hidden_size=24, num_hidden_layers=2,
            num_attention_heads=2, patch_size=8,
        )  # fmt: skip
    else:
        config = transformers.Mask2FormerConfig(
            num_labels=3, hidden_dim=32, feature_size=32, mask_feature_size=32, num_queries=5, encoder_layers=1,
            decoder_layers=2, num_attention_heads=2, dim_feedforward=32, encoder_feedforward_dim=32,
            backbone_config=transformers.SwinConfig(
                embed_dim=12, depths=[1] * 4, num_heads=[1, 2, 3, 3], window_size=4, image_size=64,
                out_features=["stage1", "stage2", "stage3", "stage4"],
            ),
        )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}ForUniversalSegmentation")(config).eval()
    x = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output, found = model(x), cfcam.Segmenter(model)(x)
    shares = output.class_queries_logits.softmax(-1)[..., :-1]
    expected = torch.einsum("nqc,nqhw->nchw", shares, output.masks_queries_logits.sigmoid())
    torch.testing.assert_close(found.exp(), expected)
