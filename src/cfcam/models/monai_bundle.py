"""Networks in bundles of MONAI: network, preprocessing and weights by its configuration, none of whose code is run.

A configuration may hold Python: expressions that begin with ``$``, and targets that are any callable. Without the
user's word for it, only targets of MONAI's networks and transforms are built, and no expression is evaluated unless it
is a literal.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import nn

from cfcam import json_text
from cfcam.errors import ModelError, describe, one_line
from cfcam.models.built import Built, Preparation, Probability, import_library
from cfcam.models.expects import input_channels, takes_volumes
from cfcam.models.spec import Spec, check_place
from cfcam.models.weights import fit_weights, read_state_dict

TRUST: Final = "--trust-bundle"
_CONFIGURATIONS: Final = ("inference.json", "inference.yaml", "inference.yml")
_SEPARATOR: Final = re.compile(r"::|#")
_DUE: Final = {"int": "a whole number", "float": "a number", "bool": "true or false"}
_DEEPEST: Final = 64
_NOT_RUN: Final = ("Rand", "Save", "Lambda", "Write")
_LOADERS: Final = ("LoadImage", "LoadImaged")
_TO_A_DEVICE: Final = ("ToDevice", "ToDeviced")


def from_monai_bundle(spec: Spec, *, trust: bool = False) -> Built:
    """Build ``monai-bundle:FOLDER``: its ``network_def``, ``preprocessing`` and ``models/model.pt``.

    Args:
        spec: Of kind ``monai-bundle``.
        trust: Evaluate the expressions that the network and the preprocessing need, and import the bundle's own code.

    Raises:
        ModelError: A file is missing or broken, the configuration needs code that was not trusted, or asks for what
            cannot be used.
        MissingExtraError: MONAI is not installed.
    """
    check_place(spec)
    folder = Path(spec.name).expanduser().resolve()
    import_library("monai", spec.text)
    file = next(folder / "configs" / name for name in _CONFIGURATIONS if (folder / "configs" / name).is_file())
    settle = _Settling(_read(file), file, folder, trust=trust)
    module = _network(settle)
    if takes_volumes(module) is False:
        raise ModelError(
            f"{folder.name}: its network takes pictures, and bundles of volumes are explained: name the network, e.g."
            " monai:CLASS(...), and give models/model.pt as --weights"
        )
    weights = folder / "models" / "model.pt"
    state, notes = read_state_dict(weights)
    of = {"network": "the bundle's network_def", "classes_of": f"configs/{file.name}"}
    notes += fit_weights(module, state, source=str(weights), **of)
    metadata = folder / "configs" / "metadata.json"
    about = _read(metadata) if metadata.is_file() else {}
    preparation, told = _preparation(settle, module, about)
    if trust and settle.ran:
        told += (f"code of the bundle was run, as {TRUST} says: {', '.join(dict.fromkeys(settle.ran))}",)
    return Built(
        module,
        _names(about, "outputs", "pred"),
        probability=_probability(settle),
        notes=notes + told,
        preparation=preparation,
    )


class _Settling:
    """Brings parts of a configuration to plain values: references followed, expressions refused or evaluated.

    Attributes:
        ran: which expressions were evaluated and which of the bundle's own names imported.
    """

    def __init__(self, config: Mapping[str, Any], file: Path, folder: Path, *, trust: bool) -> None:
        self.config, self.file, self.folder, self.trust = config, file, folder, trust
        self.ran: list[str] = []
        self._parser: Any = None
        self._without: tuple[str, ...] = ()

    def __call__(self, part: str, without: tuple[str, ...] = ()) -> Any:
        """A part of the configuration as plain values, without some names; None if there is none of that name."""
        self._without = without
        return self.settled(self.config[part], (part,)) if part in self.config else None

    def refused(self, what: str, then: str) -> ModelError:
        return ModelError(f"{self.file.parent.parent.name}/configs/{self.file.name}: {what}: {then}")

    def settled(self, value: Any, place: tuple[str, ...], depth: int = 0) -> Any:
        """Any value of it as plain values; ``place`` is where it stands."""
        if depth > _DEEPEST:
            raise self.refused(f"{place[0]} refers to itself", "repair its references (@)")
        if isinstance(value, Mapping):
            kept = {name: one for name, one in value.items() if name not in self._without}
            return {name: self.settled(one, (*place, str(name)), depth + 1) for name, one in kept.items()}
        if isinstance(value, list):
            return [self.settled(one, (*place, str(n)), depth + 1) for n, one in enumerate(value)]
        if isinstance(value, str) and value.startswith("@"):
            return self.settled(self._found(value[1:], value), tuple(_SEPARATOR.split(value[1:])), depth + 1)
        if isinstance(value, str) and value.startswith("$"):
            return self._evaluated(value, place)
        if isinstance(value, str) and value.startswith("%"):
            raise self.refused(f"{'::'.join(place)} is the macro {one_line(value, 60)!r}", "write its value there")
        return value

    def _found(self, path: str, shown: str) -> Any:
        found: Any = self.config
        for step in _SEPARATOR.split(path):
            try:
                found = found[int(step)] if isinstance(found, list) else found[step]
            except (KeyError, IndexError, ValueError, TypeError) as error:
                raise self.refused(f"there is no {one_line(shown, 60)}", "repair that reference") from error
        return found

    def _evaluated(self, text: str, place: tuple[str, ...]) -> Any:
        try:
            return ast.literal_eval(text[1:].strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            pass
        if re.fullmatch(r"\$\s*@[\w:#]+\s*", text):
            return self.settled(text[1:].strip(), place, 1)
        if not self.trust:
            raise self.refused(
                f"{'::'.join(place)} is the Python expression {one_line(text, 80)!r}, which is not run",
                f"write its value there, or run the bundle's code with {TRUST} if you trust who made it",
            )
        self.ran.append(one_line(text, 80))
        try:
            return self._trusted().get_parsed_content("::".join(place))
        except Exception as error:
            raise self.refused(
                f"{'::'.join(place)}, {one_line(text, 80)!r}, fails ({describe(error, 100)})", "repair it"
            ) from error

    def _trusted(self) -> Any:
        """MONAI's own parser, which runs what the configuration holds."""
        if self._parser is None:
            parser = import_library("monai.bundle", "a MONAI bundle").ConfigParser(dict(self.config))
            parser["bundle_root"] = str(self.folder)
            if "imports" in self.config:
                parser.get_parsed_content("imports")
            self._parser = parser
        return self._parser

    def own(self, path: str) -> Any:
        """What the bundle's own code, or that of another library, calls by a path."""
        if not self.trust:
            raise self.refused(
                f"it builds {one_line(path, 80)}, which is no part of MONAI and is not run",
                f"run the bundle's code with {TRUST} if you trust who made it",
            )
        self.ran.append(path)
        module, _, name = path.rpartition(".")
        sys.path.insert(0, str(self.folder))
        try:
            return getattr(importlib.import_module(module), name)
        except Exception as error:
            what = f"{one_line(path, 80)} cannot be imported ({describe(error, 100)})"
            raise self.refused(what, "repair it") from error
        finally:
            sys.path.remove(str(self.folder))


def _read(file: Path) -> Mapping[str, Any]:
    then = "repair it, or copy the bundle again"
    if file.suffix == ".json":
        content = json_text.read(file, ModelError, shown=str(file), then=then)
    else:
        yaml = import_library("yaml", "a MONAI bundle in YAML")
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ModelError(f"{file} cannot be read ({describe(error, 100)}): {then}") from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{file} holds no mapping: {then}")
    return content


def _network(settle: _Settling) -> nn.Module:
    words = settle("network_def")
    if not isinstance(words, Mapping) or "_target_" not in words:
        raise settle.refused("it has no network_def with a _target_", "give a bundle of one network")
    _check_flat(settle, words, "network_def")
    path = str(words["_target_"])
    nets = import_library("monai.networks.nets", "a MONAI bundle")
    name = path.removeprefix("monai.networks.nets.")
    own = "." not in name or path.startswith("monai.networks.nets.")
    found = getattr(nets, name.rpartition(".")[2], None) if own else settle.own(path)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise settle.refused(f"network_def is {one_line(path, 80)}, which is no network of MONAI", "name one")
    try:
        module: nn.Module = found(**{key: value for key, value in words.items() if not key.startswith("_")})
    except Exception as error:
        raise settle.refused(f"{name} cannot be built ({describe(error)})", _arguments(found, words)) from error
    return module


def _arguments(found: type[nn.Module], words: Mapping[str, Any]) -> str:
    """What a network takes; of an argument that is a text where a number is due, that alone."""
    signature = inspect.signature(found)
    for name, one in signature.parameters.items():
        if isinstance(words.get(name), str) and str(one.annotation) in ("int", "float", "bool"):
            return f"{name} is {one_line(repr(words[name]), 40)}: give {_DUE[str(one.annotation)]}"
    return f"its arguments are {one_line(signature, 200)}"


def _check_flat(settle: _Settling, words: Mapping[str, Any], part: str) -> None:
    """Refuses what is to be built of something that is to be built itself: what that would be, nobody has looked at."""
    inside = [one for value in words.values() for one in (value if isinstance(value, list) else [value])]
    if nested := next((one for one in inside if isinstance(one, Mapping) and "_target_" in one), None):
        target = one_line(str(nested["_target_"]), 60)
        raise settle.refused(f"its {part} has {target} inside of another target", "give a bundle without")


def _preparation(settle: _Settling, module: nn.Module, about: Mapping[str, Any]) -> tuple[Preparation, tuple[str, ...]]:
    """What `cfcam.imaging.bundle_preprocess.BundlePreprocess` takes of the configuration."""
    words = settle("preprocessing", without=("device",))  # volumes are prepared where they are
    if not isinstance(words, Mapping) or _name(words) != "Compose":
        raise settle.refused("its preprocessing is no Compose of transforms", "it is used and not guessed: write it so")
    transforms = _transforms(settle, words.get("transforms", []))
    loaders = [one for one in transforms if _name(one) in _LOADERS]
    keys = loaders[0].get("keys", "image") if loaders else "image"
    keys = (keys,) if isinstance(keys, str) else tuple(keys) if isinstance(keys, list) else ()
    if not keys or not all(isinstance(key, str) for key in keys):
        raise settle.refused(f"its {_name(loaders[0])} has keys that are no names", 'write e.g. "keys": "image"')
    compose = {name: value for name, value in words.items() if not name.startswith("_") and name != "transforms"}
    channels = input_channels(module) or 1
    window, overlap, told = _inferer(settle)
    values = {
        "mean": (0.0,) * channels,
        "std": (1.0,) * channels,
        "transforms": tuple(transforms),
        "keys": keys,
        "result": keys[0] if len(keys) == 1 else "image",
        "patch": window or (1, 1, 1),
        "trusted": settle.trust,
        "compose": compose,
    }
    sources = {"transforms": f"stated by the network (configs/{settle.file.name})"}
    names = keys if len(keys) > 1 else _names(about, "inputs", "image") or ()
    names = names if len(names) == channels else ()
    file = str(settle.file)
    return Preparation("monai-bundle", values, sources, window, names, overlap=overlap, file=file), told


def _transforms(settle: _Settling, words: Any) -> list[Mapping[str, Any]]:
    """The transforms that are run, each of which can be built."""
    if not isinstance(words, list):
        what = f"preprocessing::transforms is {one_line(repr(words), 60)}"
        raise settle.refused(what, "write a list of transforms, each with its _target_")
    library = import_library("monai.transforms", "a MONAI bundle")
    found = []
    for n, one in enumerate(words):
        place = f"preprocessing::transforms::{n}"
        if not isinstance(one, Mapping) or not isinstance(one.get("_target_"), str):
            what = f"{place} is {one_line(repr(one), 60)}"
            raise settle.refused(what, 'write a transform there, such as {"_target_": "LoadImaged", "keys": "image"}')
        path, name, disabled = one["_target_"], _name(one), one.get("_disabled_", False)
        if disabled.strip().lower() == "true" if isinstance(disabled, str) else disabled:
            continue
        if name in _TO_A_DEVICE:
            continue
        if name.startswith(_NOT_RUN):
            raise settle.refused(f"its preprocessing has {name}", "what is random, or writes, or is code, is not run")
        if one.get("_mode_", "default") != "default":
            raise settle.refused(f"{place} has the _mode_ {one_line(repr(one['_mode_']), 40)}", "leave it out")
        _check_flat(settle, one, "preprocessing")
        made: Any = getattr(library, name, None)
        known = isinstance(made, type) and issubclass(made, library.Transform)
        if not known or not ("." not in path or path.startswith("monai.transforms.")):
            made = settle.own(path)
        if name not in _LOADERS:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of MONAI's own defaults
                    made(**{key: value for key, value in one.items() if not key.startswith("_")})
            except Exception as error:
                what = f"{place}, {name}, cannot be built ({describe(error, 120)})"
                raise settle.refused(what, "correct its arguments") from error
        found.append(one)
    return found


def _name(words: Mapping[str, Any]) -> str:
    return str(words.get("_target_", "")).rpartition(".")[2]


def _inferer(settle: _Settling) -> tuple[tuple[int, ...] | None, float, tuple[str, ...]]:
    """The size and overlap of the windows in which the bundle infers, and what is to be said of it."""
    words = settle.config.get("inferer")
    if not isinstance(words, Mapping):
        return None, 0.5, ()
    name = _name(words)
    if name != "SlidingWindowInferer":
        said = f"the bundle infers by {one_line(name, 40)}: volumes are explained in one piece"
        return None, 0.5, () if name == "SimpleInferer" else (said,)
    roi = settle.settled(words.get("roi_size"), ("inferer", "roi_size"))
    overlap = settle.settled(words.get("overlap", 0.25), ("inferer", "overlap"))
    size = (roi,) * 3 if isinstance(roi, int) else tuple(roi) if isinstance(roi, (list, tuple)) else ()
    if len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size) or not isinstance(overlap, (int, float)):
        raise settle.refused(f"its windows are {one_line(str(roi), 40)} with overlap {overlap}", "give three sizes")
    if not 0 <= overlap < 1:
        raise settle.refused(f"inferer::overlap is {overlap}", "give a share from 0 to below 1")
    return size, min(float(overlap), 0.9), ()


def _probability(settle: _Settling) -> Probability:
    """How the bundle's postprocessing reads its output."""
    words = settle.config.get("postprocessing")
    steps = words.get("transforms", ()) if isinstance(words, Mapping) else ()
    for one in steps if isinstance(steps, list) else ():
        if isinstance(one, Mapping) and str(one.get("_target_", "")).startswith("Activations"):
            return "sigmoid" if one.get("sigmoid") is True else "softmax" if one.get("softmax") is True else "auto"
    return "auto"


def _names(about: Mapping[str, Any], side: str, key: str) -> tuple[str, ...] | None:
    """The names of channels that the metadata give, from 0 without gaps."""
    try:
        names = about["network_data_format"][side][key]["channel_def"]
        ordered = tuple(str(names[str(n)]) for n in range(len(names)))
    except (KeyError, TypeError, AttributeError):
        return None
    return ordered if ordered and len(set(ordered)) == len(ordered) else None
