"""When something is wrong: the doctor

Blank maps, maps in odd places, errors about hooks: `diagnose` runs the network a few times and says in plain words what
is wrong and what to change.
"""

# %%
# A set-up with three mistakes: pixels from 0 to 1 were not normalised, there is a name too few, and the network was
# left in training mode.
import torch

import cfcam
from cfcam.imaging import Image, Preprocess
from cfcam.models.demo import CLASSES, load_demo_network, make_phantom

network = load_demo_network().train()
pictures = [Image(make_phantom(seed=seed, findings=["nodule"]).image, None, "") for seed in (7, 8)]
plain = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
x = torch.stack([plain(picture) for picture in pictures])

found = cfcam.diagnose(network, x, classes=CLASSES[1:], probability="sigmoid")
for severity in ("problem", "warning"):
    print(*found.of(severity), sep="\n")

# %%
# With what it advises the network is well, and the maps are another matter.
healed = torch.stack([Preprocess()(picture) for picture in pictures])
print(cfcam.diagnose(network.eval(), healed, classes=CLASSES, probability="sigmoid").title)

# %%
# The maps of the two set-ups, without and with normalisation:
for name, given in {"before": x, "after": healed}.items():
    e = cfcam.explain(
        network, given[:1], ["grad-cam", "cf-cam"], targets="nodule", classes=CLASSES, probability="sigmoid"
    )
    e.plot(pictures[:1]).savefig(f"doctor_{name}.png")

# %%
# On the command line it is `cfcam doctor PICTURES --model ...`: [Check a setup](../how-to/doctor.md).
