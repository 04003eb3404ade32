"""Runs the examples of `docs/gallery/` and makes their pages: `python docs/gallery.py [NAME...]`.

An example is a script. Its docstring gives the title and the introduction; comments behind a line ``# %%`` are prose;
the rest is code. What a block prints and the pictures that it writes stand below it on the page.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image as PILImage

FOLDER = Path(__file__).parent / "gallery"
PICTURES = FOLDER / "images"
EXAMPLES = (
    "first_map",
    "several_methods",
    "several_classes",
    "contrast",
    "own_layer",
    "transformer",
    "words",
    "detector",
    "regions",
    "volume",
    "nnunet",
    "training",
    "scorecard",
    "own_method",
    "doctor",
)
EXTRAS = {"transformer": "models", "words": "models", "regions": "clinical", "nnunet": "nnunet,volume"}
"""What an example needs beyond cfcam itself."""
MOST_BYTES = 60_000
_WIDTHS = (900, 760, 640, 520)


@dataclass
class Block:
    """A piece of an example: prose (Markdown), then code; and what running it gave."""

    prose: str
    code: str
    line: int
    printed: str = ""
    pictures: list[Path] = field(default_factory=list)


def read(script: Path) -> tuple[str, str, list[Block]]:
    """Returns an example's title, its introduction and its blocks."""
    source = script.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    title, _, introduction = docstring.partition("\n")
    body = source[source.index('"""', 3) + 3 :]
    before = source[: -len(body)].count("\n")
    blocks = []
    for part in re.split(r"^# %%.*\n", body, flags=re.MULTILINE):
        prose = re.match(r"(?:#.*\n)*", part)[0]
        words = re.sub(r"^# ?", "", prose, flags=re.MULTILINE).strip()
        blocks.append(Block(words, part[len(prose) :], before + prose.count("\n")))
        before += part.count("\n") + 1
    return title.strip(), introduction.strip(), [b for b in blocks if b.prose or b.code.strip()]


def run(script: Path, folder: Path) -> list[Block]:
    """Runs an example in a folder, block by block, and returns what each printed and which pictures it wrote."""
    blocks = read(script)[2]
    namespace = {"__name__": "__main__", "__file__": str(script)}
    with _inside(folder):
        seen: set[Path] = set()
        for block in blocks:
            code = "\n" * block.line + block.code  # so that a traceback names the script's own lines
            with redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, str(script), "exec", dont_inherit=True), namespace)  # noqa: S102
            block.printed = printed.getvalue()
            block.pictures = sorted(set(folder.glob("*.png")) - seen, key=lambda path: path.stat().st_mtime_ns)
            seen.update(block.pictures)
    return blocks


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def page(script: Path, blocks: list[Block]) -> str:
    """Returns the page of an example that was run, as Markdown."""
    title, introduction, _ = read(script)
    lines = [f"# {title}", "", introduction, ""]
    for block in blocks:
        lines += [block.prose, ""] if block.prose else []
        if block.code.strip():
            lines += ["```py", block.code.strip("\n"), "```", ""]
        if block.printed.strip():
            lines += ["```text", block.printed.rstrip(), "```", ""]
        lines += [f"![{title}](images/{picture.stem}.jpg)\n" for picture in block.pictures]
    notebook = f"[as a notebook]({script.stem}.ipynb)"
    lines += [f"[Download this example]({script.name}), or {notebook}. It needs {_needed(script.stem)}."]
    return "\n".join(lines) + "\n"


def _needed(name: str) -> str:
    extra = f"; it needs `pip install '.[{EXTRAS[name]}]'`" if name in EXTRAS else ""
    return f"no data and no internet{extra}"


def notebook(name: str) -> str:
    """Returns the page of an example as a notebook that was run: JSON, as nbformat 4.4 describes it."""
    cells: list[dict[str, Any]] = []
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8").rpartition("[Download this example]")[0]
    for part in re.split(r"^(```.*?^```$|!\[.*?\]\(.*?\)$)", text, flags=re.DOTALL | re.MULTILINE):
        if found := re.fullmatch(r"```py\n(.*)\n```", part, re.DOTALL):
            cells.append(
                {
                    "cell_type": "code",
                    "execution_count": len(cells) + 1,
                    "metadata": {},
                    "outputs": [],
                    "source": found[1],
                }
            )
        elif found := re.fullmatch(r"```text\n(.*)\n```", part, re.DOTALL):
            _outputs(cells).append({"output_type": "stream", "name": "stdout", "text": found[1]})
        elif found := re.fullmatch(r"!\[.*\]\((.*)\)", part):
            picture = base64.b64encode((FOLDER / found[1]).read_bytes()).decode()
            _outputs(cells).append({"output_type": "display_data", "metadata": {}, "data": {"image/jpeg": picture}})
        elif part.strip():
            cells.append({"cell_type": "markdown", "metadata": {}, "source": part.strip()})
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    told = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def _outputs(cells: list[dict[str, Any]]) -> list[Any]:
    """What the last cell of code gave."""
    return [cell for cell in cells if cell["cell_type"] == "code"][-1]["outputs"]


def save_small(picture: Path, target: Path) -> None:
    """Writes a picture as a JPEG of at most `MOST_BYTES`, narrower where it has to be."""
    with PILImage.open(picture) as opened:
        image = opened.convert("RGB")
    for width in _WIDTHS:
        for quality in (88, 80, 70, 55):  # grain that no map dims takes the last
            small = image.copy()
            small.thumbnail((width, 4 * width), PILImage.Resampling.LANCZOS)
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() <= MOST_BYTES:
                target.write_bytes(buffer.getvalue())
                return
    raise ValueError(f"{picture.name} does not fit into {MOST_BYTES} bytes: draw less")


def index() -> str:
    """Returns the page that leads to the examples."""
    lines = ["# Gallery", "", "Each example is a script that runs in a few seconds, without data or internet."]
    extras = ",".join(sorted({"notebook", *",".join(EXTRAS.values()).split(",")}))
    lines += [
        f"Each is a notebook, too: `pip install '.[{extras}]'` for all of them, then `jupyter lab docs/gallery`.",
        "",
    ]
    for name in EXAMPLES:
        title, introduction, _ = read(FOLDER / f"{name}.py")
        first = introduction.split("\n\n")[0].replace("\n", " ")
        needed = f" It needs `pip install '.[{EXTRAS[name]}]'`." if name in EXTRAS else ""
        lines += [f"## [{title}]({name}.md)", "", first + needed, ""]
        pictures = sorted(PICTURES.glob(f"{name}*.jpg"))
        lines += [f"[![{title}](images/{pictures[0].name}){{ width=480 }}]({name}.md)", ""] if pictures else []
    return "\n".join(lines)


def main(names: list[str]) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in names or EXAMPLES:
        script = FOLDER / f"{name}.py"
        with tempfile.TemporaryDirectory() as folder:
            blocks = run(script, Path(folder).resolve())
            for block in blocks:
                for picture in block.pictures:
                    save_small(picture, PICTURES / f"{picture.stem}.jpg")
        (FOLDER / f"{name}.md").write_text(page(script, blocks), encoding="utf-8")
        (FOLDER / f"{name}.ipynb").write_text(notebook(name), encoding="utf-8")
    (FOLDER / "index.md").write_text(index(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
