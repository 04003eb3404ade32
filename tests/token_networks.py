"""Tiny networks that work on tokens, for tests."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.networks import CONV

Kind = Literal["plain", "fused", "multi-head"]


class Attention(nn.Module):
    """Self-attention, written out (plain), by torch's fused function, or by `nn.MultiheadAttention`."""

    def __init__(self, width: int, heads: int, kind: Kind) -> None:
        super().__init__()
        self.heads, self.kind = heads, kind
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        if kind == "multi-head":
            self.multi = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "multi-head":
            return self.multi(x, x, x, need_weights=False)[0]
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        if self.kind == "fused":
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, kind: Kind) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, kind)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TokenNet(nn.Module):
    """A vision transformer: patches of 2, tokens before them, blocks, a head that reads the class token or the mean.

    Args:
        grid: patches along each axis.
        prefix: tokens before the patches; the first is the class token.
        reads: "class" token, or the "mean" of the patches.
    """

    def __init__(
        self,
        grid: tuple[int, ...] = (7, 5),
        *,
        width: int = 16,
        depth: int = 3,
        prefix: int = 1,
        reads: Literal["class", "mean"] = "class",
        kind: Kind = "plain",
        classes: int = 4,
    ) -> None:
        super().__init__()
        self.prefix, self.reads = prefix, reads
        self.patch = CONV[len(grid)](3, width, 2, stride=2)
        self.extra = nn.Parameter(torch.randn(1, prefix, width))
        self.position = nn.Parameter(0.5 * torch.randn(1, prefix + torch.Size(grid).numel(), width))
        self.blocks = nn.Sequential(*[Block(width, 2, kind) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        # As if trained: norms with an affine part, attention that is not uniform, classes that differ.
        with torch.no_grad():
            for m in self.modules():
                if isinstance(m, nn.LayerNorm):
                    m.weight.uniform_(0.5, 1.5)
                    m.bias.normal_(std=0.2)
            for p in self.blocks.parameters():
                if p.ndim > 1:
                    p.mul_(3)
            self.head.weight.mul_(6)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.extra.expand(x.shape[0], -1, -1), tokens], 1) + self.position
        tokens = self.norm(self.blocks(tokens))
        return self.head(tokens[:, 0] if self.reads == "class" else tokens[:, self.prefix :].mean(1))
