"""What a scorecard examines: a network, the methods that explain it, and the networks that it is compared with."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from cfcam.capture import Capture, Network, automatic_layer
from cfcam.errors import LayerError, MethodError
from cfcam.methods.base import Method
from cfcam.metrics.functional import sanity
from cfcam.metrics.scorecard.catalogue import MetricError
from cfcam.metrics.scorecard.settings import Settings


class Subject:
    """A network and the methods whose maps of it are measured; it is never changed.

    Args:
        network: the network.
        methods: name -> method, controls included.
        settings: how the numbers are computed.
        layer: name of the target layer; None: chosen on the first batch.
        classes: class names.
        networks: metric -> the second network that it compares with, or None; of "repeatability" and "reproducibility".
        controls: which of the methods are there for comparison alone. At the network's own input those that map the
            output of a layer are left out.

    Attributes:
        costs: method -> what it costs by itself, in the units of the catalogue; None before it was measured.
        notes: what the user should know.

    Raises:
        LayerError: there is no such layer.
    """

    def __init__(
        self,
        network: Network,
        methods: Mapping[str, Method],
        settings: Settings,
        *,
        layer: str | None = None,
        classes: Sequence[str] | None = None,
        networks: Mapping[str, nn.Module | None] | None = None,
        controls: Sequence[str] = (),
    ) -> None:
        self.network = network
        self.methods = dict(methods)
        self.settings = settings
        self.classes = classes
        self.networks = dict(networks or {})
        self.costs: dict[str, dict[str, float]] | None = None
        self.notes: list[str] = []
        self._controls = tuple(controls)
        self._probed = any(method.uses_gradients for name, method in self.methods.items() if name not in self._controls)
        self._layer = None if layer is None else network.find(layer)[0]
        if self._layer == network.input_layer:
            self._leave_out_controls()
        self._others: dict[str, tuple[Network, str]] = {}
        self._randomised: list[Network] | None = None

    @property
    def layer_name(self) -> str | None:
        """The target layer's name; None before the first batch, if none was given."""
        return self._layer

    def layer(self, x: Tensor) -> str:
        """Returns the name of the target layer, chosen on the first batch (N, C, *spatial) if none was named."""
        if self._layer is None:
            try:
                self._layer = automatic_layer(self.network, x, classes=self.classes)
            except LayerError:
                if any(method.needs_layer for name, method in self.methods.items() if name not in self._controls):
                    raise
                self._layer = self.network.input_layer
                self._leave_out_controls()
        if not self._probed:
            self._probed = True
            self._leave_out_gradients(x, self._layer)
        return self._layer

    def told(self) -> list[str]:
        """Returns what the user should know of the network and of what is measured."""
        return [*self.notes, *self.network.record().get("notes", [])]

    def _leave_out_controls(self) -> None:
        if lost := [name for name in self._controls if self.methods[name].needs_layer]:
            self.methods = {name: method for name, method in self.methods.items() if name not in lost}
            self.notes.append(
                f"without the controls {' and '.join(lost)}: they map the output of a layer, and what is measured here"
                " are maps of the input itself"
            )

    def _leave_out_gradients(self, x: Tensor, layer: str) -> None:
        """Takes the controls away that need gradients, of a network that has none and that only others explain."""
        lost = [name for name in self._controls if name in self.methods and self.methods[name].uses_gradients]
        if not lost:
            return
        try:
            with (capture := Capture(self.network, x, layer=layer, targets="predicted", classes=self.classes)).quiet():
                self.methods[lost[0]].maps(capture)
        except (LayerError, MethodError):
            self.methods = {name: method for name, method in self.methods.items() if name not in lost}
            self.notes.append(
                f"without the controls {' and '.join(lost)}: they need gradients, and there are none from the score to"
                f" layer {layer!r}"
            )

    def capture(self, x: Tensor, targets: Any, network: Network | None = None, layer: str | None = None) -> Capture:
        """Returns a capture of (N, C, *spatial) inputs, of this network, a changed copy of it, or another one."""
        return Capture(network or self.network, x, layer=layer or self.layer(x), targets=targets, classes=self.classes)

    def maps(self, capture: Capture, methods: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Returns raw maps (N, K, *layer_spatial) by method name."""
        with capture.quiet():
            return {name: self.methods[name].maps(capture) for name in (self.methods if methods is None else methods)}

    def second(self, metric: str, x: Tensor) -> tuple[Network, str]:
        """Returns the network that a trust metric compares with, and its layer."""
        if metric not in self._others:
            model = self.networks.get(metric)
            if model is None:
                raise MetricError(f"{metric} needs a second network")
            network = Network(model, self.network.probability, self.network.output)
            self._others[metric] = (network, automatic_layer(network, x))
        return self._others[metric]

    def randomised(self, x: Tensor) -> list[Network]:
        """Returns copies of the network, randomised ever further down from the classifier; made once."""
        if self._randomised is None:
            model, chosen = self.network.model, self.settings
            # Fresh parameters would leave a deep network without normalisation layers hardly any positive map.
            cascade = sanity.randomised(model, seed=chosen.seed, most=chosen.stages, sample=x, reset=False)
            self._randomised = [
                Network(copy.deepcopy(stage), self.network.probability, self.network.output) for _, stage in cascade
            ]
        return self._randomised
