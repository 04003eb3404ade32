"""What a user installs: a wheel in a fresh environment with nothing of the clone; extras, with their sizes stated."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; what cfcam needs is looked up where these tests have it, behind its own."""
    place = tmp_path_factory.mktemp("fresh")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    alone = ["--no-deps", "--no-index"]
    subprocess.run([*pip, "wheel", *alone, "--no-build-isolation", "-w", str(place), str(ROOT)], check=True)
    (wheel,) = place.glob("cfcam-*.whl")
    venv.create(place / "env")
    (folder,) = (place / "env").glob("lib/python*/site-packages")
    subprocess.run([*pip, "--python", str(place / "env"), "install", *alone, str(wheel)], check=True)
    behind = [one for one in site.getsitepackages() if Path(one).is_dir()]
    (folder / "behind.pth").write_text(
        "".join(f"{one}\n" for one in behind), encoding="utf-8"
    )  # read no .pth of theirs
    return place / "env" / "bin"


def ran(fresh: Path, *command: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CFCAM"))}
    done = subprocess.run([fresh / command[0], *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_in_a_fresh_environment_explains_pictures_and_shows_them(fresh: Path, tmp_path: Path) -> None:
    assert str(fresh.parent) in ran(fresh, "python", "-c", "import cfcam; print(cfcam.__file__)", cwd=tmp_path)
    ran(fresh, "cfcam", "demo", cwd=tmp_path)  # the embedded network, its phantoms
    assert list(tmp_path.glob("cfcam-demo/**/*_sheet.png"))
    assert list(tmp_path.glob("cfcam-demo/**/index.html"))  # its templates
    told = "from cfcam.web.routes.page import html; print(len(html()))"
    assert int(ran(fresh, "python", "-c", told, cwd=tmp_path)) > 1000  # the viewer's files


def test_every_extra_has_its_size_on_the_page() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^\[project\.optional-dependencies\]\n(.*?)^\[", text, re.DOTALL | re.MULTILINE)
    assert listed is not None
    extras = set(re.findall(r"^([\w-]+) = \[", listed[1], re.MULTILINE)) - {
        "all",
        "docs",
        "test",
        "lint",
        "bench",
        "dev",
    }
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \| .+ \| (?:\d+ MB|not measured) \|$", page, re.MULTILINE)) == extras


def test_the_front_page_is_read_in_half_a_minute_and_begins_with_a_picture_how_to_install_and_five_lines() -> None:
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```|!\[.*?\]|\{.*?\}|\(.*?\)|[#*\[\]!|]", " ", page, flags=re.DOTALL)
    assert len(prose.split()) < 150
    order = [page.index(part) for part in ("![", "pip install .", "```python", "## Gallery")]
    assert order == sorted(order)
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 5
