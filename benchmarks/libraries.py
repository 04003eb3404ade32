"""Each library used as its documentation says, behind one signature.

An adapter takes a `Scene` and returns the call that is timed. The call returns maps (N, K, h, w) by method, larger for
more evidence; a library's own normalisation and upsampling are left in, since its users pay for them.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import SimpleNamespace

import torch
from torch import Tensor, nn

import cfcam
from benchmarks import operators
from cfcam.methods.base import Method

Maps = dict[str, Tensor]
Call = Callable[[], Maps]

MODULES = {"captum": "captum.attr", "torch-cam": "torchcam.methods", "monai": "monai.visualize"}
MODULES["pytorch-grad-cam"] = "pytorch_grad_cam"


@dataclass(frozen=True)
class Scene:
    """What is explained. Every competitor has a model of its own: hooks that one leaves behind cost nobody else."""

    model: nn.Module
    layer: str
    head: str
    x: Tensor
    targets: tuple[int, ...]

    @property
    def module(self) -> nn.Module:
        return self.model.get_submodule(self.layer)


Adapter = Callable[[Scene], Call]


@cache
def reason_to_skip(library: str) -> str | None:
    """Returns why a library cannot be imported; None if it can. ``CFCAM_PEERS`` is a folder to look in as well."""
    folder = os.environ.get("CFCAM_PEERS")
    if folder:
        operators.declare()
        if folder not in sys.path:  # a spawned process has inherited it
            sys.path.append(folder)
    if library not in MODULES:
        return None
    try:
        importlib.import_module(MODULES[library])
    except Exception as error:  # noqa: BLE001 (a library may fail to import in any way)
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def forward(scene: Scene) -> Call:
    def call() -> Maps:
        with torch.inference_mode():
            scene.model(scene.x)
        return {}

    return call


def ours(scene: Scene, methods: Sequence[str | Method]) -> Call:
    explainer = cfcam.Explainer(scene.model, methods, layer=scene.layer)
    return lambda: explainer(scene.x, list(scene.targets)).maps


def captum(scene: Scene) -> Call:
    from captum.attr import LayerGradCam

    explainer = LayerGradCam(scene.model, scene.module)

    def call() -> Maps:
        maps = [explainer.attribute(scene.x, target=c, relu_attributions=True) for c in scene.targets]
        return {"grad-cam": torch.cat(maps, 1).detach()}

    return call


def torch_cam(scene: Scene, kind: str, name: str) -> Call:
    """One forward pass, and a backward pass (or the masked passes) for each target."""
    from torchcam import methods

    options = {"CAM": {"fc_layer": scene.head}}.get(kind, {})
    extractor = getattr(methods, kind)(scene.model, target_layer=scene.layer, **options)
    backward = kind.startswith("Grad")

    def call() -> Maps:
        with torch.inference_mode(not backward):
            scores = scene.model(scene.x)
        keep = [{"retain_graph": c != scene.targets[-1]} if backward else {} for c in scene.targets]
        maps = [extractor(c, scores, **extra)[0] for c, extra in zip(scene.targets, keep, strict=True)]
        return {name: torch.stack(maps, 1)}

    return call


def monai(scene: Scene, kind: str, name: str, looped: bool = False) -> Call:
    """All of a pass for each target; its normalisation maps the largest value to 0, which is undone here."""
    from monai import visualize

    options = {"CAM": {"fc_layers": scene.head}}.get(kind, {})
    explainer = getattr(visualize, kind)(nn_module=scene.model, target_layers=scene.layer, **options)
    batches = scene.x.split(1) if looped else [scene.x]

    def one(x: Tensor, target: int) -> Tensor:
        index = [target] * len(x) if kind == "CAM" else target
        return 1 - explainer(x=x, class_idx=index).detach()

    def call() -> Maps:
        return {name: torch.cat([torch.cat([one(x, c) for x in batches]) for c in scene.targets], 1)}

    return call


def pytorch_grad_cam(scene: Scene, kind: str, name: str) -> Call:
    """All of a pass for each target."""
    import pytorch_grad_cam as library
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    if kind == "ScoreCAM":  # its progress bar is no part of the method
        library.score_cam.tqdm = SimpleNamespace(tqdm=lambda steps: steps)
    explainer = getattr(library, kind)(model=scene.model, target_layers=[scene.module])

    def call() -> Maps:
        maps = [
            explainer(input_tensor=scene.x, targets=[ClassifierOutputTarget(c)] * len(scene.x)) for c in scene.targets
        ]
        return {name: torch.stack([torch.from_numpy(m) for m in maps], 1)}

    return call


def one_after_another(scene: Scene, adapters: Sequence[Adapter]) -> Call:
    calls = [adapter(scene) for adapter in adapters]
    return lambda: {name: maps for call in calls for name, maps in call().items()}


PEERS: dict[str, dict[str, Adapter]] = {
    "cam": {
        "torch-cam": partial(torch_cam, kind="CAM", name="cam"),
        "monai": partial(monai, kind="CAM", name="cam"),
    },
    "grad-cam": {
        "captum": captum,
        "torch-cam": partial(torch_cam, kind="GradCAM", name="grad-cam"),
        "monai": partial(monai, kind="GradCAM", name="grad-cam"),
        "pytorch-grad-cam": partial(pytorch_grad_cam, kind="GradCAM", name="grad-cam"),
    },
    "grad-cam++": {
        "torch-cam": partial(torch_cam, kind="GradCAMpp", name="grad-cam++"),
        # Its exp(score) (N,) is broadcast against gradients (N, C, h, w): an error, or mixed images where N is w.
        "monai": partial(monai, kind="GradCAMpp", name="grad-cam++", looped=True),
        "pytorch-grad-cam": partial(pytorch_grad_cam, kind="GradCAMPlusPlus", name="grad-cam++"),
    },
    "score-cam": {
        "torch-cam": partial(torch_cam, kind="ScoreCAM", name="score-cam"),
        "pytorch-grad-cam": partial(pytorch_grad_cam, kind="ScoreCAM", name="score-cam"),
    },
}


def pearson(ours: Tensor, theirs: Tensor) -> float:
    """Returns the smallest correlation of two sets of maps (N, K, h, w) over images and targets.

    If theirs are larger, ours are upsampled to their size, as theirs were.
    """
    if ours.shape[2:] != theirs.shape[2:]:
        ours = nn.functional.interpolate(ours, size=theirs.shape[2:], mode="bilinear", align_corners=False)
    a, b = (m.detach().cpu().double().flatten(2) for m in (ours, theirs))
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    return float(((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).min())
