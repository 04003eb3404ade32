"""Networks that nnU-Net v2 trained: its plans, its dataset's names and a checkpoint, read without running its code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import nn

from cfcam import json_text
from cfcam.errors import ModelError, describe, few, one_line
from cfcam.models.built import Built, Preparation, import_library
from cfcam.models.spec import Spec, check_place
from cfcam.models.weights import fit_weights, read_nnunet_checkpoint

_TRAINER: Final = "nnUNetTrainer"
_CHECKPOINTS: Final = ("checkpoint_final.pth", "checkpoint_best.pth", "checkpoint_latest.pth")
_NETWORKS: Final = ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")
_READERS: Final = {"SimpleITKIO": None, "NibabelIO": None, "NibabelIOWithReorient": "RAS"}
_RESAMPLING: Final = "resample_data_or_seg_to_shape"
# What the plans of before 2.4 call by other words than the networks.
_OLD_NETWORKS: Final = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}


def from_nnunet(spec: Spec) -> Built:
    """Build ``nnunet:FOLDER``: what nnU-Net v2 trained, of a folder, one of its folds, or one checkpoint of that.

    Of several folds the first is taken, with a note; they are not averaged.

    Raises:
        ModelError: The folder lacks a file, the plans ask for what cfcam does not do as nnU-Net does, or the checkpoint
            does not fit the plans' network.
        MissingExtraError: ``dynamic_network_architectures`` is not installed.
    """
    check_place(spec)
    folder, checkpoint, notes = _places(Path(spec.name).expanduser())
    plans, dataset = _read(folder / "plans.json"), _read(folder / "dataset.json")
    content = read_nnunet_checkpoint(checkpoint)
    try:
        name, trainer = str(content["init_args"]["configuration"]), str(content["trainer_name"])
        state = content["network_weights"]
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"{checkpoint} {_lacking(error)}: it is no checkpoint of nnU-Net v2; give one that its training wrote"
        ) from error
    try:
        configuration = _configuration(plans, name, folder)
        channels, classes, regions = _channels(dataset, folder), *_classes(dataset, folder)
        preparation = _preparation(plans, configuration, channels, folder)
        network = _network(configuration, len(channels), len(classes), spec.text)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{folder}: its plans or its dataset.json are not as nnU-Net v2 writes them ({_lacking(error)}): give"
            " the folder as the training left it"
        ) from error
    try:
        words = {"network": "the network of its plans", "classes_of": "dataset.json"}
        notes += fit_weights(network, state, source=str(checkpoint), **words)
    except ModelError as error:
        whose = "" if trainer == _TRAINER else f"; it is of the trainer {trainer}, whose network may be its own code's"
        raise ModelError(f"{error}{whose}") from error
    if trainer != _TRAINER:
        other = (
            f"the checkpoint is of the trainer {one_line(trainer, 60)}, not {_TRAINER}: its weights fit the plans'"
            " network, which is taken; what such a trainer changes of a network without weights is not seen here"
        )
        notes += (other,)
    return Built(
        network,
        classes,
        probability="sigmoid" if regions else "softmax",
        notes=notes,
        preparation=preparation,
    )


def _lacking(error: Exception) -> str:
    """What is wrong with a file's content: that it lacks a name, else what Python says of it."""
    return f"lacks {one_line(repr(error.args[0]), 60)}" if isinstance(error, KeyError) else describe(error, 100)


def _places(given: Path) -> tuple[Path, Path, tuple[str, ...]]:
    """The folder with the plans, the checkpoint, and what is to be said of the choice."""
    if given.is_file():
        return given.parent.parent, given, ()
    fold = given.name.startswith("fold_") and not (given / "plans.json").is_file()
    folder = given.parent if fold else given
    folds = [given] if fold else sorted(path for path in folder.glob("fold_*") if path.is_dir())
    found = [(path, name) for path in folds for name in _CHECKPOINTS if (path / name).is_file()]
    if not found:
        where = f"{given} holds" if fold else f"the folds of {folder} hold"
        raise ModelError(f"{where} no {_CHECKPOINTS[0]}: give the folder that nnU-Net's training wrote into")
    first, name = found[0]
    notes: list[str] = []
    several = list(dict.fromkeys(path.name for path, _ in found))
    if len(several) > 1:
        notes.append(f"of the folds {few(several, 6)} {first.name} is explained; nnU-Net averages all of them")
    if name != _CHECKPOINTS[0]:
        notes.append(f"{first.name} holds no {_CHECKPOINTS[0]}: {name} is taken")
    return folder, first / name, tuple(notes)


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ModelError(f"{path.parent} holds no {path.name}: give the folder that nnU-Net's training wrote into")
    content = json_text.read(path, ModelError, shown=str(path), then="copy it again from where it was trained")
    if not isinstance(content, Mapping):
        raise ModelError(f"{path} holds no JSON object: copy it again from where it was trained")
    return content


def _configuration(plans: Mapping[str, Any], name: str, folder: Path) -> dict[str, Any]:
    """A configuration of the plans, with what it inherits; refused where cfcam does not do what it asks for."""
    found = _inherited(plans["configurations"], name, folder, ())
    if found.get("previous_stage"):
        raise ModelError(
            f"{folder}: the configuration {name} is the second stage of a cascade, which sees the first one's"
            " segmentation too: give the folder of 3d_fullres or 3d_lowres"
        )
    if len(found["patch_size"]) != 3:
        raise ModelError(
            f"{folder}: the configuration {name} takes slices, and volumes are explained whole: give the folder of"
            " 3d_fullres or 3d_lowres"
        )
    for key, own in (("preprocessor_name", "DefaultPreprocessor"), ("resampling_fn_data", _RESAMPLING)):
        if found.get(key, own) != own:
            raise ModelError(
                f"{folder}: its {key} is {one_line(str(found[key]), 60)}, whose code cfcam does not have: a network"
                f" trained with {own} can be explained, or one made in a FILE.py:FACTORY"
            )
    return found


def _inherited(configurations: Mapping[str, Any], name: str, folder: Path, before: tuple[str, ...]) -> dict[str, Any]:
    if name not in configurations or name in before:
        raise ModelError(
            f"{folder}: its plans have no configuration {one_line(name, 60)!r}, which the checkpoint was trained with:"
            f" they have {few(list(configurations), 8)}; give the plans.json of that training"
        )
    own = dict(configurations[name])
    parent = own.get("inherits_from")
    return _inherited(configurations, parent, folder, (*before, name)) | own if parent else own


def _channels(dataset: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """The names of the channels, in order."""
    names = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(names, Mapping) or sorted(names, key=int) != [str(n) for n in range(len(names))] or not names:
        raise ModelError(f"{folder / 'dataset.json'} names no channels: it holds channel_names, such as {{'0': 'CT'}}")
    return tuple(str(names[str(n)]) for n in range(len(names)))


def _endings(channels: tuple[str, ...]) -> tuple[str, ...]:
    """How the names of their files end."""
    return tuple(f"_{n:04d}" for n in range(len(channels)))


def files_of(spec: Spec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns what the channels of ``nnunet:FOLDER`` are, and how the names of their files end; nothing else is read.

    Raises:
        ModelError: The folder lacks a file, or what it says of channels is not as nnU-Net writes it.
    """
    folder = _places(Path(spec.name).expanduser())[0]
    channels = _channels(_read(folder / "dataset.json"), folder)
    return channels, _endings(channels)


def _classes(dataset: Mapping[str, Any], folder: Path) -> tuple[tuple[str, ...], bool]:
    """The names of the outputs, and whether they are regions, which may overlap."""
    labels = {str(name): label for name, label in dataset["labels"].items() if name != "ignore"}
    several = {name: set(label) if isinstance(label, list) else {label} for name, label in labels.items()}
    if any(len(of) > 1 for of in several.values()):
        return tuple(name for name, of in several.items() if of != {0}), True
    by_label = {int(label): name for name, (label,) in several.items()}
    if sorted(by_label) != list(range(len(by_label))) or len(by_label) != len(several):
        raise ModelError(
            f"{folder / 'dataset.json'}: its labels are {few(map(str, sorted(by_label)))}, not 0, 1, 2 ..."
        )
    return tuple(by_label[label] for label in sorted(by_label)), False


def _preparation(
    plans: Mapping[str, Any], configuration: Mapping[str, Any], channels: tuple[str, ...], folder: Path
) -> Preparation:
    """What `cfcam.imaging.nnunet_preprocess.NnunetPreprocess` takes of the plans."""
    reader = plans.get("image_reader_writer", "SimpleITKIO")
    if reader not in _READERS:
        raise ModelError(
            f"{folder}: its files were read by {one_line(str(reader), 60)}, and cfcam reads volumes as"
            f" {', '.join(_READERS)} do: give a network of NIfTI files"
        )
    known = plans.get("foreground_intensity_properties_per_channel")
    known = plans.get("foreground_intensity_properties_by_modality", {}) if known is None else known
    how = dict(configuration.get("resampling_fn_data_kwargs", {}))
    if unknown := how.keys() - {"is_seg", "order", "order_z", "force_separate_z"}:
        raise ModelError(f"{folder}: its volumes are resampled with {few(sorted(unknown))}, which cfcam does not know")
    wanted = ("mean", "std", "percentile_00_5", "percentile_99_5")
    patch = tuple(int(n) for n in configuration["patch_size"])
    values = {
        "orientation": _READERS[reader],
        "spacing": tuple(float(mm) for mm in configuration["spacing"]),
        "transpose": tuple(plans["transpose_forward"]),
        "schemes": tuple(configuration["normalization_schemes"]),
        "within": tuple(map(bool, configuration["use_mask_for_norm"])),
        "properties": tuple(
            {name: float(of[name]) for name in wanted if name in of}
            for of in (known.get(str(n), {}) for n in range(len(channels)))
        ),
        "patch": patch,
        "order": int(how.get("order", 3)),
        "order_z": int(how.get("order_z", 0)),
        "separate_z": how.get("force_separate_z"),
    }
    source = "stated by the network (plans.json)"
    endings = _endings(channels)
    sources = dict.fromkeys(values, source)
    return Preparation("nnunet", values, sources, patch, channels, endings, file=str(folder / "plans.json"))


def _network(configuration: Mapping[str, Any], channels: int, classes: int, purpose: str) -> nn.Module:
    """The plans' network, without the outputs that only training looks at."""
    unets = import_library("dynamic_network_architectures.architectures.unet", purpose)
    architecture = configuration.get("architecture") or _old_architecture(configuration)
    path = str(architecture["network_class_name"])
    name = path.rpartition(".")[2]
    if not path.startswith("dynamic_network_architectures.") or name not in _NETWORKS or not hasattr(unets, name):
        raise ModelError(
            f"the plans' network is {one_line(path, 80)}: of dynamic_network_architectures cfcam builds"
            f" {', '.join(_NETWORKS)}; make another one in a FILE.py:FACTORY"
        )
    words = dict(architecture["arch_kwargs"])
    for word in architecture.get("_kw_requires_import", ()):
        words[word] = _torch_class(words[word], word)
    try:
        network: nn.Module = getattr(unets, name)(
            input_channels=channels, num_classes=classes, **(words | {"deep_supervision": False})
        )
    except Exception as error:
        raise ModelError(f"the plans' {name} cannot be built ({describe(error)}): give the plans as written") from error
    return network


def _torch_class(path: Any, word: str) -> type[nn.Module] | None:
    """A class of ``torch.nn`` by its path; nothing else is imported for plans."""
    if path is None:
        return None
    found = getattr(nn, str(path).rpartition(".")[2], None) if str(path).startswith("torch.nn.") else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ModelError(f"the plans' {word} is {one_line(str(path), 80)!r}, which is no class of torch.nn")
    return found


def _old_architecture(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture in the words of now, of plans that were written before nnU-Net 2.4."""
    name = str(configuration["UNet_class_name"])
    stages, axes = len(configuration["n_conv_per_stage_encoder"]), len(configuration["patch_size"])
    most = configuration["unet_max_num_features"]
    features = [min(configuration["UNet_base_num_features"] * 2**n, most) for n in range(stages)]
    words = {
        "n_stages": stages,
        "features_per_stage": features,
        "conv_op": f"torch.nn.Conv{axes}d",
        "kernel_sizes": configuration["conv_kernel_sizes"],
        "strides": configuration["pool_op_kernel_sizes"],
        _OLD_NETWORKS.get(name, "n_conv_per_stage"): configuration["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": f"torch.nn.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": words,
        "_kw_requires_import": ("conv_op", "norm_op", "nonlin"),
    }
