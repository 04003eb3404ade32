"""Fuzzing that follows what the code does: ``python -m tests.fuzz.guided READER [-max_total_time=60 ...]``.

Needs atheris (``pip install atheris``), which no extra brings: it is for who looks for faults. A file goes on being
changed where that reaches lines of cfcam that none reached before; `tests.fuzz.soak` draws its changes blindly, and
says how many. Options are libFuzzer's. What is wrong with a file ends the search, and the file is kept.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main(name: str, options: list[str]) -> None:
    """Feeds one reader, beginning with its valid files."""
    import atheris

    folder = Path(tempfile.mkdtemp(prefix="cfcam-guided-"))
    corpus, place = folder / "corpus", folder / "in"
    corpus.mkdir()
    place.mkdir()
    with atheris.instrument_imports(include=["cfcam"]):  # what is imported before it is not followed
        from tests.fuzz import seeds
        from tests.fuzz.child import laid, verdict
        from tests.fuzz.readers import READERS

        reader = READERS[name]
        files = seeds.made(reader.kind, folder / "seeds")
        mine = {seed: data for seed, data in files.items() if seed.endswith(reader.names)}
        for number, (seed, data) in enumerate(mine.items()):
            (corpus / str(number)).write_bytes(bytes([number]) + data)
            reader.read(laid(reader, files, seed, data, place))

    def one(data: bytes) -> None:
        seed = list(mine)[data[0] % len(mine)] if data else next(iter(mine))
        path = laid(reader, files, seed, data[1:], place)
        told = verdict(reader.read, path)
        path.write_bytes(files[seed])
        if told:
            raise RuntimeError(f"{name}, {seed}: {told}")

    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
