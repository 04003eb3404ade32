"""Load a user's network: by the name of a library's model, from a folder, or from a file with a factory.

The names below are imported on first use (PEP 562), so that ``import cfcam.models`` costs nothing and the
command line can print its help without importing torch.
"""

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.models.classes import read_classes
    from cfcam.models.head import replace_head
    from cfcam.models.loading import LoadedModel, load
    from cfcam.models.spec import available_forms, model_name
    from cfcam.models.texts.text_model import TextModel
    from cfcam.models.weights import load_weights, read_state_dict

__all__ = [
    "LoadedModel",
    "TextModel",
    "available_forms",
    "load",
    "load_weights",
    "model_name",
    "read_classes",
    "read_state_dict",
    "replace_head",
]

# No submodule may be called `load`: importing it would bind the module over the function of that name.
__getattr__ = lazy(
    __name__,
    {
        "cfcam.models.classes": "read_classes",
        "cfcam.models.head": "replace_head",
        "cfcam.models.loading": "LoadedModel load",
        "cfcam.models.spec": "available_forms model_name",
        "cfcam.models.texts.text_model": "TextModel",
        "cfcam.models.weights": "load_weights read_state_dict",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
