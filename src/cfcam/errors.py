"""Every error that cfcam raises on purpose: one line that says what was wrong, where, and what to do next."""


class CfcamError(Exception):
    """Base of all cfcam errors; the message is one line, fit for a user's eyes."""


class MethodError(CfcamError, ValueError):
    """A method is unknown, its parameters are wrong, or it does not apply to this network."""


class LayerError(CfcamError, ValueError):
    """A target layer does not exist, has no spatial extent, or does not lead to the explained score."""


class TargetError(CfcamError, ValueError):
    """A target does not fit the batch or the network's classes."""


class InputError(CfcamError, ValueError):
    """An input tensor has a shape or a type that the network cannot be explained on."""


class OutputError(CfcamError, TypeError):
    """A network's output holds no tensor of class scores."""


class ImageError(CfcamError, ValueError):
    """A picture cannot be read, or is not one."""


class ModelError(CfcamError, ValueError):
    """A network or its weights cannot be loaded."""


class MissingExtraError(CfcamError, ImportError):
    """An optional library is not installed; the message names the command that installs it."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {library}, which is not installed: pip install 'cfcam[{extra}]'")
