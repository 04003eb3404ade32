"""A vision transformer

Transformers work on tokens. cfcam sees the tokens of the patches as a grid, and leaves the class token out of it.
"""

# %%
# A small transformer of Hugging Face's `transformers`, built from its configuration: patches of 4 x 4, three layers. It
# learns in a few seconds, on pictures drawn for the purpose, whether a bright square or a dark one is somewhere in
# them.
import torch
from transformers import ViTConfig, ViTForImageClassification

import cfcam

torch.manual_seed(0)
config = ViTConfig(
    image_size=32, patch_size=4, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
    hidden_dropout_prob=0.0, num_labels=2,
)  # fmt: skip
network = ViTForImageClassification(config)


def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns noise (count, 3, 32, 32) with a bright square (class 0) or a dark one (class 1), and the classes."""
    y = torch.randint(2, (count,))
    x = 0.4 * torch.randn(count, 1, 32, 32)
    for n, (row, column) in enumerate(torch.randint(0, 25, (count, 2)).tolist()):
        x[n, 0, row : row + 8, column : column + 8] += 1.5 - 3 * y[n]
    return x.expand(-1, 3, -1, -1), y


optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
for _ in range(40):
    x, y = draw(32)
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(x).logits, y).backward()
    optimizer.step()

network.eval()
x, y = draw(200)
with torch.no_grad():
    print(f"right: {float((network(x).logits.argmax(1) == y).float().mean()):.0%} of 200 new pictures")

# %%
# The chosen layer is the last one at which the patches still count: behind the last attention only the class
# token does. Methods for maps and methods for attention stand side by side.
methods = ["grad-cam", "hires-cam", "libra-grad", "legrad", "attention-rollout"]
e = cfcam.explain(network, x[:3], methods, targets=y[:3], classes=["bright", "dark"])
print(e.layer, tuple(e.maps["grad-cam"].shape[2:]))
e.plot(x[:3]).savefig("transformer.png")

# %%
# LeGrad, which is made for attention, finds the squares best here; gradients of one layer's tokens say less than
# those of a convolution. Which method to trust for a network is a question for the [scorecard](scorecard.md).
