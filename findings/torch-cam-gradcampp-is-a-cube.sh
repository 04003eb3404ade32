#!/usr/bin/env bash
# torch-cam 0.5.0: the weights of Grad-CAM++ are sums of the gradient's cube: the division that gives alpha is lost.
# (Seen 2026-11; the paper's formula in numpy 2.4.6 beside it.)
#
# Guess: GradCAMpp weighs a channel as Chattopadhay et al. 2018 do (equations 5 and 19), and as its own documentation says:
# the sum over places of alpha x relu(g), with alpha = g^2 / (2 g^2 + sum(A) g^3), g the gradient and A the activation.
# Seen: it is the sum of relu(g)^3. Of two equally bright spots, of channels with gradients 1 and 2, the paper gives the
# weights 1/3 and 1/2 a place, and the library 1 and 8: the weaker spot is at 13 % of the other in place of 67 %. With all
# scores ten times as large the paper's maps change (92 %), as alpha is no ratio of like powers; the library's do not.
# Why the guess was wrong: alpha[index][mask].div_(...) divides in place, but picking by a mask makes a copy, and the copy
# is dropped. The maps look as good as any, only sharper; where all gradients are alike the normalized map is right.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torchcam==0.5.0 matplotlib==3.11.2 pillow==13.0.0 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - <<'PYTHON'
import numpy as np
import torch
from torch import nn
from torchcam.methods import GradCAMpp


def formula(activation, gradient):
    """Weights of the channels, equations 5 and 19; 0 / 0, where the gradient is 0, counts as 0."""
    below = 2 * gradient**2 + activation.sum((1, 2), keepdims=True) * gradient**3
    alpha = np.divide(gradient**2, below, out=np.zeros_like(gradient), where=gradient != 0)
    return (alpha * np.maximum(gradient, 0)).sum((1, 2))


def both(net, picture, layer):
    """Maps of the library and of the formula, each by its maximum, and the map of the sum of relu(g)^3."""
    kept = {}
    handle = net[layer].register_forward_hook(lambda module, given, out: kept.update(out=out))
    score = net(picture)[0, 0]
    gradient = torch.autograd.grad(score, kept["out"])[0][0].double().numpy()
    activation = kept["out"].detach()[0].double().numpy()
    handle.remove()
    with GradCAMpp(net, str(layer)) as extractor:
        seen = extractor(0, net(picture), normalized=False)[0][0].double().numpy()
    maps = [seen]
    for weights in (formula(activation, gradient), (np.maximum(gradient, 0) ** 3).sum((1, 2))):
        maps.append(np.maximum(np.tensordot(weights, activation, 1), 0))
    return [found / found.max() for found in maps]


# By hand: two channels of 4 x 4 with one spot of 1 each; the score is sum(A0) + 2 sum(A1).
net = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 1, bias=False)).eval()
net[0].weight.data = torch.eye(2)[:, :, None, None]
picture = torch.zeros(1, 2, 4, 4)
picture[0, 0, 0, 0] = picture[0, 1, 3, 3] = 1
for factor, right in ((1, 2 / 3), (10, (10 / 12) / (20 / 22))):
    net[3].weight.data = factor * torch.tensor([1.0, 2.0]).repeat_interleave(16)[None]
    seen, paper, cube = both(net, picture, 1)
    print(f"spot of gradient {factor} beside that of {2 * factor}: paper {paper[0, 0]:.3f}, torch-cam {seen[0, 0]:.3f}")
    assert abs(paper[0, 0] - right) < 1e-6, "the formula is written down wrongly"
    assert abs(seen[0, 0] - 1 / 8) < 1e-6, "the library no longer cubes the gradient"

# A network of random weights.
torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 2)
).eval()
seen, paper, cube = both(net, torch.rand(1, 1, 8, 8), 3)
print(f"random network: largest difference to the paper {abs(seen - paper).max():.3f}, to the cube {abs(seen - cube).max():.1e}")
assert abs(seen - cube).max() < 1e-5 < 0.01 < abs(seen - paper).max()

print("unchanged: Grad-CAM++ weighs by the cube of the gradient")
PYTHON
