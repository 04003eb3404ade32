"""Attention maps of a transformer, seen where they are computed: at the softmax, or inside of fused attention.

A mode of torch's function overrides sees every call of ``softmax``, ``scaled_dot_product_attention`` and
``multi_head_attention_forward`` in this thread, and nothing of the model is changed. Fused attention is computed in its
plain form, which gives the same numbers up to rounding.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cfcam.capture.state.guarantee import observable

_SOFTMAX = (torch.softmax, F.softmax, Tensor.softmax)
_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)


@dataclass(frozen=True)
class AttentionMap:
    """The attention of one layer.

    Attributes:
        weights: (N, heads, T, T), or (N * heads, T, T), a tensor on the way to the output; (N, 1, T, T), the mean over
            the heads, if no gradients were wanted.
        path: dotted name of the innermost module that was running.
    """

    weights: Tensor
    path: str

    def by_image(self, tensor: Tensor, batch: int) -> Tensor:
        """Returns a tensor like ``weights`` (the weights, or their gradient) as (N, heads, T, T)."""
        return tensor.reshape(batch, -1, *tensor.shape[-2:])


class AttentionRecorder(TorchFunctionMode):
    """Records the square attention maps (N, heads, T, T) of what runs inside of it.

    Args:
        model: its running modules are tracked.
        batch: N. Attention inside of windows has another batch, and is counted as `other`.
        differentiable: make each map a leaf: gradients of what follows reach it, and go no further back.

    Attributes:
        maps: in the order of the layers.
        other: how many attention maps had another form: windows, reduced keys, a class token that asks alone.
    """

    def __init__(self, model: nn.Module, batch: int, *, differentiable: bool) -> None:
        super().__init__()
        self.maps: list[AttentionMap] = []
        self.other = 0
        self._model = model
        self._batch = batch
        self._differentiable = differentiable
        self._running: list[str] = [""]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Records while its body runs."""
        handles = []
        for module, name in observable(self._model).items():
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: self._running.append(name)))
            handles.append(module.register_forward_hook(lambda *_: self._leave(), always_call=True))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _leave(self) -> None:
        self._running.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs a function of torch, with an eye on attention."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._scaled_dot_product(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self._multi_head(*args, **kwargs)
        result = func(*args, **kwargs)
        if func in _SOFTMAX and kwargs.get("dim", args[1] if len(args) > 1 else None) in (-1, result.ndim - 1):
            return self._seen(result)
        return result

    def _seen(self, weights: Tensor) -> Tensor:
        if weights.ndim < 3:
            return weights
        if weights.ndim != 4 or weights.shape[0] != self._batch or weights.shape[2] != weights.shape[3]:
            self.other += 1
            return weights
        if self._differentiable:
            torch.set_grad_enabled(True)  # also inside a no_grad block of the model's own
            weights = weights.detach().requires_grad_()
        self._keep(weights, weights)
        return weights

    def _keep(self, weights: Tensor, on_the_way: Tensor) -> None:
        """Records weights (N, heads, T, T); if no gradient is wanted only their mean over the heads."""
        kept = on_the_way if self._differentiable else weights.mean(1, keepdim=True)
        self.maps.append(AttentionMap(kept, self._running[-1]))

    def _scaled_dot_product(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if enable_gqa:
            key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
            value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
        scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        weights = self._seen(scores.softmax(-1).to(value.dtype))
        return F.dropout(weights, dropout_p) @ value if dropout_p else weights @ value

    def _multi_head(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        bound = _MULTI_HEAD.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        needed, averaged = given["need_weights"], given["average_attn_weights"]
        given |= {"need_weights": True, "average_attn_weights": False}
        if self._differentiable and not given["query"].requires_grad:
            torch.set_grad_enabled(True)
            given["query"] = given["query"].detach().requires_grad_()
        result, weights = F.multi_head_attention_forward(**given)
        assert weights is not None  # noqa: S101  (they were asked for)
        if weights.ndim == 4 and weights.shape[0] == self._batch and weights.shape[2] == weights.shape[3]:
            # The weights are handed out as a view; what is on the way to the output is the tensor behind it.
            self._keep(weights, weights if weights._base is None else weights._base)
        else:
            self.other += 1
        if not needed:
            return result, None
        return result, weights.mean(-3) if averaged else weights
