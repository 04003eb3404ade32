"""A network that writes about pictures, from a user's words: the demo, or a folder of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cfcam.errors import ModelError, describe
from cfcam.models.built import import_library
from cfcam.models.hugging_face import in_float32, is_quantised, quiet
from cfcam.models.loading import usable_device
from cfcam.models.spec import Source, Spec, check_place, check_writes, is_folder, parse_spec
from cfcam.models.texts.text_model import TextModel


def load_text_model(spec: str, device: str | torch.device = "cpu") -> TextModel:
    """Load a network that writes captions or answers, and what prepares its pictures and texts.

    Nothing of the folder is executed, and weights are loaded as tensors alone.

    Args:
        spec: ``demo``, or ``hf:FOLDER`` (``hf:NAME`` in the local cache) with processor or tokenizer in it.
        device: Where the network is put.

    Raises:
        ModelError: If it is another kind of spec, or the folder lacks something or holds another kind of network, or
            the device cannot be used.
        MissingExtraError: If transformers is not installed.
    """
    parsed = parse_spec(spec)
    check_writes(parsed)
    place = usable_device(device)
    if parsed.source is Source.DEMO:
        from cfcam.models.demo.captioner import load_demo_captioner

        found = load_demo_captioner()
    else:
        found = _from_folder(parsed)
    found.model.to(place)
    found.spec = spec
    return found


def _from_folder(spec: Spec) -> TextModel:
    folder = Path(spec.name).expanduser()
    local = is_folder(folder)
    if local and not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json: give a folder written by transformers' save_pretrained")
    check_place(spec)
    transformers = import_library("transformers", spec.text)
    source = str(folder) if local else spec.name
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with quiet(transformers):
        model = _network(transformers, source, safe)
        return TextModel(model, *_processors(transformers, source, safe))


def _network(transformers: Any, source: str, safe: dict[str, Any]) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(source, **safe)
        if quantised := getattr(config, "quantization_config", None):
            raise ModelError(is_quantised(source, quantised))
        name = (getattr(config, "architectures", None) or [""])[0]
        network = getattr(transformers, name, None)
        if network is None:
            raise ModelError(f"{source} names no network of transformers in its config.json (architectures: {name!r})")
        wide = in_float32(transformers)
        return network.from_pretrained(source, local_files_only=True, weights_only=True, **wide).float().eval()
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"transformers cannot load {source} ({describe(error)})") from error


def _processors(transformers: Any, source: str, safe: dict[str, Any]) -> tuple[Any, Any]:
    """Returns the processor, and None or a tokenizer beside it."""
    try:
        processor = transformers.AutoProcessor.from_pretrained(source, **safe)
        if getattr(processor, "tokenizer", None) is not None:
            return processor, None
    except Exception:  # noqa: BLE001 (then it may have its two parts)
        processor = None
    try:
        pixels = transformers.AutoImageProcessor.from_pretrained(source, **safe)
        return pixels, transformers.AutoTokenizer.from_pretrained(source, **safe)
    except Exception as error:
        raise ModelError(
            f"{source} holds no processor, and no image processor with a tokenizer ({describe(error)}): write it with"
            " processor.save_pretrained into the same folder"
        ) from error
