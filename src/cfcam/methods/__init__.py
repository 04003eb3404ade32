"""Floor 1: the methods. Each turns a Capture into raw maps; a new one is a short class and a line here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cfcam.errors import MethodError, check_whole

if TYPE_CHECKING:
    from cfcam.methods.base import Method
    from cfcam.methods.cam import CAM
    from cfcam.methods.clusters.cluster_filter_cam import CFCAM
    from cfcam.methods.clusters.filters import BilateralFilter, Filter, GuidedFilter, PublishedFilter
    from cfcam.methods.clusters.views import View
    from cfcam.methods.combined.augmentation import Augmented
    from cfcam.methods.combined.expected_grad_cam import ExpectedGradCAM
    from cfcam.methods.combined.finer_cam import FinerCAM
    from cfcam.methods.combined.fusion import Fusion, RefineCAM
    from cfcam.methods.combined.sess import SESS
    from cfcam.methods.combined.winsor_cam import WinsorCAM
    from cfcam.methods.components.deep_feature_factorization import DeepFeatureFactorization
    from cfcam.methods.components.eigen_cam import EigenCAM, EigenGradCAM
    from cfcam.methods.components.kpca_cam import KPCACAM
    from cfcam.methods.gradient.grad_cam import GradCAM, GradCAMPlusPlus
    from cfcam.methods.gradient.gradient_products import HiResCAM, LayerCAM, XGradCAM
    from cfcam.methods.gradient.shapley_cam import ShapleyCAM
    from cfcam.methods.pixel.full_grad import FullGrad
    from cfcam.methods.pixel.input_gradients import GuidedBackprop, GuidedGradCAM, SmoothGrad
    from cfcam.methods.pixel.integrated import IntegratedGradients
    from cfcam.methods.scored.ablation_cam import AblationCAM
    from cfcam.methods.scored.occlusion import Occlusion
    from cfcam.methods.scored.recipro_cam import ReciproCAM, ViTReciproCAM
    from cfcam.methods.scored.score_cam import ScoreCAM
    from cfcam.methods.scored.smooth import ISCAM, SSCAM, SmoothGradCAMPlusPlus
    from cfcam.methods.tokens.attention import AttentionRollout, LeGrad
    from cfcam.methods.tokens.libra_grad import LibraGrad
    from cfcam.methods.tokens.token_activation import TAM

# name -> (module, class, preset or None): names are known without importing torch, for help and completion.
_REGISTRY: dict[str, tuple[str, str, str | None]] = {
    "cam": ("cam", "CAM", None),
    "grad-cam": ("gradient.grad_cam", "GradCAM", None),
    "grad-cam++": ("gradient.grad_cam", "GradCAMPlusPlus", None),
    "score-cam": ("scored.score_cam", "ScoreCAM", None),
    "cf-cam": ("clusters.cluster_filter_cam", "CFCAM", None),
    "cf-cam-best": ("clusters.cluster_filter_cam", "CFCAM", "best"),
    "cf-cam-steady": ("clusters.cluster_filter_cam", "CFCAM", "steady"),
    "cf-cam-hierarchical": ("clusters.cluster_filter_cam", "CFCAM", "hierarchical"),
    "cf-cam-bilateral": ("clusters.cluster_filter_cam", "CFCAM", "bilateral"),
    "cf-cam-guided": ("clusters.cluster_filter_cam", "CFCAM", "guided"),
    "cf-cam-reference": ("clusters.cluster_filter_cam", "CFCAM", "reference"),
    "xgrad-cam": ("gradient.gradient_products", "XGradCAM", None),
    "hires-cam": ("gradient.gradient_products", "HiResCAM", None),
    "layer-cam": ("gradient.gradient_products", "LayerCAM", None),
    "ablation-cam": ("scored.ablation_cam", "AblationCAM", None),
    "eigen-cam": ("components.eigen_cam", "EigenCAM", None),
    "eigen-grad-cam": ("components.eigen_cam", "EigenGradCAM", None),
    "smooth-grad-cam++": ("scored.smooth", "SmoothGradCAMPlusPlus", None),
    "ss-cam": ("scored.smooth", "SSCAM", None),
    "is-cam": ("scored.smooth", "ISCAM", None),
    "finer-cam": ("combined.finer_cam", "FinerCAM", None),
    "refine-cam": ("combined.fusion", "RefineCAM", None),
    "recipro-cam": ("scored.recipro_cam", "ReciproCAM", None),
    "vit-recipro-cam": ("scored.recipro_cam", "ViTReciproCAM", None),
    "winsor-cam": ("combined.winsor_cam", "WinsorCAM", None),
    "shapley-cam": ("gradient.shapley_cam", "ShapleyCAM", None),
    "kpca-cam": ("components.kpca_cam", "KPCACAM", None),
    "dff": ("components.deep_feature_factorization", "DeepFeatureFactorization", None),
    "expected-grad-cam": ("combined.expected_grad_cam", "ExpectedGradCAM", None),
    "occlusion": ("scored.occlusion", "Occlusion", None),
    "attention-rollout": ("tokens.attention", "AttentionRollout", None),
    "legrad": ("tokens.attention", "LeGrad", None),
    "libra-grad": ("tokens.libra_grad", "LibraGrad", None),
}
# Companions whose maps lie on the input's own grid; they are asked for by name, and "all" leaves them out.
_PIXEL: dict[str, tuple[str, str, str | None]] = {
    "integrated-gradients": ("pixel.integrated", "IntegratedGradients", None),
    "smooth-grad": ("pixel.input_gradients", "SmoothGrad", None),
    "full-grad": ("pixel.full_grad", "FullGrad", None),
    "guided-backprop": ("pixel.input_gradients", "GuidedBackprop", None),
    "guided-grad-cam": ("pixel.input_gradients", "GuidedGradCAM", None),
}
# Companions for networks that write: they map words alone, and "all" leaves them out.
_TEXT: dict[str, tuple[str, str, str | None]] = {"tam": ("tokens.token_activation", "TAM", None)}
# what each is for, as `cfcam methods` says it; a method of one's own has a line here, or says nothing.
_FOR: dict[str, str] = {
    "cam": "the exact share of each place, behind pooling and one linear layer",
    "grad-cam": "the common reference, of any network",
    "grad-cam++": "several instances of one class",
    "score-cam": "no gradients, at any price",
    "cf-cam": "one pass, channels that agree weighed together",
    "cf-cam-best": "faithfulness, for 73 passes at most",
    "cf-cam-steady": "a map that holds still: five passes over small motions of the input",
    "cf-cam-hierarchical": "research: important channels apart from clusters",
    "cf-cam-bilateral": "reproducing a published setting",
    "cf-cam-guided": "reproducing a published setting",
    "cf-cam-reference": "reproducing the published figures",
    "xgrad-cam": "Grad-CAM where channels are active in few places",
    "hires-cam": "what each place added to the score, earlier layers, volumes",
    "layer-cam": "maps of early layers",
    "ablation-cam": "gradients in doubt, at a pass of the tail a channel",
    "eigen-cam": "what the layer responds to, whatever the class",
    "eigen-grad-cam": "HiResCAM with less noise",
    "smooth-grad-cam++": "a restless Grad-CAM++",
    "ss-cam": "whether a Score-CAM weight is an accident of its mask",
    "is-cam": "a probability that saturates under full masks",
    "finer-cam": "what tells a class from those like it",
    "refine-cam": "fine outlines",
    "recipro-cam": "quantised and exported networks; Score-CAM's question in a hundredth of the time",
    "vit-recipro-cam": "the same on the patches of a transformer",
    "expected-grad-cam": "scores whose gradient has vanished: weights from the way to the picture",
    "winsor-cam": "all layers in one map, without one outshouting the rest",
    "shapley-cam": "scores that saturate: curvature beside slope",
    "kpca-cam": "what the layer responds to, beyond one direction of its channels",
    "dff": "the layer's concepts, those together that speak for the class",
    "occlusion": "a check that believes in no channel and no gradient",
    "attention-rollout": "where a transformer gathers from, whatever the class",
    "legrad": "a transformer, over all of its blocks",
    "integrated-gradients": "pixels whose shares add up to the change of the score",
    "smooth-grad": "which pixels the score is sensitive to",
    "full-grad": "input and biases of all layers in one map",
    "guided-backprop": "comparison with older work: edges of the picture, whatever the network",
    "guided-grad-cam": "comparison with older work: those edges where Grad-CAM is",
    "libra-grad": "a transformer whose map is to add up to the score",
    "tam": "words of a network that writes (--prompt), without what earlier words explain",
}
_TEN_PASSES_A_CHANNEL = ("ss-cam", "is-cam")
_WRAPPERS = {"sess": "SESS", "augmented": "Augmented", "fusion": "Fusion"}
_LAZY = {cls: module for module, cls, _ in (*_REGISTRY.values(), *_PIXEL.values(), *_TEXT.values())} | {
    "Method": "base",
    "Augmented": "combined.augmentation",
    "Fusion": "combined.fusion",
    "SESS": "combined.sess",
    "Filter": "clusters.filters",
    "BilateralFilter": "clusters.filters",
    "GuidedFilter": "clusters.filters",
    "PublishedFilter": "clusters.filters",
    "View": "clusters.views",
}

__all__ = [
    "CAM",
    "CFCAM",
    "ISCAM",
    "KPCACAM",
    "SESS",
    "SSCAM",
    "TAM",
    "AblationCAM",
    "AttentionRollout",
    "Augmented",
    "BilateralFilter",
    "DeepFeatureFactorization",
    "EigenCAM",
    "EigenGradCAM",
    "ExpectedGradCAM",
    "Filter",
    "FinerCAM",
    "FullGrad",
    "Fusion",
    "GradCAM",
    "GradCAMPlusPlus",
    "GuidedBackprop",
    "GuidedFilter",
    "GuidedGradCAM",
    "HiResCAM",
    "IntegratedGradients",
    "LayerCAM",
    "LeGrad",
    "LibraGrad",
    "Method",
    "Occlusion",
    "PublishedFilter",
    "ReciproCAM",
    "RefineCAM",
    "ScoreCAM",
    "ShapleyCAM",
    "SmoothGrad",
    "SmoothGradCAMPlusPlus",
    "ViTReciproCAM",
    "View",
    "WinsorCAM",
    "XGradCAM",
    "affordable_methods",
    "get_method",
    "list_methods",
    "list_pixel_methods",
    "list_text_methods",
    "named_methods",
    "purpose",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def list_methods() -> list[str]:
    """Returns the names that can be given wherever a method is asked for."""
    return list(_REGISTRY)


def affordable_methods() -> list[str]:
    """Returns what "all" stands for: the names without those that take ten passes for every channel."""
    return [name for name in _REGISTRY if name not in _TEN_PASSES_A_CHANNEL]


def list_pixel_methods() -> list[str]:
    """Returns the names of the companions whose maps lie on the input's own grid, which can be given likewise."""
    return list(_PIXEL)


def list_text_methods() -> list[str]:
    """Returns the names of the companions that map the words of a network that writes, see `cfcam.explain_text`."""
    return list(_TEXT)


def purpose(name: str) -> str:
    """Returns what a method is for, in a few words; empty if nobody wrote it down."""
    return _FOR.get(name, "")


def check_name(name: str) -> None:
    """Refuses a name that no method has; nothing is imported for it.

    Raises:
        MethodError: there is none; the nearest names are offered.
    """
    if name not in (every := _REGISTRY | _PIXEL | _TEXT):
        if (cls := _WRAPPERS.get(name)) is not None:
            raise MethodError(
                f"{name} goes around another method: give an instance in Python, cfcam.methods.{cls}(base=GradCAM())"
            )
        near = difflib.get_close_matches(name, every, n=3, cutoff=0.4)
        nearest = f"; nearest: {', '.join(near)}" if near else ""
        raise MethodError(f"no method is called {name!r}{nearest} (all: cfcam methods)")


def get_method(name: str) -> Method:
    """Returns the method of this name with its default parameters.

    Raises:
        MethodError: there is none; the nearest names are offered.
    """
    check_name(name)
    module, cls, preset = (_REGISTRY | _PIXEL | _TEXT)[name]
    found = getattr(import_module(f"{__name__}.{module}"), cls)
    method: Method = getattr(found, preset)() if preset else found()
    return method


def named_methods(
    methods: str | Method | Iterable[str | Method] | Mapping[str, str | Method],
) -> dict[str, Method]:
    """Returns methods by the name under which their maps are kept.

    Args:
        methods: a name, an instance, a sequence of these, or a mapping from names of your own.

    Raises:
        MethodError: a name is unknown, something is no method (a class in place of its instance, a class that is no
            frozen dataclass with a name), or two methods of a sequence have the same name.
    """
    from cfcam.methods.base import Method

    def one(method: Any) -> Method:
        found = get_method(method) if isinstance(method, str) else method
        if isinstance(found, type):
            kind = found.__name__
            raise MethodError(
                f"{kind} is a class, which is no method: give a name of list_methods(), or an instance, {kind}()"
            )
        if not isinstance(found, Method):
            what = " ".join(repr(method).split())[:80]
            raise MethodError(f"{what} is no method: give a name of list_methods(), or an instance like GradCAM()")
        found.check()
        return found

    if isinstance(methods, Mapping):
        named = {name: one(method) for name, method in methods.items()}
        if wrong := [name for name in named if not isinstance(name, str) or not name]:
            raise MethodError(
                f"a method is called {wrong[0]!r}: the names of a mapping are texts, as {{'a': GradCAM()}}"
            )
    else:
        single = isinstance(methods, (str, Method, type)) or not isinstance(methods, Iterable)
        given: Any = [methods] if single else methods
        named = {}
        for method in map(one, given):
            if named.setdefault(method.label, method) is not method and named[method.label] != method:
                raise MethodError(
                    f"two different methods are called {method.label!r}: name them with a mapping,"
                    f" methods={{'a': {method.label}, 'b': ...}}"
                )
    for name in named:
        check_whole(name, "the method's name", MethodError)
    if not named:
        raise MethodError("no method given: name one or several, such as 'grad-cam' (all: cfcam methods)")
    return named
