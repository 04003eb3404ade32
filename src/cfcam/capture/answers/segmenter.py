"""A network that segments by queries, each a mask and its class, as one of class scores for each place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cfcam.capture.answers.outputs import QUERIES, of_queries
from cfcam.capture.half_precision import at_least_float32
from cfcam.errors import InputError, OutputError, shown


class Segmenter(nn.Module):
    """A model that answers with masks and their classes, so that its segmentation can be explained: see `Segmentation`.

    Its score of class c at place p is the logarithm of what the authors' own readings are the largest of,
    ``log sum_q softmax(class_q)_c sigmoid(mask_q)_p``, over queries q, "no object" left out: the class predicted at a
    place is the same, and a softmax over the classes gives each its share of that sum.

    Args:
        model: MaskFormer, Mask2Former, EoMT or DETR's ``ForSegmentation`` of transformers; it is not changed. Its
            layers are named with ``model.`` before.

    Example:
        ``cfcam.explain(Segmenter(model), x, targets=Segmentation("liver"), classes=[...])``

    Source: Cheng et al. 2021, "Per-pixel classification is not all you need for semantic segmentation", arXiv
    2107.06278, section 3.4 (semantic inference).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise InputError(f"Segmenter: the model is {shown(model)}: give the torch.nn.Module that finds masks")
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Returns the class scores (N, classes, h, w) of images (N, C, H, W), on the masks' own grid, at least float32.

        Raises:
            OutputError: the output holds no masks of queries, or they have no class "no object" beside those that the
                configuration names.
        """
        output = self.model(x)
        pair = of_queries(output)
        if pair is None:
            raise OutputError(
                f"{type(self.model).__name__} returns no masks of queries and their classes"
                f" ({' and '.join(QUERIES[0])}): leave Segmenter out if it returns class scores for each place, or read"
                " its output with cfcam.capture.Adapter(model, output=...)"
            )
        labels = getattr(getattr(self.model, "config", None), "num_labels", None)
        if isinstance(labels, int) and pair[0].shape[-1] != labels + 1:
            raise OutputError(
                f"{type(self.model).__name__} gives each mask {pair[0].shape[-1]} classes for {labels} names, and not"
                ' one more, "no object": how its masks add up to classes is not known; read its output with'
                " cfcam.capture.Adapter(model, output=...)"
            )
        classes, masks = (at_least_float32(one) for one in pair)
        # Logarithms all the way: a place that no query wants has a score, and a gradient, too.
        of_class, of_mask = classes.log_softmax(-1)[..., :-1], nn.functional.logsigmoid(masks)
        most = of_mask.amax(1, keepdim=True)
        shares = torch.einsum("nqc,nq...->nc...", of_class.exp(), (of_mask - most).exp())
        return shares.clamp(min=torch.finfo(shares.dtype).tiny).log() + most
