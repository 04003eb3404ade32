"""Several classes, and maps that are empty

Each map is about one class. A class that the network does not see has a map too, or none: read maps beside their
probabilities.
"""

# %%
import cfcam
from cfcam.imaging import Image, Preprocess
from cfcam.models.demo import CLASSES, load_demo_network, make_phantom

network = load_demo_network()
picture = Image(make_phantom(seed=15, findings=["nodule", "effusion"]).image, None, "")
x = Preprocess()(picture)[None]

# %%
# `targets="all"` asks for every class. The labels of this network are independent, so two of them can be likely at
# once.
e = cfcam.explain(network, x, ["grad-cam", "score-cam"], targets="all", classes=CLASSES, probability="sigmoid")
for k in range(4):
    statuses = {method: str(e.status[method][0, k]) for method in e.methods}
    print(f"{e.label(0, k):14} {e.probability(0, k):.2f}  {statuses}")

# %%
# Where nothing speaks *for* a class the map says so. It is never silently a black picture.
e.plot([picture]).savefig("several_classes.png")
