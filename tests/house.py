"""The plan of the house, read from its sources: which module imports which, also late, in a table or by its name."""

from __future__ import annotations

import ast
import csv
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "cfcam"
TABLE = Path(__file__).with_name("mirror.csv")

Graph = dict[str, set[str]]


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
