"""``python -m benchmarks libraries --claims``: what is said of other libraries, run again, with versions and the date.

The pages of docs/from/ say call by call what is equal; here each line of them is run with both libraries, and each
class of a library on pictures and on volumes: whether it runs, and how near its map is to ours at the layer's size.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import re
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cfcam
from benchmarks.libraries import MODULES, reason_to_skip
from cfcam import methods
from cfcam.capture.layers.placement import LINEAR

PAGES = Path(__file__).parents[1] / "docs" / "from"
PACKAGES = {"pytorch-grad-cam": "grad-cam", "torch-cam": "torchcam", "captum": "captum", "monai": "monai"}
EQUAL, DIFFERS = 1e-5, 1e-3
"""Of maps stretched from 0 to 1: less apart is equal, more apart differs."""
UP_TO_SIGN = "equal up to its sign"

_ROW = re.compile(
    r"^\| `(.+?)` \| `(.+?)` \| (equal values|equal before ReLU|equal up to its sign|equal|differs)\b(.*?) \|$"
)
_CLASSES = {
    "pytorch-grad-cam": {
        "GradCAM": "grad-cam", "GradCAMPlusPlus": "grad-cam++", "XGradCAM": "xgrad-cam", "HiResCAM": "hires-cam",
        "LayerCAM": "layer-cam", "GradCAMElementWise": "layer-cam", "KPCA_CAM": "kpca-cam", "EigenCAM": "eigen-cam",
        "EigenGradCAM": "eigen-grad-cam", "ShapleyCAM": "shapley-cam", "ScoreCAM": "score-cam",
        "AblationCAM": "ablation-cam", "FullGrad": "full-grad",
    },
    "torch-cam": {
        "CAM": "cam", "GradCAM": "grad-cam", "GradCAMpp": "grad-cam++", "XGradCAM": "xgrad-cam",
        "LayerCAM": "layer-cam", "ScoreCAM": "score-cam",
    },
    "monai": {"CAM": "cam", "GradCAM": "grad-cam", "GradCAMpp": "grad-cam++"},
}  # fmt: skip

_VERDICTS = {"CAM": "equal before ReLU", "KPCA_CAM": UP_TO_SIGN, "EigenGradCAM": UP_TO_SIGN}
"""What is compared of a class whose map is not simply equal."""


@dataclass(frozen=True)
class Line:
    """A line of a page: two calls, and what is said of their numbers."""

    page: str
    theirs: str
    ours: str
    verdict: str


def lines() -> Iterator[Line]:
    """Yields the lines of all pages that hold two calls."""
    for page in PACKAGES:
        for text in (PAGES / f"{page}.md").read_text(encoding="utf-8").splitlines():
            if found := _ROW.match(text):
                yield Line(page, *found.groups()[:3])


class Small(nn.Module):
    """Convolutions, a ReLU, pooling and a linear layer, in two or three dimensions; scores are not near 0."""

    def __init__(self, axes: int = 2, seed: int = 0) -> None:
        super().__init__()
        convolution, pooling = (nn.Conv2d, nn.AdaptiveAvgPool2d) if axes == 2 else (nn.Conv3d, nn.AdaptiveAvgPool3d)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stem = nn.Sequential(convolution(3, 8, 3, padding=1, stride=2), nn.ReLU())
            self.layer4 = nn.Sequential(convolution(8, 12, 3, padding=1, stride=2), nn.ReLU())
            self.pool, self.fc = pooling(1), nn.Linear(12, 5)
            for one in self.modules():
                if isinstance(one, (convolution, nn.Linear)):
                    one.weight.data *= 4  # so that scores, and the gradients of them, are not all near 0
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.layer4(self.stem(x))).flatten(1))


class Normalised(nn.Module):
    """Convolutions with batch normalisation as they are at initialisation, whose scores are near 0."""

    def __init__(self, axes: int = 2, seed: int = 0) -> None:
        super().__init__()
        kinds = (nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d), (nn.Conv3d, nn.BatchNorm3d, nn.AdaptiveAvgPool3d)
        convolution, norm, pooling = kinds[axes - 2]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stem = nn.Sequential(convolution(3, 8, 3, padding=1, stride=2), norm(8), nn.ReLU())
            self.layer4 = nn.Sequential(convolution(8, 24, 3, padding=1, stride=2), norm(24), nn.ReLU())
            self.pool, self.fc = pooling(1), nn.Linear(24, 5)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.layer4(self.stem(x))).flatten(1))


def batch(axes: int = 2, seed: int = 0) -> Tensor:
    """Returns two images (2, 3, *spatial)."""
    return torch.randn(2, 3, *((32, 32) if axes == 2 else (16,) * 3), generator=torch.Generator().manual_seed(seed))


def run(line: Line, *, axes: int = 2, seed: int = 0, network: type[nn.Module] = Small) -> tuple[Tensor, Tensor]:
    """Returns the maps of both calls of a line, (N, *spatial) each, as its verdict compares them."""
    x = batch(axes, seed)
    theirs = _plain(_called(line.theirs, _of_library(line.page), x, network(axes, seed)), line.page)
    own = {name: getattr(methods, name) for name in methods.__all__} | {"cfcam": cfcam}
    (ours,) = _called(line.ours, own, x, network(axes, seed)).maps.values()
    ours = ours[:, 0]
    if line.verdict == "equal values" or line.page == "captum":
        scale = ours.abs().max()
        return theirs / scale, ours / scale
    if line.verdict == UP_TO_SIGN:
        theirs = stretched(_sized(theirs, x))
        return theirs, _of_nearer_sign(theirs, *(stretched(_sized((s * ours).clamp(min=0), x)) for s in (1, -1)))
    if line.verdict != "equal before ReLU":
        ours = ours.clamp(min=0)
    return stretched(_sized(theirs, x)), stretched(_sized(ours, x))


def apart(theirs: Tensor, ours: Tensor) -> float:
    """Returns the largest difference of two sets of maps."""
    return float((theirs - ours).abs().max())


def stretched(maps: Tensor) -> Tensor:
    """Returns maps (N, *spatial) stretched from 0 to 1, each by itself."""
    shape = (-1, *[1] * (maps.ndim - 1))
    low, high = maps.flatten(1).amin(1).view(shape), maps.flatten(1).amax(1).view(shape)
    return (maps - low) / torch.where(high > low, high - low, 1)


def _of_nearer_sign(theirs: Tensor, as_is: Tensor, turned: Tensor) -> Tensor:
    """Returns of each image whichever of two maps is nearer to theirs."""
    pairs = zip(theirs, as_is, turned, strict=True)
    return torch.stack([min(own, other, key=lambda one: apart(map_, one)) for map_, own, other in pairs])


def _sized(maps: Tensor, x: Tensor) -> Tensor:
    mode = LINEAR[x.ndim - 2]
    return F.interpolate(maps[:, None], size=x.shape[2:], mode=mode, align_corners=False)[:, 0]


def _of_library(page: str) -> dict[str, Any]:
    if (why := reason_to_skip(page)) is not None:
        raise ModuleNotFoundError(why)
    if page == "pytorch-grad-cam":
        targets = import_module("pytorch_grad_cam.utils.model_targets")
        return {**vars(import_module("pytorch_grad_cam")), "one": [targets.ClassifierOutputTarget(1)] * 2}
    return vars(import_module(MODULES[page]))


def _called(call: str, names: dict[str, Any], x: Tensor, model: nn.Module) -> Any:
    """Each call has a network of its own: hooks that one leaves behind change nothing for the other."""
    with warnings.catch_warnings(), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        return eval(call, {**names, "model": model, "x": x.clone()})  # noqa: S307 (a line of our own page)


def _plain(found: Any, page: str) -> Tensor:
    """What a library returned, as maps (N, *spatial), the greatest evidence highest."""
    if isinstance(found, list):
        (found,) = found
    maps = torch.from_numpy(np.asarray(found)) if not isinstance(found, Tensor) else found.detach()
    if page == "monai":
        return 1 - maps[:, 0]
    return maps.sum(1) if page == "captum" else maps


def _class_rows(library: str) -> Iterator[list[str]]:
    for name, ours in _CLASSES[library].items():
        row = [name]
        for axes in (2, 3):
            call = f'cfcam.explain(model, x, "{ours}", targets=1, layer="layer4")'
            line = Line(library, _use(library, name), call, _VERDICTS.get(name, "equal"))
            try:
                row.append(f"runs; {_near(apart(*run(line, axes=axes)))}")
            except Exception as error:  # noqa: BLE001 (whatever it raises is the finding)
                row.append(f"{type(error).__name__}: {' '.join(str(error).split())[:70]}")
        yield row


def _near(distance: float) -> str:
    return "equal" if distance < EQUAL else f"up to {distance:.2g} apart" if distance == distance else "NaN"


def _use(library: str, name: str) -> str:
    if library == "pytorch-grad-cam":
        return f"{name}(model=model, target_layers=[model.layer4])(input_tensor=x, targets=one)"
    if library == "torch-cam":
        fc = ', fc_layer="fc"' if name == "CAM" else ""
        return f'{name}(model, target_layer="layer4"{fc})(1, model(x))'
    fc, index = (', fc_layers="fc"', "[1, 1]") if name == "CAM" else ("", "1")
    return f'{name}(nn_module=model, target_layers="layer4"{fc})(x=x, class_idx={index})'


def main(arguments: argparse.Namespace) -> None:
    """Writes ``claims.md``."""
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    told = [
        "# What is said of other libraries, run again",
        "",
        f"`python -m benchmarks libraries --claims`, {date}; torch {torch.__version__}, cfcam {cfcam.__version__}.",
    ]
    for library, package in PACKAGES.items():
        if (why := reason_to_skip(library)) is not None:
            told += ["", f"## {library}: not run ({why})"]
            continue
        version = importlib.metadata.version(package)
        told += ["", f"## {library} {version}", "", "| its call | ours | said | found |", "|---|---|---|---|"]
        for line in lines():
            if line.page == library:
                told.append(f"| `{line.theirs}` | `{line.ours}` | {line.verdict} | {_near(apart(*run(line)))} |")
        if library in _CLASSES:
            told += ["", "| class | two images, 2-D | two volumes, 3-D |", "|---|---|---|"]
            told += [f"| `{name}` | {flat} | {deep} |" for name, flat, deep in _class_rows(library)]
    text = "\n".join(told) + "\n"
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "claims.md").write_text(text, encoding="utf-8")
    print(text)
