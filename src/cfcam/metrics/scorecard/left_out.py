"""What some numbers were measured without, told from what the rows keep: so a run that was stopped can go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cfcam.metrics.scorecard.catalogue import METRICS
from cfcam.metrics.scorecard.rows import Rows
from cfcam.metrics.scorecard.samples import Row

PEAK_CHANGES = "peak-changes"
"""Under which a row keeps the names of the small changes that its image went through."""

_CHANGES = {
    "jpeg": "JPEG (it is for pictures of 1 or 3 channels whose values of black and white are known)",
    "brightness": "brightness (the values of black and white have to be known)",
}


def left_out(rows: Sequence[Row], metrics: Sequence[str] = ()) -> list[str]:
    """Returns a sentence for each thing that a number should hold and does not; none: all is in.

    Args:
        rows: of any number of images and methods.
        metrics: that were asked for; of one that has no number for any image it is said that it has none.
    """
    columns = Rows.of(rows)
    images = columns.codes("image")
    tried = {int(images[number]): set(names) for number, names in columns.carried(PEAK_CHANGES)}
    found = []
    for name, words in _CHANGES.items():
        lacking = sum(name not in names for names in tried.values())
        if lacking:
            of = "" if lacking == len(tried) else f" for {lacking} of {len(tried)} images"
            found.append(f"{METRICS['peak-shift'].title} is measured without {words}{of}.")
    known = columns.metrics
    without = [METRICS[name].title for name in metrics if name not in known and not METRICS[name].dataset]
    if rows and without:
        found.append(f"Not assessed on any image: {', '.join(without)}; `cfcam metrics` says what each needs.")
    of_images = len(columns.texts("image"))
    found += [f"{line} (on {count} of {of_images} images)." for line, count in Counter(columns.notes).items()]
    return found
