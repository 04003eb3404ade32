"""What a user may write to name a network. Nothing here imports torch, so the command line's help is quick.

A spec is data, never code: arguments are literals that `ast` reads, and no part of a spec is evaluated.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Final

from cfcam.errors import ModelError, few, nearest, one_line


class Source(StrEnum):
    """Where a network comes from."""

    DEMO = "demo"
    TORCHVISION = "torchvision"
    TIMM = "timm"
    HUGGING_FACE = "hf"
    MONAI = "monai"
    NNUNET = "nnunet"
    BUNDLE = "monai-bundle"
    FILE = "file"


_FORMS: Final = (
    ("demo | demo-shortcut", "demo"),
    ("torchvision:NAME[@WEIGHTS]", "torchvision:resnet50@DEFAULT"),
    ("timm:NAME[@pretrained]", "timm:resnet18@pretrained"),
    ("hf:FOLDER_OR_NAME", "hf:path/to/folder"),
    ("monai:CLASS(arguments)", "monai:DenseNet121(spatial_dims=2, in_channels=3, out_channels=2)"),
    ("nnunet:FOLDER", "nnunet:path/to/nnUNetTrainer__nnUNetPlans__3d_fullres"),
    ("monai-bundle:FOLDER", "monai-bundle:path/to/spleen_ct_segmentation"),
    ("FILE.py:FACTORY[(arguments)]", "path/to/networks.py:my_network(classes=3)"),
)
WEIGHT_SUFFIXES: Final = frozenset({".pt", ".pth", ".ckpt", ".bin", ".safetensors"})
_SCRIPTED: Final = (
    "a TorchScript program, whose modules cannot be looked at: name the PyTorch network that it was made from"
)
_EXPORTED: Final = {
    ".onnx": "an exported network without its modules: name the PyTorch network that it was made from, or a"
    " FILE.py:FACTORY that runs it (docs/how-to/your-model.md, ONNX)",
    ".pt2": "an exported program: name a FILE.py:FACTORY that returns torch.export.unflatten(torch.export.load(...))",
    ".ts": _SCRIPTED,
    ".torchscript": _SCRIPTED,
}
HUB_NAME: Final = re.compile(r"\w[\w.\-]*(/\w[\w.\-]*)?")
"""What may be the name of a network on the Hugging Face Hub."""
_LIBRARY_NAME: Final = re.compile(r"(?P<name>[A-Za-z0-9_.\-]+)(?:@(?P<variant>[A-Za-z0-9_.\-]+))?")
_FILE: Final = re.compile(r"(?P<path>.+?\.py):(?P<call>.*)", re.DOTALL)


@dataclass(frozen=True)
class Spec:
    """A spec that was read: where the network comes from, its name, and what it is built with."""

    text: str
    source: Source
    name: str
    variant: str | None = None
    path: Path | None = None
    arguments: tuple[object, ...] = ()
    keywords: Mapping[str, object] = field(default_factory=dict)
    called: bool = False


def check_writes(spec: Spec) -> None:
    """Refuse a network that cannot be asked to write about a picture.

    Args:
        spec: As it was read.

    Raises:
        ModelError: If it is none of the demo network that writes and folders of transformers.
    """
    if spec.source is not Source.HUGGING_FACE and spec.text.strip() != Source.DEMO:
        raise ModelError(f"{spec.text} is asked to write, which demo and hf:FOLDER networks can: give one of these")


def available_forms() -> list[tuple[str, str]]:
    """List the forms of a model spec, each with one example.

    Returns:
        Pairs ``(form, example)`` in the order in which they are documented.
    """
    return list(_FORMS)


def model_name(text: str) -> str:
    """Returns what a network is called wherever people read it: its spec without folders, which may name somebody.

    Args:
        text: A spec, as `parse_spec` reads it; anything else is shown without its folders too.

    Example:
        >>> model_name("/home/jane/nets/models.py:make('/data/best.pt', classes=3)")
        "models.py:make('best.pt', classes=3)"
        >>> model_name("hf:/data/models/vit/"), model_name("hf:google/vit-base"), model_name("timm:resnet18")
        ('hf:vit', 'hf:google/vit-base', 'timm:resnet18')
    """
    spec = text.strip()
    scheme, colon, rest = spec.partition(":")
    if scheme in ("demo", "demo-shortcut", "torchvision", "timm"):
        return spec
    if colon and scheme in ("nnunet", "monai-bundle"):
        return f"{scheme}:{_last(rest)}"
    if colon and scheme == "hf":
        # One slash may be that of an owner on the hub; more of them, or a beginning as of a path, are folders.
        return spec if HUB_NAME.fullmatch(rest) else f"hf:{_last(rest)}"
    if colon and scheme == "monai":
        return f"monai:{_without_folders(rest)}"
    if match := _FILE.fullmatch(spec):
        return f"{_last(match['path'])}:{_without_folders(match['call'])}"
    return _without_folders(spec)


def coded_name(text: str) -> str:
    """Returns `model_name` where DICOM takes 64 characters (LO) of the default repertoire.

    Args:
        text: A spec.
    """
    name = re.sub(r"[^\x20-\x7e]|\\", "-", model_name(text)).strip()
    return name if len(name) <= 64 else f"{name[:61]}..."


def _last(path: str) -> str:
    """The last name of a path; of one that only points elsewhere, of the place it points to."""
    return PurePath(path.replace("\\", "/")).name.strip(".") or Path(path).expanduser().resolve().name


def _without_folders(call: str) -> str:
    """The text of a call; of a path among its arguments the last name alone."""
    try:
        tree = ast.parse(call.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return call.replace("\\", "/").rstrip("/").rpartition("/")[2]
    paths = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    paths = [n for n in paths if re.search(r"[/\\]", str(n.value))]
    for node in paths:
        node.value = _last(str(node.value))
    return ast.unparse(tree) if paths else call


def parse_spec(text: str) -> Spec:
    """Read a model spec.

    Args:
        text: What the user wrote, e.g. ``torchvision:resnet50`` or ``networks.py:make(classes=3)``.

    Returns:
        The spec's parts; nothing was imported or looked up yet.

    Raises:
        ModelError: If ``text`` is none of the forms; the message lists them.
    """
    if not isinstance(text, str):
        raise ModelError(f"a model spec is text, not {type(text).__name__}: give one of {_examples()}")
    spec = text.strip()
    if spec in ("demo", "demo-shortcut"):
        return Spec(spec, Source.DEMO, spec)
    scheme, colon, rest = spec.partition(":")
    if colon and scheme in ("torchvision", "timm"):
        return _library(spec, Source(scheme), rest)
    if colon and scheme == "hf":
        if not rest.strip():
            raise ModelError("'hf:' names no network: give a folder, e.g. hf:path/to/folder")
        return Spec(spec, Source.HUGGING_FACE, rest.strip())
    if colon and scheme in ("nnunet", "monai-bundle"):
        if not rest.strip():
            whose = "that nnU-Net's training wrote into" if scheme == "nnunet" else "that holds configs and models"
            raise ModelError(f"'{scheme}:' names no network: give a folder {whose}")
        return Spec(spec, Source(scheme), rest.strip())
    if colon and scheme == "monai":
        name, arguments, keywords, called = _call(rest, spec, "monai:DenseNet121(spatial_dims=2, …)")
        return Spec(spec, Source.MONAI, name, None, None, arguments, keywords, called)
    if match := _FILE.fullmatch(spec):
        path = Path(match["path"]).expanduser()
        if not match["call"].strip():
            raise ModelError(_without_factory(path, spec))
        name, arguments, keywords, called = _call(match["call"], spec, "networks.py:my_network(classes=3)")
        return Spec(spec, Source.FILE, name, None, path, arguments, keywords, called)
    raise ModelError(_not_a_form(spec))


def check_place(spec: Spec) -> None:
    """Refuse a spec whose file or folder is not there, before the library that would read it is imported.

    Raises:
        ModelError: If there is no such file, or nothing that could be a folder or a name on the hub.
    """
    if spec.source is Source.FILE and spec.path is not None and not is_file(spec.path):
        raise ModelError(f"the model file {one_line(spec.path)} does not exist: check the path")
    if spec.source is Source.HUGGING_FACE:
        folder = Path(spec.name).expanduser()
        if not is_folder(folder) and (is_file(folder) or not HUB_NAME.fullmatch(spec.name)):
            what = "is not a folder" if is_file(folder) else "does not exist"
            raise ModelError(f"{one_line(folder)} {what}: give the folder that holds config.json and model.safetensors")

    if spec.source is Source.NNUNET:
        _check_nnunet(Path(spec.name).expanduser())

    if spec.source is Source.BUNDLE:
        _check_bundle(Path(spec.name).expanduser())


def _check_bundle(folder: Path) -> None:
    """Refuses what is no folder of a MONAI bundle."""
    if not is_folder(folder):
        raise ModelError(f"{one_line(folder)} does not exist: give the folder that holds configs and models")
    if not any(is_file(folder / "configs" / f"inference.{kind}") for kind in ("json", "yaml", "yml")):
        raise ModelError(f"{one_line(folder)} holds no configs/inference.json or .yaml: give the folder of a bundle")


def _check_nnunet(given: Path) -> None:
    """Refuses what is no folder that nnU-Net trained into; where others of it lie in the folder, they are offered."""
    shown = one_line(given)
    if not is_folder(given) and not is_file(given):
        raise ModelError(f"{shown} does not exist: give the folder that holds plans.json, dataset.json and fold_0")
    folder = given.parent.parent if is_file(given) else given
    if is_file(folder / "plans.json") or (folder.name.startswith("fold_") and is_file(folder.parent / "plans.json")):
        return
    inside = sorted(path.parent.name for path in folder.glob("*/plans.json"))
    which = f"give one of {few(inside, 4)} in it" if inside else "give the folder that nnU-Net's training wrote into"
    raise ModelError(f"{shown} holds no plans.json: {which}")


def check_factory(spec: Spec) -> None:
    """Refuse a factory that its file cannot come to hold, without running the file.

    Running it tells more: what it really defines, or why it cannot be imported.

    Raises:
        ModelError: If the file has no such name; the nearest are offered.
    """
    if spec.source is Source.FILE and spec.path is not None and _never_names(spec.path, spec.name):
        own = _definitions(spec.path)
        close = nearest(spec.name, own)
        which = f"did you mean {few(close)}?" if close else f"it defines {few(own, 8)}" if own else "it defines none"
        raise ModelError(f"{spec.path} has no factory {spec.name!r}: {which}")


def _library(spec: str, source: Source, rest: str) -> Spec:
    match = _LIBRARY_NAME.fullmatch(rest.strip())
    if match is None:
        example = "torchvision:resnet50@DEFAULT" if source is Source.TORCHVISION else "timm:resnet18@pretrained"
        raise ModelError(f"{one_line(spec)!r} names no network: letters, digits, '.', '_' and '-' only, e.g. {example}")
    variant: str | None = match["variant"]
    if source is Source.TIMM and variant not in (None, "pretrained"):
        raise ModelError(
            f"{one_line(spec)!r}: timm knows only '@pretrained' (a tag follows a dot: timm:resnet18.a1_in1k)"
        )
    return Spec(spec, source, match["name"], variant)


def _call(text: str, spec: str, example: str) -> tuple[str, tuple[object, ...], Mapping[str, object], bool]:
    """Read ``name`` or ``name(literals)`` without evaluating anything."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, (), {}, False
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise ModelError(
                f"{one_line(spec)!r}: after the colon comes one name, with literal arguments or none, e.g. {example}"
            )
        arguments = tuple(ast.literal_eval(argument) for argument in node.args)
        keywords = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise ModelError(f"{one_line(spec)!r}: '**' is not read; write each argument, e.g. {example}")
            keywords[keyword.arg] = ast.literal_eval(keyword.value)
    except ModelError:
        raise
    except SyntaxError as error:
        raise ModelError(f"cannot read {one_line(spec)!r} ({error.msg}): write it like {example}") from error
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ModelError(
            f"{one_line(spec)!r}: arguments are literals only (numbers, text, True, None, lists), "
            f"nothing is evaluated; write them like {example}"
        ) from error
    return node.func.id, arguments, keywords, True


def _examples() -> str:
    return " | ".join(("demo", "demo-shortcut", *(example for _, example in _FORMS[1:])))


def _without_factory(path: Path, spec: str) -> str:
    defined = _definitions(path)
    which = f"it defines {few(defined, 8)}" if defined else "the function that returns the network"
    return f"{one_line(spec)!r} names no factory: add it after the colon, {path}:NAME ({which})"


def _definitions(path: Path) -> list[str]:
    """List the functions and classes of a file without running it; of an unreadable file, none."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def _never_names(path: Path, name: str) -> bool:
    """Tell whether a file that can be run cannot come to hold a name, without running it; in doubt, False."""
    try:
        source = path.read_bytes()
        ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    hidden = rb"import\s*\(?\s*\*|__getattr__|globals|vars|locals|setattr|__dict__|exec|eval|modules"
    return re.search(rb"\b" + re.escape(name.encode()) + rb"\b|" + hidden, source) is None


def _not_a_form(spec: str) -> str:
    if not spec:
        return f"the model spec is empty: give one of {_examples()}"
    path = Path(spec)
    shown = one_line(spec)
    if path.suffix == ".py":
        return _without_factory(path, spec)
    if path.suffix in WEIGHT_SUFFIXES:
        return (
            f"{shown!r} is a file of weights, which does not say what network they belong to: name "
            f"the network too, e.g. --model torchvision:resnet50 --weights {shown}"
        )
    if path.suffix in _EXPORTED:
        return f"{shown!r} is {_EXPORTED[path.suffix]}"
    if is_folder(path):
        return f"{shown!r} is a folder: for one {_written(path)}:{shown}"
    return f"{shown!r} is not a model spec: give one of {_examples()}"


def _written(folder: Path) -> str:
    """Who wrote a folder, as far as its files tell, and the form that it is given in."""
    if any(is_file(place / "plans.json") for place in (folder, folder.parent)):
        return "written by nnU-Net's training give nnunet"
    if is_folder(folder / "configs"):
        return "of a MONAI bundle give monai-bundle"
    return "written by transformers' save_pretrained give hf"


def is_file(path: Path) -> bool:
    """Tell whether there is such a file; of a name that is too long or not allowed, False."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Tell whether there is such a folder; of a name that is too long or not allowed, False."""
    try:
        return path.is_dir()
    except OSError:
        return False
