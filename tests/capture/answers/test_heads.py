"""Outputs of several tensors: the one that fits names and targets, a choice, or an error that lists them all."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cfcam
from cfcam.errors import CfcamError, OutputError, TargetError

Make = Callable[[Tensor, Tensor], Any]


class Several(nn.Module):
    """Scores z (N, 4) of pooled features, and whatever is made of them."""

    def __init__(self, make: Make) -> None:
        super().__init__()
        self.f, self.fc = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU()), nn.Linear(5, 4)
        generator = torch.Generator().manual_seed(3)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator)
        self.make = make

    def z(self, x: Tensor) -> Tensor:
        return self.fc(self.f(x).mean((2, 3)))

    def forward(self, x: Tensor) -> Any:
        A = self.f(x)
        return self.make(self.fc(A.mean((2, 3))), A)


@dataclass
class Heads:
    age: Tensor
    diagnosis: Tensor


Pair = namedtuple("Pair", ["aux", "main"])
Google = namedtuple("Google", ["logits", "aux_logits2", "aux_logits1"])
NAMES = list("abcd")


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))


def age(z: Tensor) -> Tensor:
    return 60 + z[:, :1]


# What an output is like, and where the scores are in it; the class names tell.
BY_NAMES: dict[str, tuple[Make, str]] = {
    "dict": (lambda z, A: {"age": age(z), "diagnosis": z}, "diagnosis"),
    "dict, first": (lambda z, A: {"diagnosis": z, "age": age(z)}, "diagnosis"),
    "dataclass": (lambda z, A: Heads(age(z), z), "diagnosis"),
    "named tuple": (lambda z, A: Pair(z[:, :3], z), "main"),
    "tuple": (lambda z, A: (age(z), z), "1"),
    "list": (lambda z, A: [z[:, :2], z[:, :3], z], "2"),
    "features first": (lambda z, A: (A.mean((2, 3)), z), "1"),
    "maps first": (lambda z, A: (A, z), "1"),
    "VAE": (lambda z, A: (z[:, :, None, None].expand(-1, -1, 12, 10)[:, :3], z[:, :2], z[:, :2] * 2, z), "3"),
    "nested": (lambda z, A: {"heads": {"age": age(z), "findings": [z[:, :2], z]}}, "heads.findings.1"),
    "object": (lambda z, A: SimpleNamespace(age=age(z), diagnosis=z), "diagnosis"),
    "a key that does not fit": (lambda z, A: {"logits": z[:, :3], "diagnosis": z}, "diagnosis"),
    "whole numbers beside": (lambda z, A: {"classes": z.argmax(1), "diagnosis": z}, "diagnosis"),
    "a loss beside": (lambda z, A: {"loss": z.mean(), "diagnosis": z}, "diagnosis"),
}


def right(x: Tensor, net: Several, **kwargs: Any) -> cfcam.Explanation:
    bare = Several(lambda z, A: z).eval()
    bare.load_state_dict(net.state_dict())
    return cfcam.explain(bare, x, ["grad-cam", "score-cam"], **kwargs)


def same(found: cfcam.Explanation, expected: cfcam.Explanation) -> None:
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.maps, expected.maps)
    torch.testing.assert_close(found.probabilities, expected.probabilities)


@pytest.mark.parametrize("kind", BY_NAMES)
@pytest.mark.parametrize("n", [1, 2])
def test_the_head_that_has_as_many_classes_as_names(kind: str, n: int, x: Tensor) -> None:
    make, path = BY_NAMES[kind]
    net, x = Several(make).eval(), x[:n]
    e = cfcam.explain(net, x, ["grad-cam", "score-cam"], classes=NAMES, targets=["b", "d"])
    same(e, right(x, net, targets=[1, 3]))
    assert e.provenance["output"] == path


@pytest.mark.parametrize("kind", BY_NAMES)
def test_the_head_that_is_named(kind: str, x: Tensor) -> None:
    make, path = BY_NAMES[kind]
    net = Several(make).eval()
    output = int(path) if path.isdecimal() else path
    e = cfcam.explain(net, x, ["grad-cam", "score-cam"], targets=1, output=output)
    same(e, right(x, net, targets=1))
    assert e.provenance["output"] == path


def test_a_head_is_named_by_its_place_or_its_last_part(x: Tensor) -> None:
    net = Several(BY_NAMES["nested"][0]).eval()
    expected = right(x, net, targets=1)
    for output in ("heads.findings.1", "findings.1", "1"):
        if output == "findings.1":
            with pytest.raises(OutputError, match=r"no output 'findings.1'.*'heads.age' \(1, 1\)"):
                cfcam.explain(net, x, "grad-cam", targets=1, output=output)
        else:
            same(cfcam.explain(net, x, ["grad-cam", "score-cam"], targets=1, output=output), expected)
    pair = Several(BY_NAMES["named tuple"][0]).eval()
    for choice in ("main", 1, "1"):
        assert cfcam.explain(pair, x, "grad-cam", targets=1, output=choice).provenance["output"] == "main"


STANDARD: dict[str, Make] = {
    "torchvision": lambda z, A: {"out": z, "aux": 2 * z},
    "auxiliary first": lambda z, A: {"aux": 2 * z, "out": z},
    "GoogLeNet": lambda z, A: Google(z, 2 * z, 3 * z),
    "logits and predictions": lambda z, A: {"predictions": z.softmax(1), "logits": z},
    "same tensor twice": lambda z, A: {"logit": z, "alias": z},
    "one in a list": lambda z, A: [z],
    "None first": lambda z, A: (None, z),
    "maps beside": lambda z, A: (z, A),
    "hidden states": lambda z, A: {"hidden_states": (A, z[:, :2]), "score": z},
}


@pytest.mark.parametrize("kind", STANDARD)
def test_outputs_that_need_no_choice(kind: str, x: Tensor) -> None:
    net = Several(STANDARD[kind]).eval()
    same(cfcam.explain(net, x, ["grad-cam", "score-cam"]), right(x, net))


AMBIGUOUS: dict[str, Make] = {
    "dict": lambda z, A: {"age": age(z), "diagnosis": z},
    "tuple": lambda z, A: (z, 2 * z),
    "list of one size": lambda z, A: [2 * z, z],
    "a segmentation beside": lambda z, A: (z[:, :, None, None].expand(-1, -1, 12, 10), z),
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
@pytest.mark.parametrize("layer", [None, "f"])
def test_never_the_first_by_accident(kind: str, layer: str | None, x: Tensor) -> None:
    net = Several(AMBIGUOUS[kind]).eval()
    with pytest.raises(OutputError, match=r"several could be the class scores") as error:
        cfcam.explain(net, x, "grad-cam", layer=layer)
    text = str(error.value)
    assert "\n" not in text
    assert "(2, 4)" in text or "(1, 4)" in text
    assert "output=" in text
    assert "--head" in text


def test_targets_tell_too(x: Tensor) -> None:
    net = Several(lambda z, A: {"age": age(z), "diagnosis": z}).eval()
    for target in (3, "top-4", torch.tensor([3, 2]), cfcam.Contrast(0, 3), "output-2"):
        e = cfcam.explain(net, x, "grad-cam", targets=target)
        assert e.provenance["output"] == "diagnosis"
    dense = Several(lambda z, A: (z, z[:, :, None, None].expand(-1, -1, 12, 10))).eval()
    e = cfcam.explain(dense, x, "grad-cam", targets=cfcam.Segmentation(1, torch.ones(12, 10)), layer="f")
    assert e.provenance["output"] == "1"


def test_a_place_may_be_counted_from_the_end(x: Tensor) -> None:
    net = Several(lambda z, A: [z, 2 * z, 3 * z]).eval()
    for place, factor in ((-1, 3), (-3, 1), (1, 2)):
        e = cfcam.explain(net, x, "grad-cam", targets=1, output=place)
        torch.testing.assert_close(e.scores[:, 0], factor * net.z(x)[:, 1].detach())
    with pytest.raises(OutputError, match="no output -4"):
        cfcam.explain(net, x, "grad-cam", output=-4)


def test_names_that_fit_nothing(x: Tensor) -> None:
    net = Several(lambda z, A: {"age": age(z), "diagnosis": z}).eval()
    with pytest.raises(
        OutputError, match=r"'age' \(1, 1\), 'diagnosis' \(1, 4\), of which none fits \(7 class names\)"
    ):
        cfcam.explain(net, x[:1], "grad-cam", classes=list("abcdefg"))
    with pytest.raises(OutputError, match=r"there is no output 'nonsense'; the network returns 'age'"):
        cfcam.explain(net, x, "grad-cam", output="nonsense")
    with pytest.raises(OutputError, match=r"returns one tensor \(1, 4\): leave it out"):
        cfcam.explain(Several(lambda z, A: z).eval(), x, "grad-cam", output="diagnosis")


def test_the_head_of_one_call_is_not_that_of_the_next(x: Tensor) -> None:
    explainer = cfcam.Explainer(Several(lambda z, A: {"age": age(z), "diagnosis": z}).eval(), "grad-cam")
    assert explainer(x, 3).provenance["output"] == "diagnosis"
    with pytest.raises(OutputError, match="several could be"):
        explainer(x, 0)


def test_a_probability_in_one_head(x: Tensor) -> None:
    net = Several(lambda z, A: {"attention": z[:, :3].softmax(1), "diagnosis": z.softmax(1), "raw": z[:, :2]}).eval()
    e = cfcam.explain(net, x, ["grad-cam", "score-cam"], classes=NAMES)
    same(e, right(x, net))
    assert e.provenance["probability"] == "given (softmax at the end)"
    raw = cfcam.explain(net, x, "grad-cam", output="raw")
    assert raw.provenance["probability"] == "softmax"
    torch.testing.assert_close(raw.probabilities, net.z(x)[:, :2].softmax(1).detach())


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_as_many_names_as_classes(count: int, x: Tensor) -> None:
    net = Several(lambda z, A: z).eval()
    names = [f"n{i}" for i in range(count)]
    calls: list[Callable[[], Any]] = [
        lambda: cfcam.explain(net, x, "grad-cam", classes=names),
        lambda: cfcam.explain(net, x, "grad-cam", classes="".join(n[1] for n in names)),
        lambda: cfcam.Explainer(net, "grad-cam", classes=names, layer="f")(x, 0),
        lambda: cfcam.evaluate(net, [(x[0], 0)], "grad-cam", "average-drop", classes=names),
    ]
    for call in calls:
        with pytest.raises(TargetError, match=rf"{count} class names? for a network with 4 classes: give one name"):
            call()
    assert cfcam.diagnose(net, x, classes=names)["classes"].severity == "problem"


def test_names_of_a_single_logit(x: Tensor) -> None:
    net = Several(lambda z, A: z[:, :1]).eval()
    assert cfcam.explain(net, x, "grad-cam", classes=["no", "yes"]).label(0, 0) in ("no", "yes")
    with pytest.raises(TargetError, match=r"1 class name for a network with 2 classes \(a single score"):
        cfcam.explain(net, x, "grad-cam", classes=["yes"])
    number = cfcam.explain(net, x, "grad-cam", classes=["age"], targets="output-0")
    assert number.label(0, 0) == "output 0"


@pytest.mark.parametrize("names", [{"a": 0}, 4, [0, 1, 2, 3]])
def test_names_that_are_no_names(names: Any, x: Tensor) -> None:
    with pytest.raises(TargetError, match=r"give a list of names|class name is text"):
        cfcam.explain(Several(lambda z, A: z).eval(), x, "grad-cam", classes=names)


# --- callables, and what is squeezed ---------------------------------------------------------------------------------


def detections(z: Tensor, A: Tensor) -> list[dict[str, Tensor]]:
    return [{"boxes": torch.zeros(n + 1, 4), "scores": row[0].expand(n + 1)} for n, row in enumerate(z)]


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("layer", [None, "f"])
def test_a_callable_needs_no_logits(n: int, layer: str | None, x: Tensor) -> None:
    net, x = Several(detections).eval(), x[:n]

    def best(output: Any) -> Tensor:
        return torch.stack([one["scores"].max() for one in output])

    e = cfcam.explain(net, x, ["grad-cam", "score-cam", "occlusion"], targets=best, layer=layer)
    bare = right(x, net, targets=0)
    torch.testing.assert_close(e.scores, bare.scores)
    torch.testing.assert_close(e.maps["grad-cam"], bare.maps["grad-cam"])
    assert e.probabilities is None
    assert e.logits.shape == (n, 0)
    with pytest.raises(OutputError, match=r"returned a list for each image without .*'0.boxes'.*give a callable"):
        cfcam.explain(net, x, "grad-cam", layer=layer)
    per_image = cfcam.PerImage(lambda out, images: best(out)) if hasattr(cfcam, "PerImage") else best
    cfcam.explain(net, x, "grad-cam", targets=[per_image, best])


def test_a_callable_on_several_heads_needs_no_choice(x: Tensor) -> None:
    net = Several(lambda z, A: {"age": age(z), "diagnosis": z}).eval()
    e = cfcam.explain(net, x, "grad-cam", targets=lambda out: out["age"][:, 0])
    torch.testing.assert_close(e.scores[:, 0], net(x)["age"][:, 0].detach())
    with pytest.raises(CfcamError):
        cfcam.explain(net, x, "grad-cam", targets=[lambda out: out["age"][:, 0], 0])


@pytest.mark.parametrize(
    "make",
    [
        lambda z, A: z[:, :1].squeeze(),
        lambda z, A: {"logits": z[:, 0].squeeze()},
        lambda z, A: z[:, :1].squeeze().sigmoid(),
        lambda z, A: z[:, 0],
    ],
)
@pytest.mark.parametrize("n", [1, 2])
def test_a_squeezed_logit(make: Make, n: int, x: Tensor) -> None:
    net, x = Several(make).eval(), x[:n]
    e = cfcam.explain(net, x, ["grad-cam", "score-cam"], targets=1)
    torch.testing.assert_close(e.scores, net.z(x)[:, :1].detach())
    assert e.probabilities.shape == (n, 2)


def test_squeezed_classes_of_one_image(x: Tensor) -> None:
    net = Several(lambda z, A: z.squeeze()).eval()
    same(cfcam.explain(net, x[:1], ["grad-cam", "score-cam"]), right(x[:1], net))


def test_classes_instead_of_logits(x: Tensor) -> None:
    with pytest.raises(OutputError, match=r"returns torch.int64 \(1,\) for class scores"):
        cfcam.explain(Several(lambda z, A: z.argmax(1)).eval(), x, "grad-cam")


def test_numbers_at_places_are_no_class_scores() -> None:
    """A depth of each place, of the input's size, is not one class's score there."""

    class Depth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c = nn.Conv2d(3, 1, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"predicted_depth": self.c(x)[:, 0]}

    x = torch.rand(1, 3, 8, 8)
    said = r"'predicted_depth' \(1, 8, 8\), a depth for each place and no class scores"
    with pytest.raises(OutputError, match=said) as error:
        cfcam.explain(Depth(), x, "hires-cam", layer="c")
    target = eval(str(error.value).partition("targets=")[2])  # noqa: S307 (what it says to do)
    e = cfcam.explain(Depth(), x, "hires-cam", layer="c", targets=target)
    assert e.maps["hires-cam"].shape == (1, 1, 8, 8)
