"""The house: no circle of imports, also none through strings; rooms that can be overseen; a test beside each module."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from itertools import chain

import pytest

import cfcam
from cfcam import methods
from tests import house

TASKS = {"check", "compare", "evaluate", "evidence", "runs", "study"}
LATE = {  # the only imports that go up, each inside of one function; pyproject.toml names them too
    ("cfcam.explainer", "cfcam.metrics.scorecard.layers"),
    ("cfcam.explanation", "cfcam.imaging.drawing.notebook"),
}

MADE_UP = {  # the only modules that import by a name which is not written out at the call
    "cfcam": "names its rooms in full, in a table",
    "cfcam._lazy": "is handed tables of names in full",
    "cfcam.exchange.deidentify.profile": "a table of another library",
    "cfcam.imaging.bundle_transforms": "the transforms of a bundle's own code, where that is trusted",
    "cfcam.methods": "imports for types all that its table names: see below",
    "cfcam.models.built": "the libraries that build networks",
    "cfcam.models.monai_bundle": "the network of a bundle's own code, where that is trusted",
}


def test_nothing_imports_in_a_circle_not_even_by_a_name_in_a_string():
    graph = {name: {other for other in found if (name, other) not in LATE} for name, found in house.imports().items()}
    assert house.circles(graph) == []


def test_the_two_imports_that_go_up_are_there_and_are_the_only_exceptions_of_the_contracts():
    assert all(upper in house.imports()[lower] for lower, upper in LATE)
    told = (house.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert set(re.findall(r'"(cfcam[\w.]*) -> (cfcam[\w.]*)"', told)) == LATE


@pytest.mark.parametrize(
    "source",
    [
        "from cfcam.jobs.runs import run",
        "import cfcam.jobs.runs.run",
        "def late():\n    from cfcam.jobs.runs.run import FolderRun",
        "if TYPE_CHECKING:\n    from cfcam.jobs.runs.run import FolderRun",
        "def hidden():\n    return import_module('cfcam.jobs.runs.run').FolderRun",
        "__getattr__ = lazy(__name__, {'cfcam.jobs.runs.run': 'FolderRun'})",
    ],
)
def test_an_import_is_seen_however_it_is_written(source):
    assert house.imported_by(source) == {"cfcam.jobs.runs.run"}


def test_a_circle_is_found_and_ways_that_only_meet_again_are_none():
    assert house.circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert house.circles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == []


def test_no_module_but_those_named_imports_by_a_name_that_is_made_up_of_parts():
    made_up = {
        name: calls
        for name, file in house.modules().items()
        if (calls := house.made_up_imports(file.read_text(encoding="utf-8")))
    }
    assert made_up.keys() == MADE_UP.keys(), made_up


@pytest.mark.parametrize(
    "source",
    [
        "import_module(f'cfcam.jobs.{room}')",
        "import_module('cfcam.jobs.' + room)",
        "importlib.import_module('.run', 'cfcam.jobs.runs')",
        "import_module(name=_TABLE[name])",
        "__import__(name)",
        "from importlib import import_module as late",
        "__getattr__ = lazy(__name__, {f'{__name__}.run': 'FolderRun'})",
        "__getattr__ = lazy(__name__, _HOMES)",
    ],
)
def test_an_import_by_a_made_up_name_is_seen(source):
    assert len(house.made_up_imports(source)) == 1


def test_an_import_by_a_name_that_is_written_out_is_not_made_up():
    assert house.made_up_imports("from importlib import import_module\nimport_module('isal.isal_zlib').compress") == []
    assert house.made_up_imports("__getattr__ = lazy(__name__, {'cfcam.jobs.runs.run': 'FolderRun'})") == []


def test_each_room_of_the_library_and_each_method_of_the_table_is_seen_among_the_imports():
    assert {f"cfcam.{room}" for room in dir(cfcam) if f"cfcam.{room}" in house.modules()} <= house.imports()["cfcam"]
    assert {f"cfcam.methods.{module}" for module in methods._LAZY.values()} <= house.imports()["cfcam.methods"]
    assert "cfcam.metrics.functional" in house.imports()["cfcam.metrics"]


def test_methods_do_not_import_the_table_in_which_they_are_listed():
    inner = {name: found for name, found in house.imports().items() if name.startswith("cfcam.methods.")}
    assert [name for name, found in inner.items() if "cfcam.methods" in found] == []


def test_no_module_takes_what_another_keeps_to_itself():
    taken = [
        f"{name}: {node.module}.{alias.name}"
        for name, file in house.modules().items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cfcam")
        for alias in node.names
        if alias.name.startswith("_") and f"{node.module}.{alias.name}" not in house.modules()
    ]
    assert [line for line in taken if not line.endswith("__")] == []


def test_no_room_is_a_hall_and_no_module_a_book():
    rooms = {file.parent for file in house.modules().values()}
    assert [room.name for room in rooms if sum(file.name != "__init__.py" for file in room.glob("*.py")) > 20] == []
    lines = {file.name: file.read_text(encoding="utf-8").count("\n") for file in house.modules().values()}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_every_task_has_a_door_and_its_settings_beside_it():
    there = {path.name for path in (house.SOURCE / "jobs").iterdir() if (path / "run.py").exists()}
    assert there >= TASKS
    assert [task for task in there if not (house.SOURCE / "jobs" / task / "settings.py").exists()] == []


@pytest.mark.parametrize(("path", "module"), house.without_a_test_beside_it().items())
def test_a_module_without_a_test_beside_it_has_a_line_in_the_mirror_table(path, module):
    tests, why = house.mirror()[path]
    assert tests
    assert len(why.split()) > 3
    by_path = "/migrations/" in path  # Alembic runs these files; nothing imports them
    assert by_path or module in set(chain.from_iterable(map(house.reached, tests)))


def test_the_mirror_table_speaks_of_no_module_and_no_test_that_is_not_there():
    assert house.mirror().keys() - house.without_a_test_beside_it().keys() == set()
    named = set(chain.from_iterable(tests for tests, _ in house.mirror().values()))
    assert [test for test in named if not (house.ROOT / test).is_file()] == []


def test_a_test_file_stands_in_a_folder_of_the_library():
    rooms = {file.parent.relative_to(house.SOURCE).as_posix() for file in house.modules().values()}
    tests = house.ROOT / "tests"
    homes = {test.parent.relative_to(tests).as_posix() for test in tests.rglob("test_*.py")}
    homes -= {"web/browser"}  # of the page's scripts, which are no modules
    floors = {room.split("/")[0] for room in rooms}
    assert [home for home in homes - rooms if home.split("/")[0] in floors] == []


def test_the_page_of_the_plan_names_every_room_and_only_what_is_there():
    page = (house.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named: set[str] = set()
    for cells in (line.split("|") for line in page.splitlines() if line.startswith("| `")):
        for room in re.findall(r"`([\w/]+)/`", cells[1]):
            named.add(room)
            assert [
                name for name in re.findall(r"`(\w+\.py)`", cells[-2]) if not (house.SOURCE / room / name).is_file()
            ] == []
    rooms = {file.parent.relative_to(house.SOURCE).as_posix() for file in house.modules().values()}
    assert named - rooms == set()
    parts = ("cli/", "clinical/audit/", "models/")  # whose inner folders are told with them
    assert {room for room in rooms - named if not room.startswith(parts)} == {".", "exchange", "jobs"}


SPEAKING = sorted(
    path.relative_to(house.ROOT).as_posix()
    for place in ("*", "src/**/*", "docs/**/*", "tests/**/*", "benchmarks/**/*", "supply/*", "findings/*")
    for path in house.ROOT.glob(place)
    if path.suffix in {".py", ".md", ".toml", ".yml", ".j2", ".sh"} or path.name == "Makefile"
)
OF_WHAT_IS_NOT_THERE = {"CHANGELOG.md", "tests/test_docs.py", "tests/test_house.py", "tests/test_quick.py"}
NOT_OURS = {
    "cfcam.nonsense",  # asked for by a test
    "metrics/ad.py",  # of the CF-CAM publication
    "tests/a/test_b.py",  # an example
}
OF_SCRIPTS = (
    "tests/web/browser/",
    "benchmarks/view_page.py",
)  # what is called cfcam. there belongs to the page's scripts


def test_what_texts_call_by_its_place_is_there():
    """In comments, docstrings and pages; the changelog speaks of what was, and three tests of files that they make."""
    speaking = [name for name in SPEAKING if name not in OF_WHAT_IS_NOT_THERE and not name.startswith(OF_SCRIPTS)]
    named = {name: house.named_in((house.ROOT / name).read_text(encoding="utf-8")) - NOT_OURS for name in speaking}
    assert sum(map(len, named.values())) > 1000
    gone = {name for names in named.values() for name in names if not house.stands(name)}
    assert {name: sorted(names & gone) for name, names in named.items() if names & gone} == {}


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("see `cfcam.jobs.runs.work.Work.explain`, `cfcam.maps` and src/cfcam/files.py, tests/house.py", []),
        ("`cfcam.jobs.study_names`", ["cfcam.jobs.study_names"]),
        ("cfcam.files.written_whole(path)", ["cfcam.files.written_whole"]),
        ("of a dataclass `cfcam.jobs.runs.task.Task.input`, not `cfcam.jobs.runs.task.Task.wrong`",
         ["cfcam.jobs.runs.task.Task.wrong"]),
        ("imaging/overlay.py, jobs/runs/run.py", ["imaging/overlay.py"]),
        ("~/cli/app2.py and examples/models/net.py are a user's", []),
    ],
)  # fmt: skip
def test_a_name_that_moved_is_seen(text, gone):
    assert [name for name in house.named_in(text) if not house.stands(name)] == gone


PACKAGES = {name: file for name, file in house.modules().items() if file.name == "__init__.py"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_what_it_says_it_has(package):
    module, text = import_module(package), PACKAGES[package].read_text(encoding="utf-8")
    public = getattr(module, "__all__", [])
    assert len(public) == len(set(public))
    assert [name for name in public if not hasattr(module, name)] == []
    late = house.lazy_names(text)
    assert late <= set(public)
    if late:
        assert house.typed_names(text) == late
