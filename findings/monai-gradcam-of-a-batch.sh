#!/usr/bin/env bash
# MONAI 1.6.1: Grad-CAM of a batch, no class named, explains for each picture the winning classes of *all* pictures: the map
# of one picture changes with its neighbours. (Seen 2026-11.)
#
# Guess: GradCAM takes a batch (the example in its documentation passes two pictures) and, without class_idx, explains each
# picture's own argmax. In eval mode a picture's map is then the same alone and in any batch.
# Seen: the picture below holds a large value for class 0, which wins, and a smaller one for class 1, elsewhere. Alone,
# its map is class 0's place only. Beside a picture of class 1 the place of class 1 lights up too, 2/3 as bright; beside
# five of them it outshines the right one, 10 to 3. With a copy of itself, or with class_idx=0, the map is right.
# Why the guess was wrong: the winners of the batch index the columns of the scores, for every row: of B pictures B x B
# scores are summed before the gradient, in place of the B on its diagonal. Shapes agree and nothing is raised, and
# batches of one, or whose pictures all have the same class, never show it. Name the class, or explain one by one.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$here/venv/bin/pip" install --quiet --disable-pip-version-check monai==1.6.1 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - <<'PYTHON'
import torch
from monai.visualize import GradCAM
from torch import nn

# The score of a class is the mean of its channel, so the Grad-CAM of a class is its channel, times a number.
net = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
net[0].weight.data = torch.eye(2)[:, :, None, None]
pictures = torch.zeros(2, 2, 5, 5)
pictures[0, 0, 1, 1], pictures[0, 1, 3, 3] = 3, 2
pictures[1, 1, 2, 2] = 3
assert net(pictures).argmax(1).tolist() == [0, 1]
cam = GradCAM(net, "0")


def first_map(batch, **options):
    """The first picture's values at the place of class 0 and at that of class 1, the first set to 3."""
    found = cam.compute_map(pictures[batch], **options).detach()[0, 0]
    return 3.0, 3 * (found[3, 3] / found[1, 1]).item()


def brightest(batch):
    return divmod(cam.compute_map(pictures[batch]).detach()[0, 0].argmax().item(), 5)


alone, copied = first_map([0]), first_map([0, 0])
beside, crowded = first_map([0, 1]), first_map([0, 1, 1, 1, 1, 1])
named = first_map([0, 1, 1, 1, 1, 1], class_idx=0)
print("values of the first picture's map where its class 0 and its class 1 lie")
for label, values in {
    "alone": alone,
    "beside a copy of itself": copied,
    "beside one picture of class 1": beside,
    "beside five of class 1": crowded,
    "beside five, class 0 named": named,
}.items():
    print(f"{label:30} {values[0]:.2f}  {values[1]:.2f}")
assert alone == copied == named == (3, 0)
assert abs(beside[1] - 2) < 1e-5, "a neighbour no longer changes the map"
assert abs(crowded[1] - 10) < 1e-4 and brightest([0]) == (1, 1) and brightest([0, 1, 1, 1, 1, 1]) == (3, 3)

print("unchanged: a picture's map depends on the classes of the pictures beside it")
PYTHON
