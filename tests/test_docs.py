"""The Python of the README and of the documentation runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cfcam.models.demo import CLASSES, load_demo_network, make_phantom

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]


class Frames(torch.nn.Module):
    """A trunk on pictures (N, T, C, H, W), all at once or one after another, and what is made of its outputs."""

    def __init__(self, joined: Callable[[torch.Tensor], torch.Tensor], *, loop: bool = False) -> None:
        super().__init__()
        self.trunk = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
        self.head, self.joined, self.loop = torch.nn.Linear(4, 2), joined, loop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.loop:
            maps = torch.stack([self.trunk(one) for one in x.unbind(1)], 1)
        else:
            maps = self.trunk(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.head(self.joined(maps).mean((-2, -1)))


RUN_ELSEWHERE = (
    "docs/how-to/many-images.md",
)  # by tests/test_many_images_page.py, which makes the store that it reads
MAKES_ITS_OWN = ("docs/how-to/view-api.md",)  # pictures: it is to run as it stands


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page) and page not in RUN_ELSEWHERE])
def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    import cfcam

    (tmp_path / "testimgs").mkdir()
    for path in () if page in MAKES_ITS_OWN else ("chest.png", "testimgs/nodule.png"):
        Image.fromarray(make_phantom(7, findings=["nodule"], size=256).image).save(tmp_path / path)
    monkeypatch.chdir(tmp_path)
    model = load_demo_network()
    namespace = {
        "cfcam": cfcam,
        "model": model,
        "x": torch.randn(2, 3, 64, 64),
        "names": ["no finding", "pneumonia", "nodule", "effusion"],
        "loader": [(torch.randn(2, 3, 64, 64), torch.tensor([0, 1]))],
        "CLASSES": CLASSES,
        "network_of_clips": Frames(lambda maps: maps.mean(1)).eval(),
        "clips": torch.rand(2, 4, 3, 16, 16),
        "siamese": Frames(lambda maps: maps[:, 0] - maps[:, 1], loop=True).eval(),
        "pairs": torch.rand(2, 2, 3, 16, 16),
    }
    for code in blocks(page):
        if "layer=model.layer4[-1]" in code:  # written for a ResNet
            model.layer4 = torch.nn.Sequential(model.layer4)
        exec(compile(code, page, "exec", dont_inherit=True), namespace)  # noqa: S102


def test_what_is_to_be_installed_comes_from_the_clone() -> None:
    for page in PAGES:
        for block in re.findall(
            r"^```sh\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            assert not re.search(r"pip install (-\S+ )*['\"]?cfcam", block), f"{page}: cfcam is on no package index"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:\s]+)\)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


def test_every_test_that_a_page_names_is_there() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(?:tests/)?([\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 50
    for file, test in named:
        assert f"def {test}" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{test}"


def built(folder: Path, nav: list[str], files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A site of its own, built by the command of `make docs` with all else that mkdocs.yml says."""
    pytest.importorskip("mkdocs")
    command = re.search(r"\$\(BIN\)/(mkdocs build\b.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert command
    hooks = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("docs/formulas.py",)}
    files = {"mkdocs.yml": f"INHERIT: {ROOT / 'mkdocs.yml'}\nnav: [{', '.join(nav)}]\n", **hooks, **files}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", *command[1].split()],
        cwd=folder,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


def test_the_site_is_searched_from_a_folder_and_asks_nobody(tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    from tests.web.browser.page import launched

    script = "docs/javascripts/iframe-worker.js"
    files = {
        "docs/one.md": "# One\n\n## Part\n\nOf superpixels.\n",
        script: (ROOT / script).read_text(encoding="utf-8"),
    }
    done = built(tmp_path, ["one.md"], {**files, "src/squares.py": ""})
    assert done.returncode == 0, done.stderr
    with launched() as browser:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "site" / "one.html").as_uri())
        page.keyboard.press("/")
        page.locator(".md-search__input").press_sequentially("superpixels")
        page.locator(".md-search-result__item").first.wait_for(state="attached")
        assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob", "about"}


FUNCTION = """def area(side: float) -> float:
    '''The area.

    Args:
        {}: in mm.
    '''
    return side**2
"""
SOUND = "# One\n\n[two](two.md#part) ![p](p.png) [own](#one) [area][squares.area]\n"
FAULTS = {  # what a page says: what must be said of it
    "[a page](gone.md)": "a link 'gone.md', but the target is not found",
    "![a picture](gone.png)": "a link 'gone.png', but the target is not found",
    "[a part of a page](two.md#gone)": "'two.md' does not contain an anchor '#gone'",
    "[a part of this page](#missing)": "a link '#missing', but there is no such anchor",
    "[a cross-reference][squares.volume]": "Could not find cross-reference target 'squares.volume'",
    "[a folder](folder/)": "an unrecognized relative link 'folder/'",
    "[from the root](/two/)": "an absolute link '/two/'",
}


def test_the_site_is_not_built_with_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    files = {"docs/one.md": SOUND, "docs/two.md": "# Two\n\n## Part\n\n::: squares\n", "docs/p.png": ""}
    sound = built(tmp_path, ["one.md", "two.md"], {**files, "src/squares.py": FUNCTION.format("side")})
    assert sound.returncode == 0, sound.stderr
    assert "The area." in (tmp_path / "site" / "search" / "search_index.js").read_text()  # found without a server
    faulty = built(
        tmp_path,
        ["one.md", "two.md", "not_there.md"],
        {
            **files,
            "docs/one.md": SOUND + "\n\n".join(["", *FAULTS]),
            "docs/left_out.md": "",
            "src/squares.py": FUNCTION.format("width"),
        },
    )
    assert faulty.returncode == 1
    warnings = [line for line in faulty.stderr.splitlines() if line.startswith("WARNING")]
    nav = ["'not_there.md' is included in the 'nav'", "pages exist in the docs directory, but are not included"]
    for told in (*FAULTS.values(), *nav, "Parameter 'width' does not appear"):
        assert any(told in line for line in warnings), f"{told}:\n{faulty.stderr}"
