"""What is shipped of others is what they published, and says under which licence."""

from __future__ import annotations

import re
from pathlib import Path

import cfcam
from cfcam.files import sha256_of

VENDOR = Path(cfcam.__file__).parent / "web" / "static" / "vendor"


def test_niivue_is_the_published_file_and_its_licence_lies_beside_it():
    (stated,) = re.findall(r"[0-9a-f]{64}", (VENDOR / "README.md").read_text(encoding="utf-8"))
    assert sha256_of(VENDOR / "niivue.umd.js") == stated
    assert "BSD 2-Clause License" in (VENDOR / "LICENSE").read_text(encoding="utf-8")
