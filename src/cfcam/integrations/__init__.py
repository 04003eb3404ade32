"""Into other people's loops: maps of fixed pictures while a network is trained."""

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.integrations.lightning import LightningMaps
    from cfcam.integrations.training import TrainingMaps
    from cfcam.integrations.transformers import TransformersMaps

__all__ = ["LightningMaps", "TrainingMaps", "TransformersMaps"]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.integrations.lightning": "LightningMaps",
        "cfcam.integrations.training": "TrainingMaps",
        "cfcam.integrations.transformers": "TransformersMaps",
    },
)
