"""The plan of the house, read from its sources: which module imports which, also late, in a table or by its name."""

from __future__ import annotations

import ast
import csv
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cfcam"
TABLE = Path(__file__).with_name("mirror.csv")

Graph = dict[str, set[str]]

_ROOMS = "|".join(
    sorted({"benchmarks", "src", "supply", "tests", *(path.name for path in SOURCE.iterdir() if path.is_dir())})
)
_FILE = re.compile(rf"(?<![\w/.-])(?:{_ROOMS})/[\w/]+\.py\b")
_IMPORTERS = ("import_module", "__import__", "resolve_name", "lazy")


@cache
def modules() -> dict[str, Path]:
    """Every module of the library, and packages as their ``__init__.py``."""
    return {_name(file): file for file in sorted(SOURCE.rglob("*.py"))}


@cache
def imports() -> Graph:
    """For each module all that it imports: at its top, inside of functions, for types, and by names in strings."""
    return {name: imported_by(file.read_text(encoding="utf-8")) - {name} for name, file in modules().items()}


def imported_by(text: str) -> set[str]:
    """Returns the modules of the library that a source imports or names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & modules().keys()) or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            found.add(node.value)  # tables of names that are imported late, `import_module`
    return found & modules().keys()


def named_in(text: str) -> set[str]:
    """Returns the dotted names of the library, and the files of the project, of which a text speaks."""
    return set(re.findall(r"\bcfcam(?:\.[A-Za-z_]\w*)+", text)) | set(_FILE.findall(text))


def stands(name: str) -> bool:
    """Tells whether a name from `named_in` is there: a file, a module, or what a module or a class in it has."""
    if "/" in name:
        return any((folder / name).is_file() for folder in (ROOT, ROOT / "tests", SOURCE.parent, SOURCE))
    parts = name.split(".")
    found: Any = None
    for number, part in enumerate(parts, start=1):
        inner = ".".join(parts[:number])
        known = getattr(found, "__dataclass_fields__", {})
        if inner in modules():
            found = import_module(inner)
        elif hasattr(found, part) or part in known:
            found = getattr(found, part, None)
        else:
            return False
    return True


def lazy_names(text: str) -> set[str]:
    """Returns the names that a package's source hands to `cfcam._lazy.lazy`."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    tables = [ast.literal_eval(call.args[1]) for call in calls if getattr(call.func, "id", "") == "lazy"]
    return {name for table in tables for names in table.values() for name in names.split()}


def typed_names(text: str) -> set[str]:
    """Returns the names that a source imports for types alone."""
    blocks = [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    ]
    froms = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in froms for alias in node.names}


def made_up_imports(text: str) -> list[str]:
    """Returns what imports a module by a name that is not written out in full, to which `imported_by` is blind."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.alias) and node.name in _IMPORTERS and node.asname:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and (called := ast.unparse(node.func).rpartition(".")[2]) in _IMPORTERS:
            table = node.args[-1] if called == "lazy" and node.args else None
            names = table.keys if isinstance(table, ast.Dict) else node.args[:1] or [None]
            if not all(isinstance(name, ast.Constant) and str(name.value)[:1].isalpha() for name in names):
                found.append(ast.unparse(node))
    return found


def circles(graph: Graph) -> list[list[str]]:
    """Returns the groups of modules that import each other in a circle (Tarjan's strongly connected components)."""
    found: list[list[str]] = []
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        path.append(module)
        for other in graph[module]:
            if other not in order:
                visit(other)
            if other in path:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            group = path[path.index(module) :]
            del path[path.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in graph:
        if module not in order:
            visit(module)
    return found


def reached(test: str) -> set[str]:
    """Returns the modules from which a test file imports, and those from which these import, and so on.

    Of a package only the modules of the names that are asked of it: ``from cfcam.imaging import Image`` is not its all.
    """
    waiting = list(used_by((ROOT / test).read_text(encoding="utf-8")))
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += used_by(_file(module).read_text(encoding="utf-8"))
    return found


@cache
def used_by(text: str) -> frozenset[str]:
    """Returns the modules of library and tests that hold what a source imports, and those that it names in strings."""
    names: set[str] = set()
    known: dict[str, str] = {}  # a name in the source -> what it stands for
    nodes = list(ast.walk(ast.parse(text)))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            known |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            names.add(_dotted(node, known))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    homes = {_home(name) for name in names | set(known.values())}
    return frozenset(home for home in homes | (names & modules().keys() - {"cfcam"}) if home)


def _dotted(node: ast.expr, known: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, known)}.{node.attr}"
    return known.get(node.id, "") if isinstance(node, ast.Name) else ""


@cache
def _home(name: str) -> str | None:
    """Returns the module of this name, or that in which it is defined: packages hand on names of their modules."""
    package, _, last = name.rpartition(".")
    if not re.fullmatch(r"(cfcam|tests)(\.\w+)+", name):
        return None
    if (file := _file(name)).is_file():
        return name if file.name != "__init__.py" else None
    room = _file(package)
    if room.name != "__init__.py":
        return _home(package)
    tree = ast.parse(room.read_text(encoding="utf-8")) if room.is_file() else ast.Module([], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and last in {alias.asname or alias.name for alias in node.names}:
            return _home(f"{node.module}.{last}")
    return package if last in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} else None


def _file(module: str) -> Path:
    inside = (SOURCE.parent if module.startswith("cfcam") else ROOT) / module.replace(".", "/")
    return inside / "__init__.py" if inside.is_dir() else inside.with_suffix(".py")


def beside(file: Path) -> str:
    """Returns the test file of a module's own name."""
    inner = file.relative_to(SOURCE)
    return (Path("tests") / inner.with_name(f"test_{inner.name}")).as_posix()


def mirror() -> dict[str, tuple[list[str], str]]:
    """The mirror table: a module that has no test file of its name -> the tests that cover it, and why these."""
    with TABLE.open(newline="", encoding="utf-8") as stream:
        return {row["module"]: (row["tests"].split(), row["why"]) for row in csv.DictReader(stream)}


def without_a_test_beside_it() -> dict[str, str]:
    """Modules with no test file of their name, by their path; packages only hold names."""
    own = {name: file for name, file in modules().items() if file.name not in ("__init__.py", "__main__.py")}
    return {
        file.relative_to(SOURCE).as_posix(): name for name, file in own.items() if not (ROOT / beside(file)).exists()
    }


def _name(file: Path) -> str:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
