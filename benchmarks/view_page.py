"""``python -m benchmarks view-page``: a large CT scrolled and its maps switched, beside NiiVue alone."""

from __future__ import annotations

import argparse
import functools
import http.server
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

TOKEN = "t0ken-of-a-benchmark-01"  # noqa: S105
SHAPE = (300, 512, 512)
MAPS = 3
MUST_SLICES, MUST_SWITCH = 20.0, 0.05
FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")

OURS = """async ([study, maps, slices]) => {
  const spent = async (times, step) => {
    const seconds = [];
    for (let n = 0; n < times; n++) {
      const begun = performance.now();
      step(n);
      await cfcam.viewer.drawn();
      await new Promise(requestAnimationFrame); // the frame after: what was drawn stands on the screen
      seconds.push((performance.now() - begun) / 1000);
    }
    return seconds;
  };
  const [depth, height, width] = cfcam.viewer.grid().shape;
  const at = (n) => [(n * 7) % depth, height >> 1, width >> 1];
  const known = cfcam.viewer.maps();
  for (const map of known) { cfcam.viewer.show([map]); await cfcam.store.file(map.url); await cfcam.viewer.drawn(); }
  return {
    scroll: await spent(slices, (n) => cfcam.state.set({ cursor: at(n) })),
    switch: await spent(12, (n) => cfcam.viewer.show([known[n % known.length]])),
    opacity: await spent(6, (n) => cfcam.state.set({ opacity: 0.3 + 0.05 * (n % 2) })),
  };
}"""

THEIRS = """async (slices) => {
  const pixel = new Uint8Array(4);
  const spent = async (times, step) => {
    const seconds = [];
    for (let n = 0; n < times; n++) {
      const begun = performance.now();
      await step(n);
      nv.drawScene();
      nv.gl.readPixels(4, 4, 1, 1, nv.gl.RGBA, nv.gl.UNSIGNED_BYTE, pixel);
      seconds.push((performance.now() - begun) / 1000);
    }
    return seconds;
  };
  return {
    scroll: await spent(slices, (n) => nv.moveCrosshairInVox(0, 0, n % 2 ? -7 : 7)),
    opacity: await spent(2, (n) => nv.setOpacity(1, 0.3 + 0.05 * n)),
  };
}"""

PAGE = """<!doctype html><body style="margin:0;background:#000">
<div style="width:1000px;height:600px"><canvas id="gl"></canvas></div><script src="niivue.umd.js"></script><script>
(async () => {
  const begun = performance.now();
  window.nv = new niivue.Niivue({ logLevel: "error" });
  await nv.attachToCanvas(document.getElementById("gl"));
  await nv.loadVolumes([
    { url: "ct.nii", colormap: "gray", cal_min: -200, cal_max: 300 },
    { url: "map.nii", colormap: "inferno", opacity: 0.5, cal_min: 0.3, cal_max: 1 },
  ]);
  nv.setSliceType(nv.sliceTypeAxial);
  nv.drawScene();
  window.loaded = (performance.now() - begun) / 1000;
})();
</script></body>"""


def scan(folder: Path, shape: tuple[int, int, int]) -> Path:
    """A drawn CT: an ellipse in air, in Hounsfield units."""
    import nibabel

    depth, height, width = shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    plane = np.where(x**2 / 0.6 + y**2 / 0.4 < 1, 40, -1000)
    values = np.empty((width, height, depth), np.int16)
    for n in range(depth):
        values[:, :, n] = (plane + 30 * np.sin(9 * x + n / 9)).T
    path = folder / "ct.nii"
    nibabel.Nifti1Image(values, np.diag([-0.7, -0.7, 1.0, 1.0])).to_filename(path)
    return path


def serve(path: str, started: Any) -> None:
    """Serves the viewer of a scan with its maps, in a process of its own."""
    import uvicorn

    from cfcam.web.app import create_app
    from cfcam.web.library.maps import StudyMap
    from cfcam.web.server import listening
    from cfcam.web.settings import ViewSettings

    app = create_app(ViewSettings(paths=(Path(path),), token=TOKEN))
    (study,) = app.state.library.studies()
    shape = tuple(study.detail().shape)[-3:]
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    for number in range(MAPS):
        heat = np.ones(shape, np.float32)
        for axis, n in zip(axes, shape, strict=True):
            heat *= np.exp(-(((axis - n * (0.4 + 0.1 * number)) / (0.15 * n)) ** 2)).astype(np.float32)
        heat /= heat.max()
        one = StudyMap(
            id=f"m-00000000000{number}", method=f"method-{number}", class_index=0, class_name="finding",
            probability=0.9, threshold=0.5, rule="fixed", scale_max=1.0, heat=lambda heat=heat: heat,
        )  # fmt: skip
        study.add(one)
    with listening("127.0.0.1", 0) as listener:
        started.put(listener.getsockname()[1])
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


def ours(browser: Any, path: Path, slices: int) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    started = spawn.Queue()
    server = spawn.Process(target=serve, args=(str(path), started), daemon=True)
    server.start()
    base = f"http://127.0.0.1:{started.get(timeout=300)}"
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(600_000)
    begun = time.perf_counter()
    page.goto(f"{base}/?token={TOKEN}")
    page.wait_for_selector("html[data-shown]", state="attached")
    loaded = time.perf_counter() - begun
    found: dict[str, Any] = page.evaluate(OURS, [None, None, slices])
    page.close()
    found["loaded"] = loaded
    server.terminate()
    return found


def theirs(browser: Any, folder: Path, slices: int) -> dict[str, Any]:
    import nibabel

    import cfcam

    vendor = Path(cfcam.__file__).parent / "web" / "static" / "vendor" / "niivue.umd.js"
    (folder / "niivue.umd.js").write_bytes(vendor.read_bytes())
    (folder / "index.html").write_text(PAGE, encoding="utf-8")
    ct = nibabel.load(folder / "ct.nii")
    axes = np.ogrid[tuple(slice(0, n) for n in ct.shape)]
    levels = np.full(ct.shape, 255, np.float32)
    for axis, n in zip(axes, ct.shape, strict=True):
        levels *= np.exp(-(((axis - n * 0.5) / (0.15 * n)) ** 2)).astype(np.float32)
    image = nibabel.Nifti1Image(levels.astype(np.uint8), ct.affine)
    image.header.set_slope_inter(1 / 255, 0)
    image.to_filename(folder / "map.nii")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(600_000)
    page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
    page.wait_for_function("window.loaded")
    found: dict[str, Any] = {"loaded": page.evaluate("loaded")} | page.evaluate(THEIRS, slices)
    page.close()
    server.shutdown()
    return found


def main(arguments: argparse.Namespace) -> None:
    from playwright.sync_api import sync_playwright

    from benchmarks import report  # with torch, which the process that serves is not to hold

    shape = (24, 48, 40) if arguments.quick else SHAPE
    slices = 6 if arguments.quick else 60
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        path = scan(Path(place), shape)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        our, their = ours(browser, path, slices), theirs(browser, Path(place), max(2, slices // 10))
        browser.close()
    rate, their_rate = (1 / float(np.median(one["scroll"])) for one in (our, their))
    switch = float(np.median(our["switch"]))
    rows = [
        ["scan and first map on the screen", f"{our['loaded']:.1f} s", f"{their['loaded']:.1f} s"],
        ["slices a second, with a map", f"{rate:.0f}", f"{their_rate:.2g}"],
        ["another map that is computed", f"{switch * 1000:.0f} ms", "-"],
        ["another opacity", *(f"{float(np.median(one['opacity'])) * 1000:.0f} ms" for one in (our, their))],
    ]
    verdict = {True: "pass", False: "MISS"}
    said = [
        f"{rate:.0f} slices/s, must {MUST_SLICES:.0f}: {verdict[rate >= MUST_SLICES]}",
        f"switch {switch * 1000:.0f} ms, must {MUST_SWITCH * 1000:.0f}: {verdict[switch <= MUST_SWITCH]}",
    ]
    text = (
        f"A drawn CT of {shape[2]} x {shape[1]} x {shape[0]} (int16) with {MAPS} maps (float32), in Chromium without a"
        " graphics card; NiiVue 0.69.0 alone on the same scan and one map. Medians; a step ends with the next frame of"
        " the screen, NiiVue's when a pixel was read back.\n\n" + "\n".join(f"* {line}" for line in said)
    )
    table = report.table(("", "cfcam view", "NiiVue alone"), rows)
    report.write(
        arguments.out,
        "view_page",
        "cfcam view: a large CT",
        f"{text}\n\n{table}",
        {"ours": our, "niivue": their},
    )
