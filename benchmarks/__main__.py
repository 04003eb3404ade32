"""``python -m benchmarks COMMAND``: speed, libraries, scaling, folder, start, view-start, view-page, view-memory,
view-live, profile, approximate, scorecard, search, views, layers, visibility, volume, peaks, page, store, many,
study-memory, ray, gpu, evaluation, masked, early-stop, gateway-receive, gateway-latency, gateway-soak, training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

COMMANDS = {
    "speed": "methods x libraries: time, memory, agreement, in one table",
    "libraries": "what the documentation says of other libraries, run again with them (CFCAM_PEERS)",
    "scaling": "how the cost of CF-CAM and Score-CAM grows, with a figure",
    "folder": "a folder of pictures to overlays on disk, against the network alone",
    "start": "imports and cfcam --help",
    "view-start": "cfcam view, from the command to the first radiograph on the screen",
    "view-page": "cfcam view of a large CT: scrolling, switching, memory, beside NiiVue alone",
    "view-memory": "cfcam view, memory of the server with a CT of 512 x 512 x 300 and three maps",
    "view-live": "cfcam view, from a click to the map, beside the network's own time",
    "profile": "where the time goes, operator by operator",
    "approximate": "Score-CAM's approximation on real pictures and networks (CFCAM_DATA)",
    "scorecard": "what CF-CAM's maps are worth beside the others', on the test parts (CFCAM_DATA)",
    "third-round": "the scorecard's third round, by its protocol; goes on where it was (CFCAM_DATA)",
    "third-beside": "what that protocol promised beside its table: a ceiling, enrichment, views left out (CFCAM_DATA)",
    "search": "settings of CF-CAM that were tried, on the tuning parts (CFCAM_DATA)",
    "views": "series of views for each kind of input, beside the standard one, on the tuning parts (CFCAM_DATA)",
    "layers": "the automatic layer beside the other last layers, on the tuning parts (CFCAM_DATA)",
    "peaks": "how often a map's peak moves under motions that a reader does not see (CFCAM_DATA)",
    "visibility": "whether more evidence always changes a picture more: palettes, greys, colour-blind eyes",
    "store": "maps of a folder in one store, beside overlays: rate, bytes, error",
    "many-evaluate": "an evaluation of 100 000 tiny pictures: memory, rate, the time that its tables take",
    "many": "100 000 tiny pictures: memory, rate beside a bare loop, a resume of what is done",
    "study-memory": "a study of a CT of 200 x 512 x 512, SEG + SR + HTML, three methods: peak memory",
    "ray": "a folder over the workers of a Ray cluster, beside this process: rate, start",
    "page": "the page of a folder: what it costs a run, and how soon 10 000 pictures are seen",
    "gateway-receive": "objects by C-STORE to the disk, beside pynetdicom's plain SCP and DCMTK's storescp",
    "gateway-latency": "how soon a radiograph's results are in a real Orthanc, and what the original waits",
    "gateway-soak": "a day of a gateway: memory, file descriptors, disk",
    "evaluation": "cfcam.evaluate beside Quantus and beside the bare passes that its numbers need",
    "masked": "exact Score-CAM beside torch-cam, CFCAM.best() beside an earlier checkout",
    "early-stop": "CFCAM.best() beside the same with all its masks: agreement, passes (CFCAM_DATA)",
    "gpu": "each method on a CUDA device in three precisions: time, memory, agreement; ends in eight minutes",
    "training": "maps of fixed pictures at each epoch of a training: share of the epoch's time",
    "volume": "a 128 x 128 x 128 volume with a layer of 512 channels: time and memory",
}
MODULES = {"profile": "profiling", "libraries": "claims", "ray": "spread"}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--quick", action="store_true", help="tiny shapes: does it run, not how fast it is")
        command.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="FOLDER")
        command.add_argument("--threads", type=int, metavar="N", help="torch's threads [default: all processors]")
        if name == "speed":
            command.add_argument("--only", action="append", metavar="NAME", help="case, may hold *; repeatable")
            command.add_argument("--device", default="cpu", help="cpu or cuda")
            command.add_argument("--no-memory", action="store_true", help="leave out the processes that measure memory")
        if name in ("evaluation", "masked"):
            command.add_argument("--rounds", type=int, default=5, metavar="N", help="of each call, in turn")
        if name in ("early-stop", "views"):
            command.add_argument("--pictures", type=int, default=10, metavar="N", help="of each network")
        if name == "views":
            command.add_argument("--skip", type=int, default=0, metavar="N", help="the first pictures, seen before")
        if name == "masked":
            command.add_argument("--former", type=Path, metavar="FOLDER", help="an earlier checkout of cfcam")
        if name == "libraries":
            command.add_argument("--claims", action="store_true", required=True, help="each line of docs/from/")
        if name == "gpu":
            command.add_argument("--device", default="cuda", help="cuda; cpu to rehearse")
            command.add_argument("--method", action="append", metavar="NAME", help="repeatable [default: all]")
            command.add_argument("--minutes", type=float, default=7.5, metavar="N", help="nothing is begun after them")
        if name in ("scorecard", "third-round", "third-beside", "search", "layers"):
            command.add_argument("--study", action="append", metavar="NAME", help="one of benchmarks.datasets.NAMES")
            command.add_argument("--limit", type=int, default=60, help="pictures of each study")
        if name == "scorecard":
            command.add_argument("--score-cam", action="store_true", help="compare CF-CAM's best with exact Score-CAM")
            command.add_argument("--second", action="store_true", help="the second round, on fresh pictures")
        if name == "gateway-soak":
            command.add_argument("--count", type=int, default=10_000, metavar="N", help="instances")
        if name in ("many", "many-evaluate"):
            command.add_argument("--count", type=int, default=100_000, metavar="N", help="pictures")
        if name == "study-memory":
            command.add_argument("--count", type=int, default=200, metavar="N", help="slices")
        if name == "gateway-latency":
            command.add_argument("--count", type=int, default=20, metavar="N", help="radiographs of each row")
        if name == "approximate":
            command.add_argument("--images", type=int, default=25, help="pictures for each network")
    arguments = parser.parse_args(words)
    import_module(f"benchmarks.{MODULES.get(arguments.command, arguments.command.replace('-', '_'))}").main(arguments)


if __name__ == "__main__":
    main()
