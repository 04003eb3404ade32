"""Several methods in one pass

Methods that work with gradients share one forward pass, so asking for five of them costs little more than for one.
"""

# %%
import torch

import cfcam
from cfcam.imaging import Image, Preprocess
from cfcam.methods import ScoreCAM
from cfcam.models.demo import CLASSES, load_demo_network, make_phantom

network = load_demo_network()
picture = Image(make_phantom(seed=5, findings=["consolidation"]).image, None, "")
x = Preprocess()(picture)[None]

# %%
# A name stands for a method with its usual parameters; an instance has your own. Score-CAM is the dear one: it runs the
# network once for each of the layer's 128 channels, unless it is told to group them.
methods = ["cam", "grad-cam", "layer-cam", "cf-cam", ScoreCAM(approximate=16)]
e = cfcam.explain(network, x, methods, classes=CLASSES, probability="sigmoid")
e.plot([picture]).savefig("several_methods.png")

# %%
# Where methods agree they may still be wrong together; where they disagree, at least one is. How alike two maps
# are is a number:
flat = torch.stack([e.heatmaps(name)[0, 0].flatten() for name in e.methods])
for name, row in zip(e.methods, torch.corrcoef(flat), strict=True):
    print(f"{name:10}", " ".join(f"{value:5.2f}" for value in row))
