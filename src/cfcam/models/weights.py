"""Weights out of a checkpoint, and onto a network only if they fit."""

import copy
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cfcam.errors import ModelError, describe, few, one_line
from cfcam.models.head import find_head
from cfcam.models.stated import Stated, in_checkpoint, in_safetensors
from cfcam.models.weight_files import metadata, read_file
from cfcam.shown import counted

NESTS: Final = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "model_state",
    "weights",
    "params",
    "ema",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
    "params_ema",
)
"""Where a checkpoint keeps the network's weights, in the order in which they are looked for."""

PREFIXES: Final = ("module.", "model.", "_orig_mod.", "net.", "network.", "backbone.")
"""What a wrapper puts before every name: DataParallel and DDP, Lightning, ``torch.compile``, one's own."""

_COMPILED: Final = "_orig_mod."
_COUNTER: Final = "num_batches_tracked"
_DEPTH: Final = 3
_PART: Final = re.compile(r"-\d+-of-\d+\.\w+$")
_SCALES: Final = re.compile(r"(^|[._])(zero_points?|qweight|qzeros|absmax|quant_map|SCB|weight_scale(_inv)?)$")
"""What libraries that quantise keep beside their integers: PyTorch, GPTQ and AWQ, bitsandbytes, float8."""
_UNQUANTISED: Final = "give those of before they were quantised, or dequantise them with the library that did it"
_NUMBERS: Final = ("BoolDType", "Int32DType", "Int64DType", "Float16DType", "Float32DType", "Float64DType")


def read_state_dict(path: str | Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Read the network's weights out of a checkpoint; nothing in the file is executed.

    A checkpoint is a state dict, or holds one under one of `NESTS`; optimizer states and everything else in
    it are ignored.

    Args:
        path: A ``.safetensors`` file, one written by ``torch.save``, or the index of several (``….index.json``).

    Returns:
        The tensors by name, as stored, and notes on what was chosen.

    Raises:
        ModelError: If the file is missing, empty, damaged, of another format, would have to be unpickled, or
            holds no tensors.
    """
    return read_checkpoint(path)[:2]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], tuple[str, ...], Stated | None]:
    """As `read_state_dict`, with what the file says of how pictures are prepared; None if nothing."""
    file = Path(path).expanduser()
    content = read_file(file)
    said = in_checkpoint(content) or in_safetensors(metadata(file))
    notes: tuple[str, ...] = ()
    for _ in range(_DEPTH + 1):
        if not isinstance(content, Mapping):
            break
        nests = [key for key in NESTS if _holds_tensors(content.get(key))]
        if not nests:
            break
        if len(nests) > 1:
            notes = (f"{file} holds {', '.join(nests)}: the weights under {nests[0]!r} were taken",)
        content = content[nests[0]]
    if isinstance(content, Tensor) or not isinstance(content, Mapping):
        raise ModelError(
            f"{file} holds one {type(content).__name__}, not the weights of a network: "
            "save model.state_dict() and give that file"
        )
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        keys = f"only {few(map(str, content), 5)}" if content else "nothing"
        raise ModelError(f"{file} holds no tensors ({keys}): save model.state_dict() and give that file")
    return state, notes, said


def load_weights(module: nn.Module, path: str | Path, *, network: str = "the network") -> tuple[str, ...]:
    """Load a checkpoint into a network, in place, all of it or none.

    Values are cast to the network's dtypes, and a note says so; what is no number as it is stored (quantised weights)
    is refused. Prefixes that wrappers leave on the names (`PREFIXES`) are taken off where that makes the names fit.

    Args:
        module: The network.
        path: The checkpoint; see `read_state_dict`.
        network: What messages call the network.

    Returns:
        Notes on choices a user should know of, mostly none.

    Raises:
        ModelError: If the file cannot be used, its tensors do not fit the network, or hold NaN or infinity.
    """
    state, notes = read_state_dict(path)
    return notes + fit_weights(module, state, source=str(path), network=network)


def fit_weights(
    module: nn.Module, state: Mapping[str, Tensor], *, source: str, network: str, classes_of: str | None = None
) -> tuple[str, ...]:
    """Load weights that were read before; see `load_weights`. ``classes_of``: the file that alone names classes."""
    own = module.state_dict()
    if packed := next((name for name in own if "_packed_params" in name), None):
        raise ModelError(f"{network} is quantised ({packed}): let the factory that builds it load its weights")
    state, notes = _named_as(own.keys(), state)
    _require_finite(state, source)
    shapes = {
        name: (tuple(value.shape), tuple(own[name].shape))
        for name, value in state.items()
        if name in own and not is_lazy(own[name]) and value.shape != own[name].shape
    }
    missing = [name for name in own if name not in state and not name.endswith(_COUNTER)]
    unexpected = [name for name in state if name not in own]
    if not shapes:
        notes += _stored(module, own, state, source)
        # Modules may translate the names of their older versions, so torch has the last word on what is
        # missing; what it has loaded by then is taken back.
        doubtful = missing or unexpected or any(value.layout != torch.strided for value in state.values())
        before = copy.deepcopy(own) if doubtful and not any(map(is_lazy, own.values())) else {}
        try:
            result = module.load_state_dict(dict(state), strict=False)
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            module.load_state_dict(before, strict=False)
            raise ModelError(f"{source} does not fit {network} ({describe(error)}): give its own weights") from error
        missing = [name for name in result.missing_keys if not name.endswith(_COUNTER)]
        unexpected = list(result.unexpected_keys)
        if missing or unexpected:
            module.load_state_dict(before, strict=False)
    if shapes or missing or unexpected:
        raise ModelError(_mismatch(module, len(own), missing, unexpected, shapes, source, network, classes_of))
    return notes


def read_nnunet_checkpoint(path: Path) -> Mapping[str, Any]:
    """Read a checkpoint of nnU-Net v2, which holds the numbers of its log as numpy's beside the weights.

    Of numpy its scalars and their types are let through, which are numbers; anything else is refused as ever.

    Raises:
        ModelError: As `read_state_dict`.
    """
    from numpy import dtype, dtypes, float64

    scalar: Any = float64(0).__reduce__()[0]
    kinds = [getattr(dtypes, name) for name in _NUMBERS]
    # numpy 2 has moved the function; a checkpoint of before has its old place
    with torch.serialization.safe_globals([scalar, (scalar, "numpy.core.multiarray.scalar"), dtype, *kinds]):
        content = read_file(path)
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds one {type(content).__name__}: it is no checkpoint of nnU-Net v2")
    return content


def _holds_tensors(value: object, depth: int = _DEPTH) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(item, Tensor) or (depth > 0 and key in NESTS and _holds_tensors(item, depth - 1))
        for key, item in value.items()
    )


def _named_as(own: Collection[str], state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """Take the prefixes off a checkpoint's names where more of them then are the network's own."""
    if not any(_COMPILED in name for name in own):
        bare = {name.replace(_COMPILED, ""): value for name, value in state.items()}
        state = bare if len(bare) == len(state) else state
    variants = [state]
    while (prefix := _common_prefix(variants[-1])) is not None:
        variants.append(_without(prefix, variants[-1]))
    best = max(variants, key=lambda variant: len(variant.keys() & set(own)))
    if best.keys() & set(own):
        return best, ()
    # Training code keeps more than the network beside it: `criterion.pos_weight`, `n_averaged`, metrics.
    needed = {name for name in own if not name.endswith(_COUNTER)}
    for prefix in PREFIXES:
        inner = _without(prefix, state)
        if needed and needed <= inner.keys():
            outside = [name for name in state if not name.startswith(prefix)]
            return inner, (f"the checkpoint's entries outside {prefix!r} were ignored: {few(outside)}",)
    return state, ()


def _common_prefix(state: Mapping[str, Tensor]) -> str | None:
    return next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state)), None)


def _without(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keep the entries under ``prefix``, without it."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix) and name != prefix}


def _require_finite(state: Mapping[str, Tensor], source: str) -> None:
    bad = {name: count for name, value in state.items() if (count := _not_finite(value))}
    if bad:
        name, count = next(iter(bad.items()))
        more = f", as do {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise ModelError(
            f"{source}: {one_line(name, 80)} holds {count} NaN or infinite values of {state[name].numel()}"
            f"{more}: the training diverged or the file is damaged, give other weights"
        )


def _not_finite(value: Tensor) -> int:
    if not (value.is_floating_point() or value.is_complex()) or value.layout != torch.strided:
        return 0
    if value.is_floating_point() and value.element_size() == 1:
        value = value.float() if value.dtype != torch.float4_e2m1fn_x2 else value.new_zeros(0, dtype=torch.float)
    return int(value.numel() - torch.isfinite(value).sum().item())


def _stored(module: nn.Module, own: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> tuple[str, ...]:
    """What a user should know of the types in which weights are stored; refuses those that hold no weights as such."""
    trained = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    casts: Counter[tuple[torch.dtype, torch.dtype]] = Counter()
    for name, value in state.items():
        runs = own[name].dtype if name in own and isinstance(own[name], Tensor) else value.dtype
        if value.dtype == runs:
            continue
        if value.is_quantized or (name in trained and value.is_floating_point() != runs.is_floating_point):
            raise ModelError(
                f"{source} stores {one_line(name, 80)} in {_type(value.dtype)} where the network has {_type(runs)}, as"
                f" quantised weights are: {_UNQUANTISED}"
            )
        if value.is_floating_point() and runs.is_floating_point:
            casts[value.dtype, runs] += 1
            if runs.itemsize <= value.dtype.itemsize and _not_finite(value.to(runs)):
                raise ModelError(
                    f"{source}: {one_line(name, 80)} holds values beyond {_type(runs)}, in which the network runs:"
                    f" build it in {_type(value.dtype)}"
                )
    return tuple(
        f"{source} stores {counted(count, 'tensor')} in {_type(there)}, the network runs in {_type(runs)}: "
        + ("the values are the same" if there.itemsize < runs.itemsize else "the values are rounded")
        for (there, runs), count in casts.items()
    )


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _mismatch(
    module: nn.Module,
    size: int,
    missing: list[str],
    unexpected: list[str],
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    source: str,
    network: str,
    classes_of: str | None,
) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} of its {size} tensors missing ({few(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({few(unexpected)})")
    if shapes:
        pairs = (
            f"{name} is {_shape(there)} in the file, {_shape(here)} here" for name, (there, here) in shapes.items()
        )
        parts.append(f"{len(shapes)} of another shape ({_few_shapes(pairs, len(shapes))})")
    advice = _advice(module, size, missing, unexpected, shapes, classes_of)
    if any(_SCALES.search(name) for name in unexpected):
        advice = f"these are quantised weights: {_UNQUANTISED}"
    elif _PART.search(source):
        advice = "this is one of several files: give the index that lies beside them (….index.json)"
    return f"{source} does not fit {network}: {'; '.join(parts)}: {advice}"


def _advice(
    module: nn.Module,
    size: int,
    missing: list[str],
    unexpected: list[str],
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
    classes_of: str | None,
) -> str:
    found = find_head(module)
    if found is not None:
        head = f"{found[0]}."
        differing = [*missing, *unexpected, *shapes]
        if not missing and not unexpected and all(name.startswith(head) for name in shapes):
            there = next(iter(shapes.values()))[0]
            weight = shapes.get(f"{head}weight", (there, ()))[0]
            if not weight:
                return "check the classifier"
            if classes_of is not None:
                return f"only the classifier differs, it has {weight[0]} classes: give the {classes_of} of its training"
            return f"only the classifier differs, use --num-classes {weight[0]}"
        if all(name.startswith(head) for name in differing):
            return "only the classifier differs, it is built another way: name your network as FILE.py:FACTORY"
    if len(missing) >= size - sum(_COUNTER in name for name in module.state_dict()):
        return "no name is the same, these are the weights of another network"
    return "name the network that these weights were trained with, your own as FILE.py:FACTORY"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) if shape else "a single number"


def _few_shapes(pairs: Iterable[str], total: int) -> str:
    listed = "; ".join(one_line(pair, 140) for pair in list(pairs)[:3])
    return listed if total <= 3 else f"{listed} and {total - 3} more"
