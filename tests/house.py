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

_ROOMS = "|".join(sorted({"benchmarks", "src", "tests", *(path.name for path in SOURCE.iterdir() if path.is_dir())}))
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
    """Returns the modules that a test file imports, and those that these import, and so on."""
    waiting = list(imported_by((ROOT / test).read_text(encoding="utf-8")))
    helpers = [ROOT / f"{name.replace('.', '/')}.py" for name in _helpers(test)]
    for helper in filter(Path.is_file, helpers):
        waiting += imported_by(helper.read_text(encoding="utf-8"))
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imports()[module]
    return found


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


def _helpers(test: str) -> set[str]:
    tree = ast.parse((ROOT / test).read_text(encoding="utf-8"))
    found = {node.module or "" for node in _froms(tree)}
    found |= {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {name for name in found if name.startswith("tests")}


def _froms(tree: ast.Module) -> list[ast.ImportFrom]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def _name(file: Path) -> str:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
