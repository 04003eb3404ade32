#!/usr/bin/env bash
# PyTorch 2.13.0 on a CPU: the convolution of one small volume takes longer than that of two, and ten times as long as that
# of one slightly larger volume. (Seen 2026-11.)
#
# Guess: one volume takes half as long as two; 25 x 25 x 25 takes a little less than 26 x 26 x 26.
# Seen: Conv3d(64, 64, 3) of one volume of 16 x 16 x 16 takes 16 ms, of two 7 ms in all; Conv3d(32, 32, 3) of one of 25^3
# takes 43 ms, of one of 26^3 4 ms; 25 x 25 x 400 takes 770 ms and the same volume on its side, 400 x 25 x 25, 63 ms (one
# thread). Forwards and backwards alike. Checked here by the names of the operators that run, not by the clock:
# slow_conv3d (which unfolds the input to 27 times its size) or mkldnn_convolution.
# Why the guess was wrong: a float32 convolution with a kernel of 3 goes to oneDNN only if the batch is larger than 1, or
# images x channels x size x size of the *first two* axes is above 20480 ("for some case, native is faster"). The rule
# (ConvParams::use_mkldnn) was written for pictures; of a volume it leaves out the width, so that volumes of any width
# count as small. So networks that see a scan volume by volume pay: two copies in a batch are quicker than one. In two
# dimensions it is the same rule, at a size where it costs little: 256 channels of 8 x 8 alone go to thnn_conv2d, 0.9 ms
# for one and 0.8 ms for two.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - 2> >(grep -v USDT >&2) <<'PYTHON'
import time

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

torch.set_num_threads(1)
assert torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
conv = {4: F.conv2d, 5: F.conv3d}


def run(batch, channels, *size):
    """Which operator the convolution is, forwards, and its least time of five in milliseconds, forwards and back."""
    torch.manual_seed(0)
    x = torch.randn(batch, channels, *size, requires_grad=True)
    weight = torch.randn(channels, channels, *[3] * len(size))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        conv[x.ndim](x, weight, padding=1)
    names = {event.key for event in seen.key_averages()}
    kinds = {"slow": {"aten::slow_conv3d", "aten::thnn_conv2d"}, "oneDNN": {"aten::mkldnn_convolution"}}
    (kind,) = [kind for kind, known in kinds.items() if names & known]
    least = [9e9, 9e9]
    for _ in range(5):
        begun = time.thread_time()
        y = conv[x.ndim](x, weight, padding=1)
        between = time.thread_time()
        torch.autograd.grad(y, x, torch.ones_like(y))
        least = [min(least[0], between - begun), min(least[1], time.thread_time() - begun)]
    print(f"{batch} x {channels:3} channels of {' x '.join(map(str, size)):12} {kind:7}"
          f" {1e3 * least[0]:6.1f} ms, with the way back {1e3 * least[1]:6.1f} ms")
    return kind


assert run(1, 64, 16, 16, 16) == "slow", "a lone volume goes to oneDNN now"
assert run(2, 64, 16, 16, 16) == "oneDNN"
assert run(1, 32, 25, 25, 25) == "slow"
assert run(1, 32, 26, 26, 26) == "oneDNN", "the bound is another one now"
assert run(1, 32, 25, 25, 400) == "slow", "the width counts now"
assert run(1, 32, 400, 25, 25) == "oneDNN"
assert run(1, 256, 8, 8) == "slow" and run(2, 256, 8, 8) == run(1, 256, 9, 9) == "oneDNN"
print("unchanged: one small volume is convolved the slow way, whatever its width")
PYTHON
