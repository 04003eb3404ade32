"""What is asked of a network: by which method, and about which class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cfcam.cli.arguments import words
from cfcam.cli.command import Checked
from cfcam.cli.options import complete
from cfcam.cli.options.network import Layer

if TYPE_CHECKING:
    pass


def method_option(text: str) -> Any:
    """The option of one method."""
    return typer.Option(metavar="NAME", help=text, autocompletion=complete.method)


def target_option(text: str) -> Any:
    """The option of one class."""
    return typer.Option(metavar="CLASS", help=text, autocompletion=complete.target)


def chosen_methods(names: Iterable[str]) -> tuple[str, ...]:
    """Names of methods, each once; "all" stands for those that a folder of pictures can afford."""
    from cfcam.methods import affordable_methods

    names = list(names)
    every = [name for name in names if name != "all"] + (affordable_methods() if "all" in names else [])
    return tuple(dict.fromkeys(every))


@dataclass(frozen=True, kw_only=True)
class OneMethod(Layer):
    """Options of commands that explain by one method; they stand in the command's own panel."""

    method: Annotated[str, method_option("Method; see cfcam methods."), Checked(words.method)] = "grad-cam"


@dataclass(frozen=True, kw_only=True)
class Question(OneMethod):
    """Options of commands that explain one class by one method; they stand in the command's own panel."""

    target: Annotated[str, target_option("Index, name or predicted."), Checked(words.target)] = "predicted"

    def __post_init__(self) -> None:
        """Looks for the class among those that are named."""
        super().__post_init__()
        words.named_targets(self.classes, [self.target])
