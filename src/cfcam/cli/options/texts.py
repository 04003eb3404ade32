"""What networks that write are asked: a caption, or the answer to a question."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from cfcam.cli.arguments import words
from cfcam.cli.command import Checked
from cfcam.cli.options.network import Layer, read_device
from cfcam.cli.options.question import chosen_methods
from cfcam.cli.output.console import EXIT_FAILED, failure, out, print_json, say, warn
from cfcam.cli.output.panels import Panel
from cfcam.errors import InputError
from cfcam.models.spec import check_writes, parse_spec
from cfcam.shown import answer_text

if TYPE_CHECKING:
    from cfcam.jobs.engine.text_files import Told

DEFAULT_METHODS = ("hires-cam",)
# Not Grad-CAM: its weights are means over all tokens, of which a word looks at few (docs/how-to).

# Known here without importing torch; a test keeps it equal to that of TextModel.
MOST_TOKENS = 32

# All that means something for a text; an option that is not among these is refused rather than left out.
_OF_TEXTS = frozenset(
    (
        *("paths", "model", "device", "layer", "prompt", "text", "method", "target", "palette", "opacity", "blend"),
        *("most_tokens", "output", "overwrite", "recursive", "limit", "max_megapixels", "as_json", "quiet", "debug"),
    )
)

# What else a run makes of its maps.
_PAGES = ("html", "store", "index", "self_contained", "save")


@dataclass(frozen=True, kw_only=True)
class Texts(Layer):
    """Options with which pictures are explained word by word."""

    prompt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help='For networks that write: a question, or how the caption begins; "" for a caption. A map a word.',
            show_default=False,
            rich_help_panel=Panel.NETWORK,
        ),
    ] = None
    text: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="With --prompt: the text that is explained. [default: what the network writes]",
            show_default=False,
            rich_help_panel=Panel.NETWORK,
        ),
        Checked(words.word("--text", "the text that is explained")),
    ] = None

    most_tokens: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="With --prompt: where a text that the network writes is cut.",
            rich_help_panel=Panel.NETWORK,
        ),
    ] = MOST_TOKENS

    def __post_init__(self) -> None:
        """A text alone is about nothing."""
        super().__post_init__()
        if self.most_tokens != MOST_TOKENS and (self.prompt is None or self.text is not None):
            raise InputError(
                '--most-tokens is for texts that the network writes: give --prompt, "" for a caption, alone'
            )
        if self.text is not None and self.prompt is None:
            raise InputError('--text is what a network writes: give --prompt too, "" for a caption')


def check_asked(command: Any) -> None:
    """Refuses what means nothing for a text, rather than leaving it out without a word; and texts without a prompt.

    Args:
        command: ``cfcam explain``.

    Raises:
        CfcamError: an option, a method or the network does not fit.
    """
    if command.prompt is None:
        words.methods(command.method or ())
        return
    of_classes = [field for field in fields(command) if field.name not in _OF_TEXTS]
    given = [field.name for field in of_classes if getattr(command, field.name) != field.default]
    # --no-index asks for what is done anyway.
    wrong = [name for name in given if getattr(command, name) is not False]
    if pages := [name for name in wrong if name in _PAGES]:
        raise InputError(
            f"--{pages[0].replace('_', '-')}: with --prompt no page and no store is made, but a strip of words over"
            " their maps and their numbers as JSON for each picture, in the folder of --output: leave it out"
        )
    if wrong:
        raise InputError(f"--{wrong[0].replace('_', '-')} is for networks that classify: leave it out with --prompt")
    if "all" in (command.method or ()):
        raise InputError(
            "--method all is for networks that classify: with --prompt name methods, as --method hires-cam"
        )
    check_writes(parse_spec(command.spec))
    words.answers(command.target or ())


def tell(command: Any, sources: list[Path], stdout: TextIO) -> None:
    """Explains pictures word by word for a command with these options, and says what became of each.

    Args:
        command: ``cfcam explain``.
        sources: files, folders and globs.
        stdout: where a summary as JSON goes.
    """
    from cfcam.imaging import list_images
    from cfcam.imaging.drawing.look import Look
    from cfcam.jobs.engine.text_files import TextSettings, write_texts
    from cfcam.jobs.engine.texts import read_asked
    from cfcam.models.text_loading import load_text_model

    pictures = list_images(sources, recursive=command.recursive)[: command.limit]
    settings = TextSettings(
        output=command.output,
        prompt=command.prompt,
        text=command.text,
        targets=[read_asked(word) for word in command.target or ["words"]],
        methods=chosen_methods(command.method or DEFAULT_METHODS),
        layer=command.layer,
        look=Look(command.palette, command.opacity, command.blend),
        max_pixels=int(command.max_megapixels * 1e6),
        most_tokens=command.most_tokens,
    )
    told = []
    for one in write_texts(load_text_model(command.spec, read_device(command.device)), pictures, settings):
        told.append(one)
        if one.problem:
            say("failed", failure(one.path.name, one.problem), "bold red")
            continue
        for notice in one.found.notices if one.found else ():
            warn(f"{one.path.name}: {notice}")
        if not (command.silent or command.as_json):
            out().print(f"{one.path.name}: {_line(one)}", markup=False, soft_wrap=True)
    if command.as_json:
        print_json([_plain(one) for one in told], stdout)
    elif not command.silent:
        done = sum(not one.problem for one in told)
        out().print(f"{done} of {len(told)} explained, in {command.output}/; research use only", markup=False)
    if any(one.problem for one in told):
        raise typer.Exit(EXIT_FAILED)


def _line(one: Told) -> str:
    """The text, with the probability of each word that has a map; of one answer against another its margin."""
    if one.found is None:
        return ""
    found, proba = one.found, one.found.log_probabilities[0].exp().tolist()
    margins = [found.explanation.margin(0, k) for k in range(len(proba))]
    beside = map(answer_text, proba, margins)
    return " ".join(f"{name} ({text})" for name, text in zip(found.names[0], beside, strict=True))


def _plain(one: Told) -> dict[str, Any]:
    if one.found is None:
        return {"picture": str(one.path), "problem": one.problem}
    return {"picture": str(one.path), "files": list(map(str, one.files)), **one.found.to_dict()}
