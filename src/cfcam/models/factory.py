"""Networks from a user's own Python file: ``FILE.py:FACTORY``."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from operator import attrgetter
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

from torch import nn

from cfcam.errors import ModelError, describe, few, nearest, one_line
from cfcam.files import sha256_of
from cfcam.models.spec import Spec, check_place

_NUMBERS: Final = count(1)
_PRIVATE: Final = "_cfcam_model_file_"


def from_file(spec: Spec) -> tuple[nn.Module, object]:
    """Import a user's file and call the factory in it.

    The file is imported under a private name. While it is imported and its factory runs, its folder is first
    on ``sys.path``, so that it finds the modules beside it; afterwards the path is as before and those
    modules are forgotten, so that two files in two folders may each have their own ``utils.py``. Nothing is
    written into the folder.

    Args:
        spec: A spec of kind ``file``.

    Returns:
        What the factory returned, and how pictures are prepared if it returned a pair of both, else None.

    Raises:
        ModelError: If there is no such file or factory, the arguments do not fit it, the user's code raises,
            or what it returns is not an ``nn.Module``.
    """
    if spec.path is None:
        raise ModelError(f"{one_line(spec.text)!r} names no file: give FILE.py:FACTORY")
    check_place(spec)
    path = spec.path.resolve()
    with _surroundings(path.parent):
        factory = _find(_import(path), spec)
        if isinstance(factory, nn.Module) and not spec.called:
            return factory, None
        result = _call(factory, spec, path)
    if isinstance(result, nn.Module):
        return result, None
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], nn.Module) and result[1]:
        return result[0], result[1]
    if isinstance(result, type) and issubclass(result, nn.Module):
        raise ModelError(f"{spec.path}:{spec.name} returned the class {result.__name__}: return an instance of it")
    hint = "end it with a return of the network" if result is None else "return the network alone"
    raise ModelError(f"{spec.path}:{spec.name} returned {_article(result)}, not an nn.Module: {hint}")


def file_of(value: object) -> str | None:
    """Return the user's file in which a class or function is found by its name, if it came from `from_file`."""
    if not isinstance(value, type | FunctionType) or not value.__module__.startswith(_PRIVATE):
        return None
    module = sys.modules.get(value.__module__)
    try:
        return module.__file__ if module and attrgetter(value.__qualname__)(module) is value else None
    except AttributeError:  # made within a function
        return None


def from_file_again(path: str, sha256: str, name: str) -> Any:
    """Return a class or function of a user's file by its name, in a process that has not loaded it.

    Raises:
        ModelError: If there is no such file, or another one, or the user's code raises.
    """
    if not Path(path).is_file():
        raise ModelError(f"{path} is not on this machine: the network is made by that file; put it there")
    if sha256_of(Path(path)) != sha256:
        raise ModelError(f"{path} is not the file that made the network: put the same one on every machine")
    return attrgetter(name)(_imported(path, sha256))


@cache
def _imported(path: str, sha256: str) -> ModuleType:
    file = Path(path)
    with _surroundings(file.parent):
        return _import(file)


@contextmanager
def _surroundings(folder: Path) -> Iterator[None]:
    path, written, known = list(sys.path), sys.dont_write_bytecode, set(sys.modules)
    importable = any(Path(entry).resolve() == folder for entry in path)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = written
        if not importable:
            for name in sys.modules.keys() - known:
                if _was_found_in(folder, name, sys.modules[name]):
                    del sys.modules[name]


def _was_found_in(folder: Path, name: str, module: ModuleType) -> bool:
    """Tell whether ``name`` was importable only because ``folder`` was on the path."""
    origin, top = getattr(module, "__file__", None), name.partition(".")[0]
    if not isinstance(origin, str) or top == "cfcam" or name.startswith(_PRIVATE):
        return False
    file = Path(origin).resolve()
    return folder in file.parents and file.relative_to(folder).parts[0].partition(".")[0] == top


def _import(path: Path) -> ModuleType:
    name = f"{_PRIVATE}{next(_NUMBERS)}_{path.stem}"
    where = importlib.util.spec_from_file_location(name, path)
    if where is None or where.loader is None:
        raise ModelError(f"{path} cannot be imported as a Python file: give a .py file")
    module = importlib.util.module_from_spec(where)
    sys.modules[name] = module
    try:
        where.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ModelError(_failure(error, path, f"importing {path.name}")) from error
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _find(module: ModuleType, spec: Spec) -> object:
    if hasattr(module, spec.name):
        return getattr(module, spec.name)
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    close = nearest(spec.name, own)
    which = f"did you mean {few(close)}?" if close else f"it defines {few(own, 8)}" if own else "it defines none"
    raise ModelError(f"{spec.path} has no factory {spec.name!r}: {which}")


def _call(factory: object, spec: Spec, path: Path) -> object:
    if not callable(factory):
        raise ModelError(
            f"{spec.path}:{spec.name} is {_article(factory)}, not a function: name one that returns the network"
        )
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        signature = None
    if signature is not None:
        try:
            signature.bind(*spec.arguments, **spec.keywords)
        except TypeError as error:
            raise ModelError(
                f"{spec.path}:{spec.name} cannot be called so ({one_line(error)}): its arguments are "
                f"{spec.name}{one_line(signature)}"
            ) from error
    try:
        result: object = factory(*spec.arguments, **spec.keywords)
    except (Exception, SystemExit) as error:
        raise ModelError(_failure(error, path, f"{spec.name} in {path.name}")) from error
    return result


def _failure(error: BaseException, path: Path, doing: str) -> str:
    """Name the innermost line of the user's file that the error came through."""
    if isinstance(error, SyntaxError) and error.filename:
        what = f"{type(error).__name__}: {one_line(error.msg)}"
        return f"{doing} failed at {error.filename}:{error.lineno}: {what}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _same(frame.filename, path)]
    return f"{doing} failed at {path}{f':{lines[-1]}' if lines else ''}: {describe(error)}"


def _same(filename: str, path: Path) -> bool:
    return filename == str(path) or (Path(filename).name == path.name and Path(filename).resolve() == path)


def _article(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
