"""The commands of docs/how-to/many-images.md run as they stand there, with the installed command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.test_folder_page import ROOT

PAGE = ROOT / "docs" / "how-to" / "many-images.md"


def test_the_commands_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "testimgs", tmp_path / "testimgs")
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    store, shards, evaluations, verified, fast, asked, logged = blocks
    plain, opened = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(
            command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        return done

    def shell(commands: str) -> subprocess.CompletedProcess[str]:
        return run("bash", "-euo", "pipefail", "-c", commands)

    shell(store)
    assert not list((tmp_path / "maps.zarr").rglob("*.png"))
    shape = re.search(r"\((\d+), (\d+)\)", run(sys.executable, "-c", plain).stdout)
    assert shape is not None
    assert int(shape[1]) < 64  # the layer's grid
    count, _, rest = run(sys.executable, "-c", opened).stdout.partition(" ")
    assert (int(count), rest.endswith("1.0\n")) == (6 * 3, True)
    assert "0 explained, 6 already done" in shell(shards).stdout
    assert sorted(path.name for path in (tmp_path / "shared").glob("[!.]*.json*")) == ["manifest.jsonl", "run.json"]
    assert (tmp_path / "shared" / "index.html").exists()
    assert "4 images" in shell(evaluations).stdout
    assert "0 explained, 6 already done" in shell(verified).stdout
    assert "6 explained" in shell(fast).stdout
    first, _, values = shell(asked).stdout.partition("{")
    assert first.startswith("explain, finished: 6 of 6 (100 %)")
    assert json.loads("{" + values)["done"] == 6
    said = [json.loads(line) for line in shell(logged).stderr.splitlines()]
    assert (said[0]["message"], said[-1]["message"], said[-1]["done"]) == ("begun", "ended", 6)
    assert not [word for word in ("testimgs", "nodule", str(tmp_path)) if word in json.dumps(said)]
