"""The result of an explanation: raw maps with what they explain, drawn and judged on demand, saved without loss."""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cfcam import json_text
from cfcam.capture.layers.placement import Placement
from cfcam.errors import CfcamError, shown
from cfcam.files import make_folder, whole, write_whole
from cfcam.maps import RegionShares, check_together, evidence_of, heatmaps_of, shares_of, sides_of, statuses_of
from cfcam.maps.frame import frame_of

_FORMAT = 2
"""2: with placements, which an earlier cfcam would pass over; written only where there are some."""


class ExplanationError(CfcamError, ValueError):
    """An explanation cannot be loaded, or holds no such map."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of N images and K targets by several methods.

    Attributes:
        maps: method -> raw maps (N, K, *layer_spatial); signed where the method is.
        targets: (N, K) int64 class indices; -1 for a callable.
        scores: (N, K) the explained scores (logits, or a callable's numbers).
        logits: (N, classes) the network's class scores, as it returned them; of a network that ends in a softmax or a
            sigmoid those from before it. (N, 0) if it has none.
        probabilities: (N, classes) softmax or sigmoid of the logits, which are those that the network returned if it
            returned probabilities; for a single logit (N, 2); None if the network's output is no vector of classes.
        layer: dotted name of the target layer.
        input_size: *spatial of the network's input, to which heatmaps are interpolated.
        classes: class names, if known.
        target_names: (K,) names of callables; None for classes.
        margins: (K,) whether the score is how far the logit of one class lies above that of another ("a vs b"); () if
            none is.
        provenance: methods' parameters, model, versions: plain values only.
        placements: method -> where the cells of its maps lie on the input, for those that do not share it evenly:
            patches that leave a rim, or pad it.
        frames: axis of the input on which the frames of clips lie, 1 or 2, if the first axis of maps is these; else 0.
        boxes: (N, K, 4) corners x0, y0, x1, y1 of a detector's boxes, in pixels of the input; NaN, or None, of no box.
        said: what methods found out about each image, as views that were left out; saved in the provenance alone.
        pictures: what is shown under the maps, if `with_pictures` was told; it is not saved.
    """

    maps: dict[str, Tensor]
    targets: Tensor
    scores: Tensor
    logits: Tensor
    probabilities: Tensor | None
    layer: str
    input_size: tuple[int, ...]
    classes: tuple[str, ...] | None = None
    target_names: tuple[str | None, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    pictures: tuple[np.ndarray[Any, Any], ...] | None = None
    placements: dict[str, Placement] = field(default_factory=dict)
    frames: int = 0
    margins: tuple[bool, ...] = ()
    boxes: Tensor | None = None
    said: tuple[tuple[str, ...], ...] = ()

    @property
    def methods(self) -> list[str]:
        """The names of the methods, in the order in which they were asked for."""
        return list(self.maps)

    def heatmaps(self, method: str, size: Sequence[int] | None = None) -> Tensor:
        """Returns maps for the eye: (N, K, *size), each in [0, 1].

        The positive part is interpolated linearly (without corner alignment) and divided by its maximum, map by map. No
        minimum is subtracted. A map that is not `Status.OK` is 0 everywhere; ask `status` before showing it. Cells lie
        where the patches lie that they stand for, see `placements`; what no patch covers is 0. Frames of a clip are
        interpolated each by itself; another number of them is that of the nearest frames.

        Args:
            method: one of `methods`.
            size: spatial size; None: the input's.

        Raises:
            ExplanationError: there are no maps of this method, or ``size`` has another number of axes.
        """
        maps, size = self._sized(method, size)
        return heatmaps_of(maps, size, self.placements.get(method))

    def scales(self, method: str) -> Tensor:
        """Returns by which number (N, K) of the map's own unit `heatmaps` divides each map; 0 where it is empty.

        A heat map times its scale is the evidence itself: so maps of one method and layer come onto a common scale.

        Args:
            method: one of `methods`.

        Raises:
            ExplanationError: there are no maps of this method.
        """
        maps, size = self._sized(method, None)
        return evidence_of(maps, size, self.placements.get(method)).flatten(2).amax(2)

    def _sized(self, method: str, size: Sequence[int] | None) -> tuple[Tensor, tuple[int, ...]]:
        """The raw maps of a method, with as many frames as are wanted, and the size that is meant."""
        maps, size = self._of(method), self.input_size if size is None else sides_of(size)
        if len(size) != maps.ndim - 2:
            raise ExplanationError(f"size {tuple(size)} for maps of {maps.ndim - 2} axes: give one number for each")
        if self.frames and size[0] != maps.shape[2]:  # frames are repeated or left out, and never mixed
            nearest = ((torch.arange(size[0]) + 0.5) * (maps.shape[2] / size[0])).long()
            maps = maps.index_select(2, nearest.to(maps.device))
        return maps, size

    @cached_property
    def status(self) -> dict[str, np.ndarray[Any, Any]]:
        """Method -> (N, K) array of `Status`: judged on the raw map, and on whether there is a score."""
        return {method: statuses_of(maps, self.scores) for method, maps in self.maps.items()}

    def label(self, image: int, target: int) -> str:
        """Returns what a map explains, as shown to people: a class name, "class 7", or a callable's name."""
        index = int(self.targets[image, target])
        if index < 0:
            return self.target_names[target] or "score"
        return self.classes[index] if self.classes else f"class {index}"

    def probability(self, image: int, target: int) -> float | None:
        """Returns the probability of the explained class, or of a box's class, in [0, 1]; None for a callable."""
        index = int(self.targets[image, target])
        if index < 0 and self.boxes is not None and not bool(self.boxes[image, target].isnan().any()):
            return float(self.scores[image, target].sigmoid())
        return None if index < 0 or self.probabilities is None else float(self.probabilities[image, index])

    def margin(self, image: int, target: int) -> float | None:
        """Returns how far the logit of the first class of a contrast lies above that of the second; None for others."""
        return float(self.scores[image, target]) if self.margins and self.margins[target] else None

    def class_probabilities(self, image: int) -> dict[str, float]:
        """Returns the probability of each class in [0, 1] by its name, in the order of the classes; {} without any.

        A name that several classes bear is followed by their numbers: "crane (134)", "crane (517)".
        """
        if self.probabilities is None:
            return {}
        values = self.probabilities[image].tolist()
        names = self.classes or ()
        if len(names) != len(values):
            names = tuple(f"class {index}" for index in range(len(values)))
        count = Counter(names)
        unique = (name if count[name] == 1 else f"{name} ({index})" for index, name in enumerate(names))
        return dict(zip(unique, values, strict=True))

    @property
    def multilabel(self) -> bool:
        """Whether each class has a probability of its own, and they need not sum to 1."""
        kind = self.provenance.get("kind", self.provenance.get("probability"))
        return kind == "sigmoid" and self.logits.ndim > 1 and self.logits.shape[1] > 1

    def select(
        self,
        images: slice = slice(None),
        targets: slice = slice(None),
        methods: Sequence[str] | None = None,
    ) -> Explanation:
        """Returns a copy of some images, targets and methods, on the CPU, that keeps no others alive."""

        def cut(tensor: Tensor, *where: slice) -> Tensor:
            return tensor[where].detach().cpu().clone()

        return replace(
            self,
            maps={name: cut(self._of(name), images, targets) for name in methods or self.maps},
            targets=cut(self.targets, images, targets),
            scores=cut(self.scores, images, targets),
            logits=cut(self.logits, images),
            probabilities=None if self.probabilities is None else cut(self.probabilities, images),
            boxes=None if self.boxes is None else cut(self.boxes, images, targets),
            target_names=self.target_names[targets],
            margins=self.margins[targets],
            said=self.said[images],
            pictures=None if self.pictures is None else self.pictures[images],
        )

    def with_pictures(self, images: Any) -> Explanation:
        """Returns the same explanation with pictures under its maps, for `plot` and for notebooks.

        Args:
            images: N pictures that show what the network saw, all of it: the inputs themselves, (N, C, *spatial), or
                pictures (H, W), (H, W, 3) or `cfcam.imaging.Image` of any size. Bytes are shown as they are, other
                numbers are stretched from their least to their greatest value.

        Raises:
            InputError: the number of pictures, or the axes of one, do not fit.
        """
        from cfcam.imaging.drawing.notebook import as_pictures  # drawing is for those who ask for it

        return replace(self, pictures=as_pictures(self, images))

    def plot(
        self,
        images: Any = None,
        *,
        methods: Sequence[str] | None = None,
        targets: Sequence[int] | None = None,
        palette: str = "ember",
        opacity: float = 0.5,
        blend: str = "value",
    ) -> Any:
        """Returns a matplotlib figure: a row for each image and target, a column for each method.

        A signal is drawn on a band in the colours of its map; of a volume there are three slices through the peak of
        the mean of the maps. No global state of pyplot is touched; a notebook shows the figure as the value of a cell.

        Args:
            images: as for `with_pictures`; None: those given to it; without any the maps alone are drawn.
            methods: some of `methods`; None: all.
            targets: columns of `targets`; None: all.
            palette: "ember", or any name that matplotlib knows.
            opacity: share of the map over its picture where the map is 1, in [0, 1].
            blend: what the opacity follows: "value" (the map itself), "uniform" (the same everywhere), "contour" (an
                outline alone).

        Raises:
            ExplanationError: there are no maps of this method.
            InputError: the pictures do not fit, or a value is out of its range.
        """
        from cfcam.imaging.drawing.notebook import plot

        return plot(self, images, methods=methods, targets=targets, palette=palette, opacity=opacity, blend=blend)

    def to_frame(self) -> Any:
        """Returns a pandas DataFrame with a row for each image, target and method, in this order.

        | column | dtype | what |
        |---|---|---|
        | `image` | int64 | number in the batch, from 0 |
        | `target` | int64 | column of `targets`, from 0 |
        | `class_index` | Int64 | the class; missing for a callable or a contrast |
        | `label` | text | what the map explains, see `label` |
        | `method` | text | name of the method |
        | `score` | float64 | the explained score: a logit, or a callable's number |
        | `probability` | float64 | of the class, in [0, 1]; NaN where there is none |
        | `margin` | float64 | of a contrast, see `margin`; NaN for others |
        | `status` | text | of the map: "ok", or why it cannot be read |
        | `maximum` | float64 | greatest value of the raw map |
        | `peak_row`, `peak_column` | Int64 | where the heat map is highest; missing unless the status is "ok" |

        Peaks are pixels of the network's input, from 0, the first of several that are equally high. A volume has
        `peak_slice` before these, a clip `peak_frame`, a signal `peak_position` alone.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return frame_of(self)

    def by_region(
        self,
        masks: Any,
        method: str | None = None,
        *,
        image: int = 0,
        target: int = 0,
        names: Mapping[int, str] | None = None,
        removal: Callable[[Tensor], float | None] | None = None,
    ) -> RegionShares:
        """Returns how much of a map lies in each organ, segment or superpixel.

        Args:
            masks: name -> mask (*spatial), bool or of 0 and 1; or a label map (*spatial) of whole numbers, 0 where
                there is no region, such as `cfcam.imaging.superpixels` makes. On the grid of the network's input.
            method: one of `methods`; None: the first.
            image: number in the batch.
            target: column of `targets`.
            names: names of labels; one of them that no place bears is an empty region, which has no number.
            removal: asks the network how far the score falls without a region: a `cfcam.clinical.removal.Removal`.

        Raises:
            ExplanationError: there are no maps of this method.
            InputError: there is no such image or target, or a mask has another shape than the input, or is none.
        """
        method = self.methods[0] if method is None else method
        maps = self._sized(method, None)[0]
        return shares_of(self, method, maps, (image, target), masks, names=names, removal=removal)

    def _repr_html_(self) -> str:
        """The maps and a table of classes, probabilities and statuses, for a notebook."""
        from cfcam.imaging.drawing.notebook import html

        return html(self)

    def _of(self, method: str) -> Tensor:
        if not isinstance(method, str) or method not in self.maps:
            raise ExplanationError(f"no maps of {shown(method)} in this explanation; it has {', '.join(self.maps)}")
        return self.maps[method]

    def save(self, directory: str | Path) -> Path:
        """Writes ``maps.safetensors`` and ``explanation.json`` into ``directory``, without loss, and returns it.

        Each file is written under a temporary name and renamed, the JSON last: a folder with one is complete.
        """
        from safetensors.torch import save_file

        folder = Path(directory)
        make_folder(folder)
        tensors = {f"maps/{name}": maps for name, maps in self.maps.items()}
        tensors |= {"targets": self.targets, "scores": self.scores, "logits": self.logits}
        further = {"probabilities": self.probabilities, "boxes": self.boxes}
        tensors |= {name: tensor for name, tensor in further.items() if tensor is not None}
        with whole(folder / "maps.safetensors") as temporary:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
        header = {
            "format": _FORMAT if self.placements or self.frames else 1,
            "methods": self.methods,
            "layer": self.layer,
            "input_size": list(self.input_size),
            "classes": self.classes,
            "target_names": self.target_names,
            "margins": self.margins,
            "status": {method: codes.tolist() for method, codes in self.status.items()},
            "provenance": self.provenance,
        }
        if header["format"] == _FORMAT:
            header |= {"placements": {m: p.plain() for m, p in self.placements.items()}, "frames": self.frames}
        write_whole(folder / "explanation.json", json.dumps(header, indent=1).encode())
        return folder

    @classmethod
    def load(cls, directory: str | Path, device: str | torch.device = "cpu") -> Explanation:
        """Reads what `save` wrote.

        Raises:
            ExplanationError: the folder holds no explanation, a broken one, or one of a later format.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(directory)
        try:
            if not (folder / "explanation.json").is_file():
                raise FileNotFoundError(errno.ENOENT, "no such file", "explanation.json")
            header = json_text.read(folder / "explanation.json", then="", finite=False)
            if header["format"] > _FORMAT:
                raise ExplanationError(
                    f"{folder}: written by a later cfcam (format {header['format']}): upgrade to read it"
                )
            tensors = load_file(folder / "maps.safetensors", device=str(device))
            maps = {name: tensors[f"maps/{name}"] for name in header["methods"]}
            answers = [tensors.get(name) for name in ("targets", "scores", "logits", "probabilities")]
            classes = None if header["classes"] is None else len(header["classes"])
            check_together(maps, answers, header["input_size"], classes, header["target_names"])
            return cls(
                maps=maps,
                targets=tensors["targets"],
                scores=tensors["scores"],
                logits=tensors["logits"],
                probabilities=tensors.get("probabilities"),
                boxes=tensors.get("boxes"),
                layer=header["layer"],
                input_size=tuple(header["input_size"]),
                classes=None if header["classes"] is None else tuple(header["classes"]),
                target_names=tuple(header["target_names"]),
                margins=tuple(header.get("margins", ())),
                provenance=header["provenance"],
                placements={
                    method: Placement.of_plain(header["input_size"], spans)
                    for method, spans in header.get("placements", {}).items()
                },
                frames=header.get("frames", 0),
            )
        except FileNotFoundError as error:
            raise ExplanationError(
                f"{folder}: no saved explanation here ({Path(error.filename or '').name} is missing)"
            ) from error
        except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            if isinstance(error, ExplanationError):
                raise
            why = f"{folder}: the saved explanation is broken: {error}; explain the images again"
            raise ExplanationError(why) from error

    def __repr__(self) -> str:
        n, k = self.targets.shape
        return f"Explanation({n} images x {k} targets, layer={self.layer!r}, methods={self.methods})"


def unique_columns(explanation: Explanation) -> list[int]:
    """Returns the columns of one image's explanation, each class once: "predicted" may be a class also named."""
    first: dict[tuple[int, str], int] = {}
    for k, index in enumerate(explanation.targets[0].tolist()):
        # Scores of no class all have the index -1, and are told apart by what they explain.
        first.setdefault((index, explanation.label(0, k) if index < 0 else ""), k)
    return list(first.values())
