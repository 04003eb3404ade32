"""One call from a user's words to a network that can be explained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from cfcam.capture import Detector, Segmenter
from cfcam.capture.state.process import same_folder
from cfcam.errors import ModelError, describe, one_line
from cfcam.models.built import Built, Preparation, Probability
from cfcam.models.classes import read_classes
from cfcam.models.expects import input_channels
from cfcam.models.factory import from_file
from cfcam.models.head import find_head, outputs_of, replace_head
from cfcam.models.hugging_face import from_hugging_face
from cfcam.models.libraries import from_monai, from_timm, from_torchvision
from cfcam.models.monai_bundle import from_monai_bundle
from cfcam.models.nnunet import from_nnunet
from cfcam.models.spec import Source, Spec, parse_spec
from cfcam.models.stated import Stated, beside, from_json
from cfcam.models.stated_by_module import of_module, of_transform
from cfcam.models.untrained import untrained_note
from cfcam.models.weights import fit_weights, read_checkpoint
from cfcam.shown import counted


@dataclass(frozen=True)
class LoadedModel:
    """A network, and what is known of the pictures it expects and the scores it gives.

    Attributes:
        module: The network, in eval mode, on the device asked for.
        spec: What named it.
        classes: The names of its outputs, if known.
        preprocess: The keyword arguments of `cfcam.imaging.Preprocess` that are known for this network: any
            of ``size``, ``resize``, ``crop_ratio``, ``mean``, ``std``, ``interpolation``, ``order``; for a network of
            volumes those of `VolumePreprocess`.
        sources: who says so, for each of them; and why one that was stated is assumed all the same.
        probability: How its scores become probabilities; ``auto`` where the network does not say.
        notes: Lines a user should see, e.g. that the network is randomly initialised.
        output: Which tensor of its output holds the class scores, if a user said so.
        preparation: How volumes are prepared for it, where its source says all of it; then ``preprocess`` is empty.
    """

    module: nn.Module
    spec: str
    classes: tuple[str, ...] | None = None
    preprocess: Mapping[str, object] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    probability: Probability = "auto"
    notes: tuple[str, ...] = ()
    output: str | int | None = None
    preparation: Preparation | None = None


def load(
    spec: str,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    classes: str | Path | Sequence[str] | None = None,
    device: str | torch.device = "cpu",
    trust_bundle: bool = False,
) -> LoadedModel:
    """Load a network.

    Only a ``FILE.py:FACTORY`` runs code of the user's, and a bundle that is trusted; of every other spec, of weights
    and of class names nothing is executed. The random numbers of the process are as before, and so is, in its main
    thread, the working folder.

    Args:
        spec: The network; `available_forms` lists what can be written.
        weights: A checkpoint to load into it; see `load_weights`.
        num_classes: Replace the classifier by one with this many outputs, before the weights are loaded.
        classes: Names of the outputs, or a file of them (see `read_classes`); they win over those of the
            network.
        device: Where the network is put.
        trust_bundle: Run the Python that a ``monai-bundle:FOLDER`` holds, where its network or preprocessing needs it.

    Returns:
        The network in eval mode with what is known about it.

    Raises:
        ModelError: If the spec, the weights, the class names or the device cannot be used.
        MissingExtraError: If the library that the spec names is not installed.
    """
    parsed = parse_spec(spec)
    place = usable_device(device)
    names = None if classes is None else read_classes(classes)
    if names is not None and num_classes is not None and len(names) != num_classes:
        raise ModelError(f"{counted(len(names), 'class name')} for {num_classes} classes: give one name for each")
    if parsed.source in (Source.NNUNET, Source.BUNDLE) and (weights is not None or num_classes is not None):
        raise ModelError(
            f"{one_line(parsed.text, 80)} brings its own weights and classes: give no others (of nnU-Net, a fold"
            " or a checkpoint can be named: nnunet:FOLDER/fold_1)"
        )
    state, notes, in_file = (None, (), None) if weights is None else read_checkpoint(weights)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(mode=False), torch.enable_grad(), same_folder():
        built = _build(parsed, trust=trust_bundle)
        if state is None and parsed.source is Source.FILE:
            built = replace(built, untrained=untrained_note(parsed, built.module))
        changed = num_classes is not None and _set_classes(built.module, num_classes)
        if state is not None:
            own = (
                built.module.model if isinstance(built.module, (Detector, Segmenter)) else built.module
            )  # what was saved
            notes += fit_weights(own, state, source=str(weights), network=one_line(parsed.text, 80))
        try:
            module = built.module.to(place).eval()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise ModelError(_no_device(device, error)) from error
    said = _stated(parsed, built, weights, in_file)
    notes = built.notes + notes + said.notes
    if state is None and built.untrained:
        notes = (built.untrained, *notes)
    elif state is None and changed:
        notes = (
            "the new classifier is randomly initialised: without weights for it the maps mean nothing",
            *notes,
        )
    known = None if changed else built.classes
    return LoadedModel(
        module,
        parsed.text,
        names or known,
        dict(said.values),
        sources=dict(said.sources),
        probability=built.probability,
        notes=notes,
        preparation=built.preparation,
    )


def _build(spec: Spec, *, trust: bool) -> Built:
    match spec.source:
        case Source.DEMO:
            return _demo(spec)
        case Source.TORCHVISION:
            return from_torchvision(spec)
        case Source.TIMM:
            return from_timm(spec)
        case Source.HUGGING_FACE:
            return from_hugging_face(spec)
        case Source.MONAI:
            return from_monai(spec)
        case Source.NNUNET:
            return from_nnunet(spec)
        case Source.BUNDLE:
            return from_monai_bundle(spec, trust=trust)
        case Source.FILE:
            return _of_file(spec)


def _stated(spec: Spec, built: Built, weights: str | Path | None, in_file: Stated | None) -> Stated:
    """What is said of the pictures: by the network, in the weights' file, beside it; the later wins.

    What a library states for its own weights is an assumption once others are loaded.
    """
    said = built.stated
    if weights is not None:
        said = said.of_other_weights(spec.source) if said.values else said
        said |= in_file or Stated()
        said |= beside(Path(weights).expanduser()) or Stated()
    values = dict(said.values)
    channels = input_channels(built.module) or 3
    for name in ("mean", "std"):
        if isinstance(of := values.get(name), tuple) and len(of) == 1:
            values[name] = of * channels
    return replace(said, values=values)


def _demo(spec: Spec) -> Built:
    from cfcam.models.demo import CLASSES, load_demo_network
    from cfcam.models.demo.network import TRAINED_WITH

    network = load_demo_network(shortcut=spec.name == "demo-shortcut")
    said = Stated.by("stated by the network (its training)", TRAINED_WITH)
    return Built(network, tuple(CLASSES), said, probability="sigmoid")


def _of_file(spec: Spec) -> Built:
    module, given = from_file(spec)
    said = of_module(module) or Stated()
    if spec.path is not None:
        stem, folder = spec.path.stem, spec.path.parent
        name = f"{stem}.preprocess.json"
        said |= from_json(folder / name, f"stated beside the network ({name})") or Stated()
    if given is not None:
        source = f"stated by the network (beside it from {spec.name})"
        stated = of_transform(given, source, f"what {spec.name} returned", strict=True)
        if stated is None:
            raise ModelError(
                f"{one_line(spec.text, 80)} returned the network and a {type(given).__name__}, which does not say how"
                " pictures are prepared: return a mapping with mean, std and size, or transforms of torchvision"
            )
        said |= stated
    return Built(module, stated=said)


def _set_classes(module: nn.Module, num_classes: int) -> bool:
    """Replace the classifier; tell whether that changed anything."""
    before = find_head(module)
    had = None if before is None else outputs_of(before[1])
    replace_head(module, num_classes)
    return had != num_classes


def usable_device(device: str | torch.device) -> torch.device:
    """Returns a device; raises `ModelError` where this machine or this PyTorch has none of that name."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ModelError(_no_device(device, error)) from error


def _no_device(device: object, error: BaseException) -> str:
    return f"the device {str(device)!r} cannot be used ({describe(error, 120)}): give 'cpu'"
