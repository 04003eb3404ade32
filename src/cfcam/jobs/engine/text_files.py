"""What is written of captions and answers: a strip of words over their maps for each picture, and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cfcam.errors import CfcamError, DiskError, describe_first, is_full
from cfcam.files import own_output, write_json
from cfcam.imaging import read_image, save_image
from cfcam.imaging.drawing.look import Look
from cfcam.jobs.engine.texts import DEFAULT_METHODS, Asked, TextExplanation, explain_text
from cfcam.models.texts.text_model import MOST_TOKENS, TextModel


@dataclass(frozen=True)
class TextSettings:
    """How pictures are explained, and what is written of them.

    Attributes:
        output: folder to write into.
        prompt: a question, or how the text begins.
        text: what is explained; None: what the network writes.
        targets: see `explain_text`.
        methods: names.
        layer: see `explain_text`.
        look: how maps are drawn.
        max_pixels: of a picture.
        most_tokens: that are generated.
    """

    output: Path
    prompt: str = ""
    text: str | None = None
    targets: Sequence[Asked] = ("words",)
    methods: tuple[str, ...] = DEFAULT_METHODS
    layer: str | None = None
    look: Look = field(default_factory=Look)
    max_pixels: int = 64_000_000
    most_tokens: int = MOST_TOKENS


@dataclass(frozen=True)
class Told:
    """What became of one picture.

    Attributes:
        path: of the picture.
        files: written of it.
        found: its explanation; None: it failed.
        problem: why, in one line; "" if it did not.
    """

    path: Path
    files: tuple[Path, ...] = ()
    found: TextExplanation | None = None
    problem: str = ""


def write_texts(model: TextModel, pictures: Sequence[Path], settings: TextSettings) -> Iterator[Told]:
    """Explains pictures one after another and writes ``NAME_METHOD_words.png`` and ``NAME_words.json``; yields each.

    A picture that fails is told of, and the next one is explained.

    Args:
        model: the network with its processor.
        pictures: files.
        settings: see `TextSettings`.

    Raises:
        JobError: the output folder cannot be written into, or another run is at work there.
        DiskError: its disk is full.
    """
    names = _names(pictures)
    with own_output(settings.output):
        for path in pictures:
            try:
                yield _written(model, path, names[path], settings)
            except (CfcamError, OSError) as error:
                if is_full(error):  # all others would meet it too
                    raise DiskError(settings.output, "nothing more fits on it") from error
                yield Told(path, problem=str(error) if isinstance(error, CfcamError) else describe_first(error))


def _written(model: TextModel, path: Path, name: str, settings: TextSettings) -> Told:
    image = read_image(path, max_pixels=settings.max_pixels)
    found = explain_text(
        model,
        image.rgb(),
        settings.prompt,
        settings.text,
        settings.methods,
        targets=settings.targets,
        layer=settings.layer,
        most_tokens=settings.most_tokens,
    )
    draw: Callable[..., object] = found.strip
    files = []
    for method in found.explanation.methods:
        strip = draw(image.rgb(), method, **settings.look._asdict())
        files.append(save_image(strip, settings.output / f"{name}_{method}_words.png"))  # type: ignore[arg-type]
    numbers = {"picture": path.name, "sha256": image.sha256, **found.to_dict()}
    files.append(write_json(settings.output / f"{name}_words.json", numbers))
    return Told(path, tuple(files), found)


def _names(pictures: Sequence[Path]) -> dict[Path, str]:
    """Returns what the files of each picture are called: its stem, or its whole name where several share one."""
    stems = [path.stem for path in pictures]
    return {
        path: path.stem if stems.count(path.stem) == 1 else f"{path.stem}{path.suffix.replace('.', '_')}"
        for path in pictures
    }
