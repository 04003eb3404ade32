#!/usr/bin/env bash
# torchmetrics 1.9.0: the Pearson correlation of two small findings in 224 x 224 maps is NaN, though it is 0.56.
# (Seen 2026-11.)
#
# Guess: pearson_corrcoef of 50 176 pairs is what NumPy gives, and NaN where one of the two does not vary.
# Seen: it is NaN, with a warning, where variance / (largest deviation)^2 is below about 3.5e-4, which is a question of
# how *rare* the high values are, not of how many digits are left: two squares of 4 x 4 pixels in an empty map are enough,
# which is what a good map of a small lesion looks like; the same squares eight times as large correlate at 0.55.
# Why the guess was wrong: the guard against division by nothing scales the variance by the largest deviation, so a
# sparse signal looks like a constant one. Averages over images are NaN, or leave out the small lesions.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torchmetrics==1.9.0 numpy==2.4.6
cd "$here"
venv/bin/python -W ignore - <<'PYTHON'
import numpy as np
import torch
from torchmetrics.functional import pearson_corrcoef

first, second = torch.zeros(224, 224), torch.zeros(224, 224)
first[:4, :4] = 1
second[1:5, 1:5] = 1
right = np.corrcoef(first.flatten().numpy(), second.flatten().numpy())[0, 1]
seen = pearson_corrcoef(first.reshape(-1, 1), second.reshape(-1, 1)).item()
larger = [map_.repeat_interleave(8, 0)[:224].repeat_interleave(8, 1)[:, :224] for map_ in (first, second)]
print(f"two squares of 4 x 4 in 224 x 224: NumPy {right:.4f}, torchmetrics {seen}")
print(f"the same, eight times as large:    torchmetrics {pearson_corrcoef(*(m.reshape(-1, 1) for m in larger)).item():.4f}")
assert abs(right - 0.5624) < 1e-3
assert np.isnan(seen), "the small finding has a number now"
assert abs(pearson_corrcoef(*(m.reshape(-1, 1) for m in larger)).item() - 0.5624) < 0.02

print("unchanged: small findings have no correlation")
PYTHON
