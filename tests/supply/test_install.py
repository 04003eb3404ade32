"""What a user installs: a wheel in a fresh environment with nothing of the clone; extras, with their sizes stated."""

from __future__ import annotations

import ast
import json
import os
import re
import site
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distributions, packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORTED = """
import builtins, json, sys
from importlib.metadata import packages_distributions

real, seen = builtins.__import__, set()

def noted(name, globals=None, locals=None, fromlist=(), level=0):
    found = real(name, globals, locals, fromlist, level)  # what is not there is not imported: it was no need
    if level == 0 and str((globals or {}).get("__name__")).partition(".")[0] == "cfcam":
        seen.add(name.partition(".")[0])
    return found

builtins.__import__ = noted
from cfcam.cli.app import app

try:
    app(["demo"])
except SystemExit as end:
    assert not end.code, end.code
where = packages_distributions()
print(json.dumps([one for name in seen - sys.stdlib_module_names - {"cfcam"} for one in where[name]]))
"""


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


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()  # type: ignore[index]


def test_what_a_run_imports_is_asked_for_by_the_wheel(fresh: Path, tmp_path: Path) -> None:
    """The environment looks further for what it lacks, so that a requirement nobody declares does not show there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = set(map(canonical, project["dependencies"]))
    used = json.loads(ran(fresh, "python", "-c", IMPORTED, cwd=tmp_path).splitlines()[-1])
    assert {"torch", "numpy", "pillow"} <= set(map(canonical, used)) <= declared


def test_whatever_a_module_imports_comes_with_the_wheel_or_an_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for extra in project["optional-dependencies"].values() for one in extra]
    come, waiting = set[str](), set(map(canonical, [*project["dependencies"], *extras]))
    there = {canonical(one.name) for one in distributions()}
    while waiting:  # what they ask for themselves comes, too
        come.add(one := waiting.pop())
        asked = requires(one) or [] if one in there else []
        waiting |= {canonical(more) for more in asked if "extra ==" not in more} - come
    where, missing = packages_distributions(), {}
    for file in sorted((ROOT / "src" / "cfcam").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"cfcam"}:
                if not come & {canonical(top), *map(canonical, where.get(top, []))}:
                    missing[top] = str(file.relative_to(ROOT))
    assert missing == {}


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
    page_without_pictures = re.sub(r"^\[!\[.*$|<.*?>", "", page, flags=re.MULTILINE)  # and their titles
    prose = re.sub(r"```.*?```|!\[.*?\]|\{.*?\}|\(.*?\)|[#*\[\]!|]", " ", page_without_pictures, flags=re.DOTALL)
    assert len(prose.split()) < 150
    order = [page.index(part) for part in ("![", "pip install .", "```python", "## Gallery")]
    assert order == sorted(order)
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 5
