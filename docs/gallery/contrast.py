"""Why this class, and not that one?

A target can be any number that is computed from the network's output. The difference of two scores asks what tells one
class from another.
"""

# %%
import cfcam
from cfcam.imaging import Image, Preprocess
from cfcam.models.demo import CLASSES, load_demo_network, make_phantom

network = load_demo_network()
picture = Image(make_phantom(seed=15, findings=["nodule", "effusion"]).image, None, "")
x = Preprocess()(picture)[None]
nodule, effusion = CLASSES.index("nodule"), CLASSES.index("effusion")


# %%
# A callable takes what the network returned and gives one number for each image. Its name stands beside the map.
def nodule_rather_than_effusion(logits):
    return logits[:, nodule] - logits[:, effusion]


def effusion_rather_than_nodule(logits):
    return logits[:, effusion] - logits[:, nodule]


targets = ["nodule", nodule_rather_than_effusion, effusion_rather_than_nodule]
e = cfcam.explain(network, x, ["grad-cam", "hires-cam"], targets=targets, classes=CLASSES, probability="sigmoid")
e.plot([picture]).savefig("contrast.png")

# %%
# Both findings are in the picture, and each of the two differences points at the one that speaks for it.
for k, name in enumerate(["nodule", *e.target_names[1:]]):
    row, column = divmod(int(e.heatmaps("grad-cam")[0, k].argmax()), 224)
    print(f"{name:28} peak at row {row}, column {column}")
