"""A first map

One network, one picture, one question: what did the network look at?
"""

# %%
# The network and the picture are part of cfcam: a small network that reads chest phantoms, and a phantom with a nodule
# in its upper lung. `Preprocess` scales and normalises a picture as the network was trained.
import cfcam
from cfcam.imaging import Image, Preprocess
from cfcam.models.demo import CLASSES, load_demo_network, make_phantom

network = load_demo_network()
picture = Image(make_phantom(seed=7, findings=["nodule"]).image, None, "")
x = Preprocess()(picture)[None]  # (1, 3, 224, 224)

# %%
# One call is one forward pass. The layer is chosen by looking at what the network does with this input.
e = cfcam.explain(network, x, "grad-cam", classes=CLASSES, probability="sigmoid")
print(e.label(0, 0), f"{e.probability(0, 0):.3f}", e.layer, e.status["grad-cam"][0, 0])

# %%
# The map is raw and signed, at the layer's resolution; a heatmap is what the eye sees of it, from 0 to 1.
print(e.maps["grad-cam"].shape, e.heatmaps("grad-cam").shape)

# %%
# `plot` returns a matplotlib figure, and a notebook shows it. `e` itself is shown too, with a table.
e.plot([picture]).savefig("first_map.png")
