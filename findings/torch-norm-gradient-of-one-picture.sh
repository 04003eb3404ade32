#!/usr/bin/env bash
# PyTorch 2.13.0 (CPU): the gradient of BatchNorm in evaluation mode, and of InstanceNorm, is wrong for a batch of one whose
# output becomes tokens, flatten(2).transpose(1, 2); nothing is raised. (Seen 2026-11.)
#
# Guess: in evaluation mode BatchNorm is y = a x + b, channel by channel, so its gradient is a times the gradient that
# comes in, whatever the layout of that in memory, and the same for a picture alone and in a batch.
# Seen: of two pictures it is. Of one picture, of 16 channels and 4 x 4 places, the gradient is off by as much as it is
# large, in float32 and float64, in 2-D and 3-D; likewise of InstanceNorm. The forward pass is right.
# Why the guess was wrong: the gradient comes in with the strides (16, 1, 64, 16): channels last, and, as the batch has
# one entry, a stride along it that no batch has. It is valid, and .is_contiguous(memory_format=channels_last) says so,
# yet it is read as something else. With .contiguous() in between, by a hook on the output, the gradient is right.
# It meets hybrids that make tokens of a normalised projection, such as RT-DETR.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - <<'PYTHON'
import torch
from torch import nn

torch.manual_seed(0)
wrong = []
for pictures in (1, 2):
    for relaid in (False, True):
        norm = nn.BatchNorm2d(16).eval()
        nn.init.normal_(norm.weight)
        x = torch.randn(pictures, 16, 4, 4, requires_grad=True)
        given = torch.randn(pictures, 16, 16)
        y = norm(x)
        if relaid:
            y.register_hook(torch.Tensor.contiguous)
        (gradient,) = torch.autograd.grad(y.flatten(2).transpose(1, 2), x, given)
        slope = norm.weight / (norm.running_var + norm.eps).sqrt()
        expected = given.transpose(1, 2).reshape(x.shape) * slope.view(1, -1, 1, 1)
        off = float((gradient - expected).abs().max() / expected.abs().max())
        print(f"{pictures} picture(s), {'laid out anew' if relaid else 'as it comes':14} error {off:.2g} of the largest value")
        wrong.append(off > 0.01)
raise SystemExit(0 if wrong == [True, False, False, False] else "not seen any more")
PYTHON
