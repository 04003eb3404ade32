"""What Bundles are held against: the npm package fhir, and a FHIR R4 server that is not ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from tests.machine import fhir_tools
from tests.waiting import PATIENCE

NPM = Path(__file__).parent / "npm"


def errors_of(resources: list[dict]) -> list[list[str]]:
    """Returns the errors of each resource, by the npm package fhir 4.12 (R4, with its value sets)."""
    node, folder = fhir_tools()
    given = json.dumps(resources)
    ran = subprocess.run([node, NPM / "validate.cjs", folder], input=given, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


@contextmanager
def server() -> Iterator[str]:
    """Starts Medplum's FHIR router over its repository in memory, on loopback; yields its base URL."""
    node, folder = fhir_tools()
    with subprocess.Popen([node, NPM / "server.mjs", folder], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port.isdecimal(), "the server did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def ask(url: str) -> dict:
    """Returns what a server answers."""
    with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE) as answer:
        return json.load(answer)


def all_of(base: str, kind: str) -> list[dict]:
    """Returns all resources of a kind that a server holds."""
    found = ask(f"{base}/{kind}?_count=1000").get("entry") or []
    return [one["resource"] for one in found]
