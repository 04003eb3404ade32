"""Networks from a folder written by transformers' ``save_pretrained``, or from the Hugging Face Hub."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch

from cfcam import json_text
from cfcam.capture import Detector, Segmenter
from cfcam.errors import ModelError, describe, few, one_line
from cfcam.models.built import RANDOM, Built, Probability, hub_answers, import_library
from cfcam.models.spec import Spec, check_place, is_folder
from cfcam.models.stated import Stated
from cfcam.models.stated_by_libraries import processor_settings, sides, timm_settings

_WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_OTHER_WEIGHTS: Final = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack"})
_PREPROCESSORS: Final = ("preprocessor_config.json", "processor_config.json")
_TASKS: Final = {
    "ForObjectDetection": "ObjectDetection",
    "ForSemanticSegmentation": "SemanticSegmentation",
    "ForUniversalSegmentation": "UniversalSegmentation",
    "ForInstanceSegmentation": "UniversalSegmentation",
    "ForSegmentation": "UniversalSegmentation",
}
"""From the end of a class's name to the name of the class of transformers that loads it; all else classifies images."""
_WRAPPED: Final = {"ObjectDetection": Detector, "UniversalSegmentation": Segmenter}
_NO_NAME: Final = re.compile(r"LABEL_\d+")


def from_hugging_face(spec: Spec) -> Built:
    """Build ``hf:FOLDER_OR_NAME`` as what its configuration says that it is: it finds objects, segments, or classifies.

    Raises:
        ModelError: If the folder is not one of transformers', the name cannot be fetched, or the weights do
            not fit.
    """
    folder = Path(spec.name).expanduser()
    local = is_folder(folder)
    if local and not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json: give a folder written by transformers' save_pretrained")
    check_place(spec)
    transformers = import_library("transformers", spec.text)
    source = str(folder) if local else spec.name
    if not local and not hub_answers(source, ("config.json",)):
        raise ModelError(
            f"hf:{source} is neither a folder here nor in the Hugging Face cache, and the Hugging Face hub cannot "
            "be reached: fetch it where there is a network and give its folder, e.g. hf:path/to/folder"
        )
    cached = local or _is_cached(source)
    said = _configuration(source, local=local, cached=cached)
    if quantised := said.get("quantization_config"):
        raise ModelError(is_quantised(source, quantised))
    named = _architecture(said)
    kind = next((task for end, task in _TASKS.items() if named.endswith(end)), "ImageClassification")
    with quiet(transformers):
        made = getattr(transformers, f"AutoModelFor{kind}")
        if local and not any((folder / name).is_file() for name in _WEIGHTS):
            module, untrained, notes = _from_config(transformers, made, folder, named)
        else:
            module, untrained, notes = _from_weights(transformers, made, source, named, local_only=cached)
            notes += _widened(source, said)
    config = module.config
    return Built(
        _WRAPPED.get(kind, _as_it_is)(module.float()),
        _class_names(config),
        _stated(config, *_preprocessor_config(source, local=local, cached=cached)),
        _probability(config),
        untrained,
        notes,
    )


def _configuration(source: str, *, local: bool, cached: bool) -> Mapping[str, Any]:
    file = _file(source, "config.json", local=local, cached=cached)
    content = {} if file is None else json_text.read(file, ModelError, shown=str(file), then="repair it")
    return content if isinstance(content, Mapping) else {}


def _architecture(said: Mapping[str, Any]) -> str:
    """The class of which the network was saved, "" where its configuration does not tell."""
    names = said.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def in_float32(transformers: Any) -> dict[str, Any]:
    """What makes transformers build a network in float32, whatever its weights are stored in; before 5 it always did.

    Of one that is built in 16 bits, the tables that it works out by itself stay rounded, also when it is cast.
    """
    return {"dtype": torch.float32} if int(transformers.__version__.partition(".")[0]) >= 5 else {}


def is_quantised(source: str, said: object) -> str:
    """Returns why a network whose configuration says how it was quantised is refused."""
    how = said.get("quant_method") if isinstance(said, Mapping) else None
    return (
        f"{source} is quantised ({one_line(how or 'quantization_config in its config.json', 40)}): give the network of"
        " before it was quantised, or dequantise it with transformers and save_pretrained"
    )


def _widened(source: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """What is told of weights that are stored in another type than the one that they run in."""
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    values = {"float16": "the same", "bfloat16": "the same", "float64": "rounded"}.get(stored)
    if values is None:
        return ()
    return (f"{source} stores its weights in {stored}, the network runs in float32: the values are {values}",)


def _as_it_is(module: Any) -> Any:
    return module


def _from_config(transformers: Any, made: Any, folder: Path, named: str) -> tuple[Any, str | None, tuple[str, ...]]:
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        module = made.from_config(config, trust_remote_code=False, **in_float32(transformers))
    except Exception as error:
        raise ModelError(_failure(str(folder), named, error)) from error
    others = sorted(file.name for file in folder.iterdir() if file.suffix in _OTHER_WEIGHTS)
    notes = (
        (f"{folder} holds {few(others)}, which transformers does not read: give it as the weights",) if others else ()
    )
    return module, RANDOM, notes


def _from_weights(
    transformers: Any,
    made: Any,
    source: str,
    named: str,
    *,
    local_only: bool,
) -> tuple[Any, str | None, tuple[str, ...]]:
    try:
        module, report = made.from_pretrained(
            source,
            local_files_only=local_only,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
            **in_float32(transformers),
        )
    except Exception as error:
        raise ModelError(_failure(source, named, error)) from error
    missing = sorted(report.get("missing_keys", ()))
    untrained = (
        f"the weights of {source} lack {few(missing)}: these are randomly initialised, the maps mean nothing"
        if missing
        else None
    )
    return module, untrained, ()


def _failure(source: str, named: str, error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UnpicklingError):
            return (
                f"the weights in {source} hold arbitrary Python objects, which cfcam refuses to run: load "
                "them once where you trust them and save with save_pretrained(safe_serialization=True)"
            )
        cause = cause.__cause__ or cause.__context__
    known = not named or named.endswith(("ForImageClassification", *_TASKS))
    why = describe(error) if known else f"it is a {named}"
    return (
        f"transformers cannot load {source} as an image classifier ({why}): give a folder written by save_pretrained"
        " of a network that classifies images, finds objects or segments; in Python any other, with a number of its"
        " output as the target"
    )


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Keep progress bars and warnings of a load off the user's terminal; what matters becomes a note."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _is_cached(name: str) -> bool:
    import huggingface_hub

    return any(isinstance(huggingface_hub.try_to_load_from_cache(name, file), str) for file in _WEIGHTS)


def _class_names(config: Any) -> tuple[str, ...] | None:
    names = getattr(config, "id2label", None)
    if not isinstance(names, Mapping) or sorted(map(int, names)) != list(range(len(names))):
        return None
    ordered = tuple(str(name) for _, name in sorted((int(index), name) for index, name in names.items()))
    return None if all(_NO_NAME.fullmatch(name) for name in ordered) else ordered


def _probability(config: Any) -> Probability:
    match getattr(config, "problem_type", None):
        case "multi_label_classification":
            return "sigmoid"
        case "single_label_classification":
            return "softmax"
        case _:
            return "auto"


def _preprocessor_config(source: str, *, local: bool, cached: bool) -> tuple[Mapping[str, Any], str]:
    """The settings of the image processor, {} without any, and the name of their file."""
    for name in _PREPROCESSORS:
        file = _file(source, name, local=local, cached=cached)
        if file is None:
            continue
        content = json_text.read(file, ModelError, shown=str(file), then="repair it or take it away")
        if not isinstance(content, Mapping):
            raise ModelError(f"{file} holds no JSON object: repair it or take it away")
        inner = content.get("image_processor")
        return (inner if isinstance(inner, Mapping) else content), name
    return {}, _PREPROCESSORS[0]


def _file(source: str, name: str, *, local: bool, cached: bool) -> Path | None:
    if local:
        file = Path(source) / name
        return file if file.is_file() else None
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        return Path(huggingface_hub.hf_hub_download(source, name, local_files_only=cached))
    except (EntryNotFoundError, HfHubHTTPError, OSError):
        return None


def _stated(config: Any, processor: Mapping[str, Any], name: str) -> Stated:
    """What the image processor states, and for want of a size that of the network's own configuration."""
    said, source = Stated(), "stated by the network (its config.json)"
    size = sides(getattr(config, "image_size", None))
    if size is not None:
        said = Stated.by(source, {"size": size})
    if isinstance(timms := getattr(config, "pretrained_cfg", None), Mapping):  # of a network of timm's, wrapped
        said |= Stated.by(source, *timm_settings(timms, "its config.json"))
    if not processor:
        return said
    return said | Stated.by(f"stated by the network (its {name})", *processor_settings(processor, f"its {name}"))
