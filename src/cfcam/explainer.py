"""A model, images and names of methods in; an Explanation out."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from cfcam._version import __version__
from cfcam.capture import Capture, Network, automatic_layer, probabilities
from cfcam.capture.alone import TOGETHER, mixed, one_by_one
from cfcam.capture.answers.probabilities import Probability
from cfcam.capture.inputs import check_type
from cfcam.capture.mixing import runs_alone
from cfcam.capture.targets.classes import class_names, wanted_of
from cfcam.capture.targets.scores import boxes_of, function_name
from cfcam.errors import LayerError
from cfcam.explanation import Explanation
from cfcam.methods import named_methods
from cfcam.methods.base import Methods

DEFAULT_METHODS = ("cf-cam", "grad-cam")
MEASURED = "measured"


class Explainer:
    """Explains one model again and again; its layer is chosen once.

    Args:
        model: any `torch.nn.Module` that classifies images; it is never changed.
        methods: names (see `cfcam.list_methods`), instances, or a mapping from your own names to these.
        layer: dotted name (``"layer4"``, ``"layer4[-1]"``) or module whose output is mapped; None: the last layer with
            a spatial extent, found by one probing pass of the first image of each input size (where there is none, and
            no method maps a layer: the input itself); "input": the network's own input; "measured": the one that
            `cfcam.metrics.measure_layers` puts first on the first images of each input size.
        classes: class names, so that targets can be given and shown by name.
        probability: how the output is read: "softmax", "sigmoid" (multi-label), "given" (it is probabilities already)
            or "auto" (as the network ends; else softmax, and sigmoid for a single logit).
        output: which tensor holds the class scores, if the network returns several: a key, a place, or a dotted path of
            these; None: the one that fits class names and targets.
        fingerprint: put the SHA-256 of the model's weights into the provenance (about 0.1 s for 100 MB, once).

    Raises:
        MethodError: a method is unknown.
        LayerError: the named layer does not exist; the nearest names are offered.
    """

    def __init__(
        self,
        model: nn.Module,
        methods: Methods = DEFAULT_METHODS,
        *,
        layer: str | nn.Module | None = None,
        classes: Sequence[str] | None = None,
        probability: Probability = "auto",
        output: str | int | None = None,
        fingerprint: bool = False,
    ) -> None:
        self.methods = named_methods(methods)
        self.classes = class_names(classes)
        self._network = Network(model, probability, output)
        self._network.want = wanted_of([], self.classes)
        self._measured = isinstance(layer, str) and layer == MEASURED
        self._layer = None if layer is None or self._measured else self._network.find(layer)[0]
        self._automatic: dict[tuple[int, ...], str] = {}
        self._layerless: set[tuple[int, ...]] = set()  # input sizes for which none can be chosen
        self._fingerprint = fingerprint
        self._hashed: tuple[Any, str] | None = None

    def __enter__(self) -> Explainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Forgets the layers chosen; there is nothing to undo on the model, whose hooks live for one pass only."""
        self._automatic.clear()
        self._layerless.clear()

    def layer_for(self, x: Tensor, targets: Any = None) -> str:
        """Returns the name of the target layer for inputs shaped like ``x`` (N, C, *spatial).

        Args:
            x: of which `"measured"` takes the first eight, or all with targets that are given.
            targets: what `"measured"` looks at, see `__call__`.
        """
        if self._layer is not None:
            return self._layer
        size, needed = tuple(x.shape[1:]), any(method.needs_layer for method in self.methods.values())
        if size in self._layerless and not needed:
            return self._network.input_layer
        if size not in self._automatic:
            try:
                self._automatic[size] = (
                    self._best_measured(x, targets)
                    if self._measured
                    else automatic_layer(self._network, x, targets, self.classes)
                )
            except LayerError:
                if needed:
                    raise
                self._layerless.add(size)
                return self._network.input_layer
        return self._automatic[size]

    def but(self, methods: Methods, layer: str | None = None) -> Explainer:
        """Returns an explainer of the same network with other methods; what is known of the network stays known.

        Args:
            methods: see `Explainer`.
            layer: dotted name of another layer; None: this explainer's.

        Raises:
            MethodError, LayerError: see `Explainer`.
        """
        other = copy(self)
        other.methods = named_methods(methods)
        if layer is not None:
            other._layer, other._measured = self._network.find(layer)[0], False
        return other

    def _best_measured(self, x: Tensor, targets: Any) -> str:
        from cfcam.metrics.scorecard.layers import measured_layer  # the scorecard is for those who ask for it

        images = x[:8] if targets is None else x  # targets may be image by image
        return measured_layer(
            self._network.model,
            images,
            targets,
            classes=self.classes,
            probability=self._network.probability,
            output=self._network.output,
        )

    def __call__(self, x: Tensor, targets: Any = None) -> Explanation:
        """Explains a batch: one forward pass for all methods and all targets.

        Args:
            x: (N, C, H, W) or (N, C, D, H, W), normalised as the model was trained; moved to the model's device.
            targets: None: the predicted class of each image; an int, a name, or a list of these: the same K classes for
                every image; an integer tensor (N,) or (N, K): image by image; "all", "top-3", `TopK`, `AllClasses`; or
                a callable from the model's output to (N,) numbers.

        Raises:
            CfcamError: one of its subclasses, for an input, target, layer or method that does not fit.
        """
        return self.explained(self.capture(x, targets))

    def capture(self, x: Tensor, targets: Any = None) -> Capture:
        """Runs the network on a batch, and keeps what the methods need, see `__call__`; `explained` makes maps of it.

        For other targets of the same pass there is `Capture.asked`.

        Args:
            x: see `__call__`.
            targets: see `__call__`.

        Raises:
            CfcamError: see `__call__`.
        """
        check_type(x)
        return Capture(self._network, x, layer=self.layer_for(x, targets), targets=targets, classes=self.classes)

    def explained(self, capture: Capture) -> Explanation:
        """Explains a pass of this network by this explainer's methods.

        Args:
            capture: of `capture`; a pass is only run again by methods that mask its input.

        Raises:
            CfcamError: a method does not fit.
        """
        if self._network.one_by_one and mixed(capture) and (alone := one_by_one(capture, self.classes)):
            return self._joined([self.explained(one) for one in alone])
        maps: dict[str, list[Tensor]] = {name: [] for name in self.methods}
        with capture.quiet():
            in_parts = {name: method for name, method in self.methods.items() if method.takes_parts}
            for part in capture.split() if in_parts else ():
                for name, method in in_parts.items():
                    maps[name].append(method.maps(part))
            for name, method in self.methods.items():
                if name not in in_parts:  # its masked passes score all targets at once
                    maps[name].append(method.maps(capture))
            logits = capture.logits
            proba = (
                probabilities(logits.float(), self._network.kind()) if logits.ndim == 2 and logits.shape[1] else None
            )
        functions = capture.targets.functions
        notes: dict[str, list[int]] = capture.memo("notes", dict)
        if runs_alone(self._network, len(logits)):
            notes[TOGETHER] = list(range(len(logits)))
        whole = {name: parts[0] if len(parts) == 1 else torch.cat(parts, dim=1) for name, parts in maps.items()}
        placed = {name: capture.placement(found.shape[2:]) for name, found in whole.items()}
        return Explanation(
            maps=whole,
            placements={name: placement for name, placement in placed.items() if placement is not None},
            frames=capture.frame_axis,
            targets=capture.targets.indices,
            scores=capture.scores,
            logits=logits,
            probabilities=proba,
            layer=capture.layer,
            input_size=tuple(capture.input.shape[2:]),
            classes=self.classes,
            target_names=tuple(
                function_name(functions[k]) if k in functions else None for k in range(capture.scores.shape[1])
            ),
            margins=tuple(getattr(functions.get(k), "is_margin", False) for k in range(capture.scores.shape[1])),
            boxes=boxes_of(capture.targets),
            said=tuple(tuple(line for line, images in notes.items() if n in images) for n in range(len(logits))),
            provenance=self._provenance_of(notes, len(logits)),
        )

    def _joined(self, images: Sequence[Explanation]) -> Explanation:
        whole, notes = joined(images), dict[str, list[int]]()
        for n, lines in enumerate(whole.said):
            for line in lines:
                notes.setdefault(line, []).append(n)
        return replace(whole, provenance=self._provenance_of(notes, len(images)))

    def _provenance_of(self, notes: dict[str, list[int]], count: int) -> dict[str, Any]:
        """Returns `provenance`, with what methods noted of some of so many images, as views that were left out."""
        record = self.provenance()
        lines = [
            line if count == 1 else f"{line} (image {', '.join(map(str, images))})" for line, images in notes.items()
        ]
        return record | {"notes": [*record.get("notes", []), *lines]} if lines else record

    def provenance(self) -> dict[str, Any]:
        """Returns what makes the maps, as plain values: methods and their parameters, model, versions."""
        model = self._network.model
        record: dict[str, Any] = {
            "cfcam": __version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "device": str(next((p.device for p in model.parameters()), "cpu")),
            "methods": {name: method.parameters() for name, method in self.methods.items()},
            **self._network.record(),
            "model": {"class": type(model).__name__, "parameters": self._parameters},
        }
        if self._fingerprint:
            record["model"]["sha256"] = self.fingerprint()
        return record

    @cached_property
    def _parameters(self) -> int:
        return sum(p.numel() for p in self._network.model.parameters())

    def fingerprint(self) -> str:
        """Returns the SHA-256 of the model's parameters and buffers (names, types, shapes, bytes)."""
        tensors = self._network.model.state_dict(keep_vars=True)
        version = [(name, t.data_ptr(), 0 if t.is_inference() else t._version) for name, t in tensors.items()]
        if self._hashed is None or self._hashed[0] != version:
            digest = hashlib.sha256()
            for name, tensor in tensors.items():
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
            self._hashed = (version, digest.hexdigest())
        return self._hashed[1]


def joined(images: Sequence[Explanation]) -> Explanation:
    """Returns one explanation of N images from those of each; whatever does not belong to an image is the first's."""

    def cat(tensors: Sequence[Tensor | None]) -> Tensor | None:
        known = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(known) if len(known) == len(images) else None

    first = images[0]
    return replace(
        first,
        maps={method: torch.cat([one.maps[method] for one in images]) for method in first.maps},
        targets=torch.cat([one.targets for one in images]),
        scores=torch.cat([one.scores for one in images]),
        logits=torch.cat([one.logits for one in images]),
        probabilities=cat([one.probabilities for one in images]),
        boxes=cat([one.boxes for one in images]),
        said=sum((one.said for one in images), ()),
    )


def explain(
    model: nn.Module,
    x: Tensor,
    methods: Methods = DEFAULT_METHODS,
    *,
    targets: Any = None,
    layer: str | nn.Module | None = None,
    classes: Sequence[str] | None = None,
    probability: Probability = "auto",
    output: str | int | None = None,
) -> Explanation:
    """Explains a batch of images with several methods, in one forward pass.

    Args:
        model: any `torch.nn.Module` that classifies images; it is never changed.
        x: (N, C, H, W) or (N, C, D, H, W), normalised as the model was trained.
        methods: see `Explainer`.
        targets: see `Explainer.__call__`; None: the predicted class of each image.
        layer: see `Explainer`; None: chosen automatically.
        classes: class names.
        probability: "softmax", "sigmoid" (multi-label), "given" or "auto"; see `Explainer`.
        output: which tensor holds the class scores, if the network returns several; see `Explainer`.

    Returns:
        The raw maps, their heatmaps, statuses, scores and provenance.
    """
    explainer = Explainer(model, methods, layer=layer, classes=classes, probability=probability, output=output)
    return explainer(x, targets)
