"""Networks from torchvision, timm and MONAI."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from cfcam.errors import ModelError, describe, few, nearest, one_line
from cfcam.models.built import RANDOM, Built, hub_answers, import_library
from cfcam.models.spec import Spec
from cfcam.models.stated import Stated
from cfcam.models.stated_by_libraries import timm_settings
from cfcam.models.stated_by_module import preset_settings


def from_torchvision(spec: Spec) -> Built:
    """Build ``torchvision:NAME`` or, with pretrained weights, ``torchvision:NAME@WEIGHTS``."""
    models = import_library("torchvision.models", spec.text)
    known = models.list_models()
    if spec.name not in known:
        raise ModelError(_unknown("torchvision", "network", spec.name, known, "torchvision:resnet50"))
    builder = models.get_model_builder(spec.name)
    weights = None if spec.variant is None else _torchvision_weights(models, spec.name, spec.variant)
    options: dict[str, object] = {"weights": weights}
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    try:
        module = builder(progress=False, **options)
    except Exception as error:
        raise ModelError(_no_weights(spec, error)) from error
    if weights is None:
        return Built(module, untrained=RANDOM)
    categories = weights.meta.get("categories")
    said = Stated.by(
        "stated by the network (torchvision's transforms of these weights)", *preset_settings(weights.transforms())
    )
    return Built(module, tuple(categories) if categories else None, said)


def _torchvision_weights(models: Any, name: str, variant: str) -> Any:
    entries = models.get_model_weights(name)
    names = [*entries.__members__]
    if variant not in names:
        raise ModelError(f"torchvision has no weights {variant!r} for {name}: it has {few(names, 8) or 'none'}")
    return entries[variant]


def from_timm(spec: Spec) -> Built:
    """Build ``timm:NAME``, with ``@pretrained`` its published weights."""
    timm = import_library("timm", spec.text)
    if not timm.is_model(spec.name):
        raise ModelError(_unknown("timm", "network", spec.name, timm.list_models(), "timm:resnet18"))
    try:
        config = timm.get_pretrained_cfg(spec.name)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ModelError(
            f"timm has no network {one_line(spec.name, 60)!r} ({describe(error, 120)}): "
            "give the name without the tag behind the dot"
        ) from error
    pretrained = spec.variant == "pretrained"
    hub_id = getattr(config, "hf_hub_id", None)
    if pretrained and hub_id and not hub_answers(hub_id, ("model.safetensors", "pytorch_model.bin")):
        raise ModelError(_no_weights(spec, OSError("the Hugging Face hub cannot be reached")))
    try:
        module = timm.create_model(spec.name, pretrained=pretrained)
    except Exception as error:
        raise ModelError(_no_weights(spec, error)) from error
    settings: Mapping[str, Any] = getattr(module, "pretrained_cfg", None) or {}
    said = Stated.by("stated by the network (timm's pretrained_cfg)", *timm_settings(settings))
    names = settings.get("label_names") if pretrained else None
    return Built(module, tuple(names) if names else None, said, untrained=None if pretrained else RANDOM)


def from_monai(spec: Spec) -> Built:
    """Build ``monai:CLASS(arguments)``; only the network classes of ``monai.networks.nets`` can be named."""
    nets = import_library("monai.networks.nets", spec.text)
    known = [name for name, value in vars(nets).items() if isinstance(value, type) and issubclass(value, nn.Module)]
    if spec.name not in known:
        example = "monai:DenseNet121(spatial_dims=2, in_channels=3, out_channels=2)"
        raise ModelError(_unknown("monai.networks.nets", "network", spec.name, known, example))
    network = getattr(nets, spec.name)
    try:
        module = network(*spec.arguments, **spec.keywords)
    except Exception as error:
        raise ModelError(
            f"monai cannot build {one_line(spec.text.removeprefix('monai:'))} ({describe(error)}): "
            f"its arguments are {spec.name}{one_line(inspect.signature(network), 300)}"
        ) from error
    return Built(module, untrained=None if spec.keywords.get("pretrained") else RANDOM)


def _unknown(library: str, what: str, name: str, known: Sequence[str], example: str) -> str:
    close = nearest(name, known)
    return (
        f"{library} has no {what} {one_line(name, 60)!r}: "
        f"{f'did you mean {few(close)}?' if close else f'it has {len(known)}, e.g. {example}'}"
    )


def _no_weights(spec: Spec, error: BaseException) -> str:
    if spec.variant is None:
        return f"cannot build {spec.text} ({describe(error)}): choose another network"
    return (
        f"the weights of {spec.text} cannot be loaded ({describe(error, 160)}): "
        f"give {spec.text.partition('@')[0]} and a file of weights that you have"
    )
