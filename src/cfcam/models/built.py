"""What a source of networks hands over, and how the libraries behind it are imported."""

import importlib
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import nn

from cfcam.errors import MissingExtraError, ModelError
from cfcam.models.stated import Stated
from cfcam.models.words import describe

Probability = Literal["auto", "softmax", "sigmoid", "given"]

RANDOM: Final = "no weights given: the network is randomly initialised, its maps mean nothing"

_EXTRAS: Final = {"torchvision": "torchvision", "timm": "timm", "transformers": "models", "monai": "models"}


@dataclass(frozen=True)
class Built:
    """A network as its source made it; ``untrained`` is a note that holds until weights are loaded."""

    module: nn.Module
    classes: tuple[str, ...] | None = None
    stated: Stated = field(default_factory=Stated)
    probability: Probability = "auto"
    untrained: str | None = None
    notes: tuple[str, ...] = ()


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
