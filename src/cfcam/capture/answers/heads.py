"""Which of the tensors that a network returns holds the class scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor

from cfcam.capture.answers.outputs import LOGIT_KEYS, NUMBERS, of_queries
from cfcam.errors import OutputError, shown
from cfcam.shown import counted

# Not what a network answers, but what it passed through, or was taught by.
_BESIDES = {
    *("loss", "losses", "hidden_states", "attentions", "last_hidden_state", "cross_attentions", "past_key_values"),
    *("encoder_last_hidden_state", "encoder_hidden_states", "decoder_hidden_states"),
}
_FIRST = ("logits", "logits_per_image")
_DEPTH = 8


@dataclass(frozen=True, eq=False)
class Leaf:
    """One tensor of an output.

    Attributes:
        path: where it is, such as "diagnosis", "1" or "heads.0"; "" of an output that is a tensor.
        places: the same with numbers in place of the names of a named tuple.
        tensor: it.
    """

    path: str
    places: str
    tensor: Tensor

    @property
    def key(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.path!r} {tuple(self.tensor.shape)}"


@dataclass(frozen=True)
class Wanted:
    """What the class scores must fit.

    Attributes:
        names: number of class names; None: not known.
        least: number of classes that the targets need.
        outputs: number of outputs that a regression needs; a single one is not two classes to it.
        numbers: nothing but regressions is asked, which may bear the names.
        dense: only segmentations are asked about.
        vector: something is asked that has no places.
        scores: class scores are needed; False: callables alone are explained.
    """

    names: int | None = None
    least: int = 0
    outputs: int = 0
    numbers: bool = False
    dense: bool = False
    vector: bool = False
    scores: bool = True

    def fits(self, tensor: Tensor) -> bool:
        """Tells whether these could be the class scores."""
        outputs = tensor.shape[1] if tensor.ndim > 1 else 1
        classes = max(outputs, 2) if outputs == 1 else outputs
        named = self.names is None or self.names == classes or (self.numbers and self.names == outputs)
        places = tensor.ndim > 2
        return named and classes >= self.least and outputs >= self.outputs and not (places and self.vector)


def leaves(output: Any, path: str = "", places: str = "", depth: int = _DEPTH) -> Iterator[Leaf]:
    """Yields every tensor of an output, however nested."""
    if isinstance(output, Tensor):
        yield Leaf(path, places, output)
        return
    if depth:
        for name, place, value in _members(output):
            dot = "." if path else ""
            yield from leaves(value, f"{path}{dot}{name}", f"{places}{dot}{place}", depth - 1)


def _members(output: Any) -> Iterator[tuple[str, str, Any]]:
    if isinstance(output, Mapping):
        yield from ((str(key), str(key), value) for key, value in output.items())
    elif isinstance(output, (tuple, list)):
        names = getattr(output, "_fields", None) or range(len(output))
        yield from ((str(name), str(n), value) for n, (name, value) in enumerate(zip(names, output, strict=False)))
    elif is_dataclass(output) and not isinstance(output, type):
        yield from ((f.name, f.name, getattr(output, f.name)) for f in fields(output))
    elif type(output).__module__ != "builtins" and hasattr(output, "__dict__") and not isinstance(output, type):
        yield from ((name, name, value) for name, value in vars(output).items() if not name.startswith("__"))


def checked_output(asked: Any) -> str | int | None:
    """Returns a user's ``output``; raises `OutputError` for what is no key and no place."""
    if asked is not None and (isinstance(asked, bool) or not isinstance(asked, (str, int))):
        raise OutputError(f"output is {shown(asked)}: give a key, a place or a dotted path, such as 'logits' or 0")
    return asked


def named_leaf(output: Any, wish: str | int) -> Leaf:
    """Returns the tensor that a user names: a key, a place, or a dotted path of these.

    Raises:
        OutputError: there is no such tensor, or there are several; all are listed.
    """
    found, text = list(leaves(output)), str(wish)
    if type(wish) is int and wish < 0 and isinstance(output, (tuple, list)):
        text = str(len(output) + wish)  # counted from the end
    for match in (
        lambda leaf: text in (leaf.path, leaf.places),
        lambda leaf: leaf.path.startswith(f"{text}.") or leaf.places.startswith(f"{text}."),
        lambda leaf: leaf.key == text,
    ):
        chosen = _once([leaf for leaf in found if match(leaf)])
        if len(chosen) == 1:
            return chosen[0]
        if chosen:
            raise OutputError(f"output={wish!r} names {len(chosen)} tensors, {_listed(chosen)}: {_how(chosen)}")
    if not found:
        raise OutputError(f"output={wish!r} is asked for, and the network returned {_kind(output)} without a tensor")
    if len(found) == 1 and not found[0].path:
        raise OutputError(
            f"output={wish!r} is asked for, and the network returns one tensor {tuple(found[0].tensor.shape)}: leave it"
            " out"
        )
    raise OutputError(f"there is no output {wish!r}; the network returns {_listed(found)}: {_how(found)}")


def class_scores(output: Any, batch: int, spatial: Sequence[int] | None, want: Wanted) -> Leaf:
    """Returns the tensor of class scores in an output.

    A tensor is itself. Of several the one whose key says so (logits, out, …) or the only one that could be it: with as
    many classes as there are names, enough for the targets, and a row for each image.

    Args:
        output: what the network returned.
        batch: number of images.
        spatial: *spatial of the input; None: not known.
        want: what it must fit.

    Raises:
        OutputError: there is none, or several could be it; all are listed with their shapes.
    """
    if isinstance(output, Tensor):
        return Leaf("", "", output)
    if of_queries(output) is not None:
        boxes = ", or cfcam.Detector(model) for its boxes" if "pred_boxes" in output else ""
        raise OutputError(f"answers with masks and a class for each: give cfcam.Segmenter(model){boxes}")
    found = list(leaves(output))
    rows = [] if _one_each(output, batch) else [leaf for leaf in found if _has_rows(leaf.tensor, batch)]
    if not rows and batch == 1:  # a single score of a single image, squeezed
        rows = [leaf for leaf in found if leaf.tensor.ndim == 0 and leaf.tensor.is_floating_point()]
    rows = _once([leaf for leaf in rows if not _BESIDES & set(leaf.path.split("."))] or rows)
    if not rows:
        each = " for each image" if _one_each(output, batch) else ""
        shown = f"; it holds {_listed(found)}" if found else ""
        raise OutputError(
            f"returned {_kind(output)}{each} without a tensor of class scores (N, classes){shown}: wrap it in a module"
            " whose forward returns logits (N, classes), or give a callable from the output to one number per image as"
            " the target"
        )
    other = [leaf for leaf in rows if leaf.key in NUMBERS]
    if other and len(other) == len(rows):
        raise OutputError(
            f"returns {_listed(other)}, {NUMBERS[other[0].key]} for each place and no class scores: ask for a number of"
            f" it, e.g. targets=lambda out: out[{other[0].path!r}].flatten(1).mean(1)"
        )
    fitting = [leaf for leaf in rows if want.fits(leaf.tensor)]
    if want.dense:
        fitting = [leaf for leaf in fitting if leaf.tensor.ndim > 2] or fitting
    if (said := _by_key(rows)) is not None and (said in fitting or len(fitting) != 1):
        return said
    # A feature map is no segmentation: its grid is not the input's.
    vectors = [leaf for leaf in fitting if leaf.tensor.ndim <= 2]
    if vectors and not want.dense:
        fitting = [leaf for leaf in fitting if leaf.tensor.ndim <= 2 or _on_grid(leaf.tensor, spatial)]
    if len(rows) == 1:
        return rows[0]
    if len(fitting) == 1:
        return fitting[0]
    what = "of which none fits" if not fitting else "of which several could be the class scores"
    raise OutputError(f"returns {_listed(found)}, {what}{_asked(want)}: {_how(fitting or rows)}")


def _by_key(rows: Sequence[Leaf]) -> Leaf | None:
    """The tensor whose key says that it is the class scores; nothing if the keys of several do."""
    for key in _FIRST:
        if len(found := [leaf for leaf in rows if leaf.path == key]) == 1:
            return found[0]
    found = [leaf for leaf in rows if leaf.path in LOGIT_KEYS]
    return found[0] if len(found) == 1 else None


def _one_each(output: Any, batch: int) -> bool:
    return isinstance(output, (list, tuple)) and len(output) == batch and isinstance(output[0], Mapping)


def _has_rows(tensor: Tensor, batch: int) -> bool:
    if not tensor.is_floating_point():
        return False
    return (tensor.ndim > 0 and tensor.shape[0] == batch) or (batch == 1 and tensor.ndim == 1)


def _on_grid(tensor: Tensor, spatial: Sequence[int] | None) -> bool:
    return spatial is None or tuple(tensor.shape[2:]) == tuple(spatial)


def _once(found: Sequence[Leaf]) -> list[Leaf]:
    return [leaf for n, leaf in enumerate(found) if not any(leaf.tensor is other.tensor for other in found[:n])]


def _kind(output: Any) -> str:
    name = type(output).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _listed(found: Sequence[Leaf]) -> str:
    return ", ".join(map(str, found))


def _asked(want: Wanted) -> str:
    asked = [f"{counted(want.names, 'class name')}"] if want.names is not None else []
    asked += [f"class {want.least - 1}"] if want.least else []
    asked += ["a segmentation"] if want.dense else []
    return f" ({', '.join(asked)})" if asked else ""


def _how(found: Sequence[Leaf]) -> str:
    path = found[-1].path
    said = path if not path.isdecimal() else int(path)
    return f"choose with output={said!r}, on the command line --head {path}"


def column_shape(tensor: Tensor, batch: int, spatial: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape (N, classes, ...) of class scores whose axes of one element the network has squeezed away.

    Args:
        tensor: of class scores.
        batch: number of images N of this pass.
        spatial: *spatial of the input.
    """
    shape = tuple(tensor.shape)
    places = tuple(spatial)
    if shape == () and batch == 1:
        return (1, 1)
    if len(shape) == 1 and shape[0] == batch:
        return (batch, 1)
    if len(shape) == 1 and batch == 1:
        return (1, *shape)
    if len(places) > 1 and shape == places and batch == 1:
        return (1, 1, *shape)
    if len(places) > 1 and shape == (batch, *places):
        return (batch, 1, *places)
    if len(places) > 1 and len(shape) == len(places) + 1 and batch == 1 and shape[1:] == places:
        return (1, *shape)
    return shape
