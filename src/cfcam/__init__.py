"""cfcam: what did a PyTorch vision model look at? Class activation maps you can trust."""

from cfcam._version import __version__

__all__ = ["__version__"]
