"""What software made an evidence pack: exact versions, platform, and a bill of materials in CycloneDX."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from email.message import Message
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

import torch

from cfcam._version import __version__
from cfcam.errors import MissingExtraError
from cfcam.files import digest

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_LONGEST_LICENSE = 64


def environment() -> dict[str, Any]:
    """Returns what numbers can depend on beside the network: libraries with versions, Python, platform, accelerator.

    No name of a host, a user or a folder.
    """
    accelerators = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        "cfcam": __version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerators": accelerators,
        "cuda": torch.version.cuda,
        "byte_order": sys.byteorder,
        "libraries": {name: one.version for name, one in _installed().items()},
    }


def lock(described: Mapping[str, Any]) -> str:
    """Returns the libraries as a file that pip installs them from."""
    lines = [f"{name}=={version}" for name, version in described["libraries"].items()]
    return f"# Python {described['python']}, {described['system']} {described['machine']}\n" + "\n".join(lines) + "\n"


def check_installed() -> None:
    """Raises a `MissingExtraError` at once if the bill of materials cannot be made in the end."""
    if find_spec("cyclonedx") is None:
        raise MissingExtraError("cyclonedx-python-lib", "evidence", "the bill of materials")


def bill_of_materials(model: Mapping[str, Any], moment: datetime) -> str:
    """Returns the software and the network as a CycloneDX 1.6 JSON document.

    The components are all distributions that are installed beside cfcam, each with its version, its licence as far as
    its metadata states one, and what it depends on. The serial number follows from the content, so that the same
    environment gives the same document.

    Args:
        model: ``name`` and ``sha256`` of the network's weights.
        moment: written as the document's time.

    Raises:
        MissingExtraError: cyclonedx-python-lib is not installed.
    """
    check_installed()
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    installed = _installed()
    components = {name: _component(name, one) for name, one in installed.items() if name != "cfcam"}
    own = _component("cfcam", installed.get("cfcam"))
    network = Component(
        name=model["name"],
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="network",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=model["sha256"])],
    )
    versions = {name: one.version for name, one in installed.items()}
    bom = Bom(
        components=[*components.values(), network],
        serial_number=uuid5(NAMESPACE_URL, f"cfcam evidence {digest([versions, dict(model)])}"),
        metadata=BomMetaData(component=own, timestamp=moment),
    )
    bom.metadata.tools.components.clear()
    known = {**components, "cfcam": own}
    for name, one in installed.items():
        needed = [known[other] for other in _needs(one) if other in known and other != name]
        bom.register_dependency(known[name], needed)
    if "cfcam" not in installed:
        bom.register_dependency(own, [])
    text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    return text + "\n"


def _component(name: str, one: Distribution | None) -> Any:
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense
    from packageurl import PackageURL

    version = __version__ if one is None else one.version
    kind = ComponentType.APPLICATION if name == "cfcam" else ComponentType.LIBRARY
    licence = None if one is None else _licence(one)
    return Component(
        name=name,
        version=version,
        type=kind,
        bom_ref=f"{name}@{version}",
        purl=PackageURL("pypi", name=name, version=version),
        licenses=[] if licence is None else [DisjunctiveLicense(name=licence)],
    )


def _licence(one: Distribution) -> str | None:
    """As the distribution states it in one line; None if it states none, or prints a whole text."""
    metadata = cast("Message[str, str]", one.metadata)
    stated = metadata.get("License-Expression") or metadata.get("License") or ""
    stated = " ".join(stated.split())
    if stated and len(stated) <= _LONGEST_LICENSE and stated != "UNKNOWN":
        return stated
    classified = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License" in line]
    return classified[0] if classified else None


def _installed() -> dict[str, Distribution]:
    """Normalised name -> distribution, the first of each name, in order of names."""
    found: dict[str, Distribution] = {}
    for one in distributions():
        name = cast("Message[str, str]", one.metadata).get("Name")
        if name:
            found.setdefault(_normal(name), one)
    return dict(sorted(found.items()))


def _needs(one: Distribution) -> list[str]:
    """The names of what a distribution needs without an extra."""
    names = []
    for line in one.requires or ():
        matched = _REQUIREMENT.match(line)
        if matched and "extra ==" not in line:
            names.append(_normal(matched[1]))
    return sorted(set(names))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
