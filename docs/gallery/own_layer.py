"""A layer of your own, and several at once

The layer matters at least as much as the method: later ones know more about the class, earlier ones more about the
place.
"""

# %%
import cfcam
from cfcam.imaging import Image, Preprocess
from cfcam.methods import Fusion, LayerCAM
from cfcam.models.demo import CLASSES, load_demo_network, make_phantom

network = load_demo_network()
picture = Image(make_phantom(seed=7, findings=["nodule"]).image, None, "")
x = Preprocess()(picture)[None]

# %%
# Without a word the last layer with a place for each part of the picture is taken. Name another by its dotted name, or
# give the module.
for layer in ("layer1", network.layer2, "layer4"):
    e = cfcam.explain(network, x, "layer-cam", layer=layer, classes=CLASSES, probability="sigmoid")
    print(f"{e.layer}: a grid of {' x '.join(map(str, e.maps['layer-cam'].shape[2:]))}")
    e.plot([picture]).savefig(f"own_layer_{e.layer}.png")

# %%
# Or fuse several: `Fusion` scales the maps of each layer and takes their mean, maximum or product.
fused = {
    mode: Fusion(base=LayerCAM(), layers=("layer2", "layer3", "layer4"), mode=mode)
    for mode in ("mean", "max", "product")
}
e = cfcam.explain(network, x, fused, classes=CLASSES, probability="sigmoid")
e.plot([picture]).savefig("own_layer_fused.png")
