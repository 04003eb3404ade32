"""What a source of networks hands over, and how the libraries behind it are imported."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import nn

from cfcam.errors import MissingExtraError, ModelError, describe
from cfcam.models.stated import Stated

Probability = Literal["auto", "softmax", "sigmoid", "given"]

RANDOM: Final = "no weights given: the network is randomly initialised, its maps mean nothing"

_EXTRAS: Final = {
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "models",
    "monai": "models",
    "yaml": "evidence",
    "dynamic_network_architectures": "nnunet",
}


@dataclass(frozen=True)
class Preparation:
    """How the source of a network of volumes prepares them, in words of its own, all of which the network brings.

    Attributes:
        by: Whose words they are: ``nnunet`` or ``monai-bundle``.
        values: What the preparation of that name in `cfcam.imaging` is made with.
        sources: Who says so, for each of them.
        window: The size of the windows in which the network was made to see a volume; None: in one piece.
        channels: What its channels are.
        overlap: Share that two such windows have in common.
        endings: How the names of their files end, where each channel has a file of its own.
        file: Where all of this is written.
    """

    by: str
    values: Mapping[str, object]
    sources: Mapping[str, str] = field(default_factory=dict)
    window: tuple[int, ...] | None = None
    channels: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    overlap: float = 0.5
    file: str = ""


@dataclass(frozen=True)
class Built:
    """A network as its source made it; ``untrained`` is a note that holds until weights are loaded."""

    module: nn.Module
    classes: tuple[str, ...] | None = None
    stated: Stated = field(default_factory=Stated)
    probability: Probability = "auto"
    untrained: str | None = None
    notes: tuple[str, ...] = ()
    preparation: Preparation | None = None


def import_library(name: str, purpose: str) -> Any:
    """Import an optional library.

    Args:
        name: The module, e.g. ``monai.networks.nets``.
        purpose: What needs it, for the message.

    Returns:
        The module.

    Raises:
        MissingExtraError: If it is not installed.
        ModelError: If it is installed and its import fails.
    """
    library = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        lacking = (error.name or "").partition(".")[0]
        if lacking in _EXTRAS and isinstance(error, ModuleNotFoundError):
            raise MissingExtraError(lacking, _EXTRAS[lacking], purpose) from error
        raise ModelError(_broken(library, error)) from error
    except Exception as error:
        raise ModelError(_broken(library, error)) from error


def _broken(library: str, error: Exception) -> str:
    return (
        f"{library} is installed but cannot be imported ({describe(error, 120)}): "
        f"install the release of {library} that belongs to torch {torch.__version__}"
    )


def hub_answers(name: str, files: tuple[str, ...]) -> bool:
    """Tell whether one of a repository's files is in the local cache, or the hub can be reached.

    Args:
        name: The repository, ``owner/name``.
        files: File names, any of which will do.

    Returns:
        False only if nothing is cached and there is no connection.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if any(isinstance(huggingface_hub.try_to_load_from_cache(name, file), str) for file in files):
        return True
    try:
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(name, files[0]), timeout=_SECONDS)
    except HfHubHTTPError:
        return True
    except (OfflineModeIsEnabled, OSError):
        return False
    except Exception as error:
        # The transport's own errors are not a common type across versions (requests, httpx).
        if type(error).__module__.partition(".")[0] in {"httpx", "httpx2", "httpcore", "requests", "urllib3"}:
            return False
        raise
    return True


_SECONDS: Final = 8.0
