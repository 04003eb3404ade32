"""How much of it lies in which organ

A heat map is looked at; a share can be counted. For each organ, segment or superpixel: how much of the map lies there,
how much that is beside its size, and how far the score falls when the network has to do without it.
"""

# %%
# The phantom comes with the masks of its organs. They go onto the grid of the network's input, as the picture did.
import torch

import cfcam
from cfcam.clinical.removal import Removal
from cfcam.imaging import Image, Preprocess, overlay, save_image, superpixels
from cfcam.imaging.drawing.charts.bars import Measured, outlined, region_page
from cfcam.models.demo import CLASSES, load_demo_network, make_phantom

phantom = make_phantom(seed=7, findings=["nodule"])
picture, preprocess = Image(phantom.image, None, ""), Preprocess()
x = preprocess(picture)[None]
organs = {
    name: preprocess.mask(torch.from_numpy(phantom.masks[name]))
    for name in ("left lung", "right lung", "heart", "spine", "nodule")
}

# %%
# `by_region` counts. With `removal` it asks the network too: each region is filled in from its surroundings, and the
# fall of the logit is told. HiResCAM is signed, so there is a signed contribution beside the share.
explainer = cfcam.Explainer(load_demo_network(), ["grad-cam", "hires-cam"], classes=CLASSES, probability="sigmoid")
e = explainer(x, "nodule")
table = e.by_region(organs, "hires-cam", removal=Removal(explainer, x, "nodule"))
for region in table:
    print(
        f"{region.name:10}  area {region.area:5.1%}  share {region.share:4.0%}  x {region.enrichment:4.1f}"
        f"  signed {region.contribution:+.2f}  falls {region.removal:+.1f}"
    )
print(f"outside of all of them: {table.outside:.0%}")

# %%
# The same as bars, beside the organs' outlines. The mark across a bar is the region's share of the area, as by chance.
heat = preprocess.to_original(e.heatmaps("hires-cam")[0, 0], picture.size)
drawn, places = outlined(overlay(picture.rgb(), heat), {name: phantom.masks[name] for name in organs})
page = region_page([Measured(drawn, table, f"{e.probability(0, 0):.3f}", places)])
save_image(page.drawn(), "regions.png")

# %%
# Where there are no masks, superpixels are regions too, and their shares add up to 1.
parts = e.by_region(superpixels(x[0], 40), "grad-cam")
print(
    len(parts),
    f"superpixels; the first holds {parts.largest(1)[0].share:.0%}, of {parts.largest(1)[0].area:.0%} of the area",
)

# %%
# On the command line, for pictures and scans, into the manifest, a table and `*_by_region.png`:
# `cfcam explain scan.nii.gz --by-region organs.nii.gz --region-names organs.csv` (a label map on the scan's own grid,
# and a table `label,name`), or `--by-region slic:50`. Two warnings. Shares are of the map, whose cells are large: a
# small organ gets a part of its neighbour's. And a fall is no contribution: a filled image is none that the network was
# trained on, and two regions may each be enough. Of a scan that is explained in windows (`--sliding`, nnU-Net) those
# windows run again that see the region; the places of a class stay those of the untouched scan.
