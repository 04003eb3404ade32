"""The commands of docs/how-to/folder.md run as they stand there, with the installed command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "folder.md"


def test_the_commands_of_the_page_make_what_it_says(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "testimgs", tmp_path / "testimgs")
    first, labelled, folders, alone = re.findall(
        r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )

    def run(command: str) -> str:
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        how = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=False, **how)
        assert done.returncode == 0, done.stderr
        return done.stdout

    page = tmp_path / "maps" / "index.html"
    assert "look at maps/index.html" in run(first)
    assert "Right and wrong" not in page.read_text()
    assert "0 explained, 6 already done" in run(labelled)  # labels concern the page alone
    text = page.read_text()
    assert "of 5; 95 % interval" in text
    assert "pictures without a label: 1 of 6" in text
    run(folders)
    assert "2 of 2; 95 % interval" in (tmp_path / "sorted-maps" / "index.html").read_text()
    run(alone)
    text = page.read_text()
    assert text.count('<script type="text/plain"') == 6 * 5  # small, original, and a map of three methods
    assert 'src="index_files' not in text
