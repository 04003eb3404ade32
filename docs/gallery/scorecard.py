"""What are the maps worth?

A map that looks convincing may be noise, or a blob in the middle. A scorecard measures maps and puts them beside maps
that know nothing.
"""

# %%
# Twelve chest phantoms that the demo network has not seen. Of each, one finding is known to the pixel.
import numpy as np
from matplotlib.figure import Figure

from cfcam import evaluate
from cfcam.imaging import Preprocess
from cfcam.jobs.cases.phantoms import phantom_cases
from cfcam.models.demo import CLASSES, load_demo_network

network, preprocess = load_demo_network(), Preprocess()
samples = [case.load(preprocess, CLASSES, lambda *_: None) for case in phantom_cases(12)]

# %%
# Where the ground truth is known: does the map's peak lie in the finding (hit rate), and how much of its heat?
card = evaluate(network, samples, ["grad-cam", "cf-cam"], ["hit-rate", "energy"], classes=CLASSES,
                probability="sigmoid")  # fmt: skip
for row in card.summary():
    print(f"{row.method:18} {row.metric:16} {row.mean:.2f}  [{row.low:.2f}, {row.high:.2f}]  n = {row.n}")

# %%
# The intervals are bootstrapped by patient. A picture says the same:
rows = [row for row in card.summary() if row.metric == card.metrics[-1]]
figure = Figure(figsize=(7, 0.4 * len(rows) + 1), layout="constrained")
axis = figure.add_subplot()
means = np.array([row.mean for row in rows])
reach = np.array([[row.mean - row.low, row.high - row.mean] for row in rows]).T
axis.errorbar(means, range(len(rows)), xerr=reach, fmt="o", color="#4527a0")
axis.set_yticks(range(len(rows)), [row.method for row in rows])
axis.set_xlabel(card.metrics[-1])
axis.invert_yaxis()
figure.savefig("scorecard.png")
