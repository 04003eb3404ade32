"""The contract on networks that write: each family by a method of each kind, and every method on one network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import cfcam
from cfcam.errors import LayerError, MethodError, OutputError, TargetError
from cfcam.methods import list_pixel_methods, list_text_methods
from cfcam.models import TextModel
from cfcam.models.texts.passage import Passage
from tests import text_networks
from tests.contract.snapshot import snapshot
from tests.text_networks import APART, FAMILIES, GRIDS, QUESTION, pictures

pytest.importorskip("transformers")
TEXT = "left nodule"
ASKED = [cfcam.Token(0), cfcam.Token("nodule")]
OF_CLASSES = {"cam", "finer-cam"}
OF_OTHER_NETWORKS = {"winsor-cam", "attention-rollout", "legrad"}
CLASSLESS = {"eigen-cam", "kpca-cam"}
MANY_PASSES = {"ss-cam", "is-cam", "integrated-gradients", "smooth-grad", "expected-grad-cam"}
EVERY = [*cfcam.list_methods(), *list_pixel_methods(), *list_text_methods()]
PRESETS = {
    "cf-cam-hierarchical",
    "cf-cam-bilateral",
    "cf-cam-guided",
    "cf-cam-reference",
}  # in the contract of pictures
METHODS = [name for name in EVERY if name not in OF_CLASSES | OF_OTHER_NETWORKS | MANY_PASSES | PRESETS]
RUN_AGAIN = ["score-cam", "ablation-cam", "libra-grad"]
ONE_OF_A_KIND = pytest.mark.parametrize(
    "family", ["vit_gpt2", "blip_answers", "blip2", "git", "pixtral", "qwen3", "smolvlm"], indirect=True
)
NEED_THE_PICTURE = {"score-cam", "cf-cam-best", "cf-cam-steady", "occlusion", "guided-backprop", "guided-grad-cam"}


def methods_of(family: str) -> list[str]:
    """One that pools gradients, one that multiplies by them, one that clusters, and one that takes none."""
    return ["grad-cam", "hires-cam", "cf-cam", "eigen-cam" if family in APART else "tam"]


@pytest.fixture(scope="module")
def made() -> dict[str, TextModel]:
    return {}


def model_of(made: dict[str, TextModel], family: str) -> TextModel:
    if family not in made:
        made[family] = TextModel(*getattr(text_networks, family)())
    return made[family]


def maps_of(passage: Passage, methods: str | list[str], targets: object = None) -> dict[str, Tensor]:
    return cfcam.explain(passage, passage.x, methods, targets=ASKED if targets is None else targets).maps


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-3) -> None:
    assert actual.keys() == expected.keys()
    for name, maps in actual.items():
        assert maps.shape == expected[name].shape
        assert (maps - expected[name]).abs().max() <= tolerance * expected[name].abs().max() + 1e-6, name


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def passage(family: str, made: dict[str, TextModel]) -> Passage:
    return model_of(made, family).passage(pictures(family), QUESTION, TEXT, others=["no"])


def test_each_family_gives_maps_a_word_and_a_picture_or_a_word_alone_has_the_same(family, passage, made):
    together = maps_of(passage, methods_of(family))
    for name, maps in together.items():
        assert maps.shape == (2, 2, *GRIDS.get(family, (4, 4)))
        assert maps.dtype == torch.float32
        assert maps.isfinite().all()
        assert not maps.requires_grad
        assert maps.max() > 0
        assert name in CLASSLESS or (maps[:, 0] - maps[:, 1]).abs().max() > 0.02 * maps.abs().max(), name
    alone = model_of(made, family).passage(pictures(family)[1:], QUESTION, TEXT, others=["no"])
    assert_same({name: maps[1:] for name, maps in together.items()}, maps_of(alone, methods_of(family)))
    against = [maps_of(one, "hires-cam", cfcam.Answer(TEXT, "no"))["hires-cam"] for one in (passage, alone)]
    assert_same({"against": against[0][1:]}, {"against": against[1]})
    word = maps_of(passage, methods_of(family), cfcam.Token("nodule"))
    assert_same({name: maps[:, 1:] for name, maps in together.items()}, word)


@ONE_OF_A_KIND
def test_nothing_is_left_behind_whatever_the_network_and_the_caller_are_doing(family, passage):
    before = maps_of(passage, methods_of(family))
    held = next(p for p in passage.model.parameters() if p.ndim > 1)
    passage.model.train().requires_grad_(False)
    next(passage.model.children()).eval()  # a mixed model
    held.requires_grad_().grad = torch.ones_like(held)
    try:
        with torch.inference_mode():
            state = snapshot(passage)
            maps = maps_of(passage, methods_of(family))
            assert snapshot(passage) == state
    finally:
        passage.model.eval().requires_grad_(True)
        held.grad = None
    assert_same(maps, before)


def test_what_it_writes_leaves_nothing_behind_either(family, made):
    model = model_of(made, family)
    state = snapshot(model.model)
    asked = {"methods": methods_of(family), "targets": "tokens", "most_tokens": 2}
    found = cfcam.explain_text(model, pictures(family, 1), QUESTION, **asked)
    assert found.generated
    assert snapshot(model.model) == state


@ONE_OF_A_KIND
def test_state_after_the_network_or_the_caller_failed(family, passage, made):
    passage.model.train()
    state = snapshot(passage)
    for wrong in (cfcam.Token(99), cfcam.Token("lung"), cfcam.Answer("yes", "nodule"), 3, "predicted"):
        with pytest.raises((TargetError, OutputError)) as error:
            maps_of(passage, "grad-cam", wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(LayerError):
        cfcam.explain(passage, passage.x, "grad-cam", targets=ASKED, layer="model.nowhere")
    part = next(m for m in reversed(list(passage.model.modules())) if isinstance(m, torch.nn.Linear))
    part.forward = fails
    failing = snapshot(passage)
    with pytest.raises(ZeroDivisionError, match="the network's own"):
        maps_of(passage, "grad-cam")
    assert snapshot(passage) == failing
    del part.forward
    assert snapshot(passage) == state
    passage.model.eval()


def fails(*_: object) -> None:
    raise ZeroDivisionError("the network's own")


@ONE_OF_A_KIND
def test_what_is_not_finite_says_so_and_stays_with_its_picture(family, passage):
    clean = maps_of(passage, methods_of(family))
    x = passage.x.clone()
    x[1].flatten()[7] = torch.nan
    found = cfcam.explain(passage, x, methods_of(family), targets=ASKED)
    for name in found.methods:
        assert (found.status[name][1] == cfcam.Status.NOT_FINITE).all(), name
    assert_same({name: maps[:1] for name, maps in found.maps.items()}, {name: m[:1] for name, m in clean.items()})


def test_half_precision(family, made):
    model = TextModel(*getattr(text_networks, family)())
    model.model.bfloat16()
    rough = cfcam.explain_text(model, pictures(family), QUESTION, TEXT, methods_of(family)[1::2])
    exact = cfcam.explain_text(model_of(made, family), pictures(family), QUESTION, TEXT, "grad-cam")
    assert (rough.log_probabilities - exact.log_probabilities).abs().max() < 0.5
    for maps in rough.maps.values():
        assert maps.dtype == torch.float32
        assert maps.isfinite().all()
    written = cfcam.explain_text(model, pictures(family, 1), QUESTION, targets="tokens", most_tokens=2)
    assert written.maps["hires-cam"].isfinite().all()


@pytest.mark.parametrize("family", ["vit_gpt2", "llava"])
def test_double_precision_is_kept(family, made):
    model = TextModel(*getattr(text_networks, family)())
    model.model.double()
    exact = cfcam.explain_text(model, pictures(family), QUESTION, TEXT, methods_of(family)).maps
    assert {maps.dtype for maps in exact.values()} == {torch.float64}
    usual = cfcam.explain_text(model_of(made, family), pictures(family), QUESTION, TEXT, methods_of(family)).maps
    assert_same(usual, {name: maps.float() for name, maps in exact.items()})


@pytest.mark.parametrize(
    ("family", "method"),
    [*(("llava", name) for name in METHODS), *(("vit_gpt2", name) for name in RUN_AGAIN)],
    indirect=["family"],
)
def test_every_method_maps_words(family, method, passage, made):
    if method == "shapley-cam":
        with pytest.raises(LayerError, match=r"no second derivatives .* use grad-cam"):
            maps_of(passage, method)
        return
    state = snapshot(passage)
    together = maps_of(passage, method, cfcam.Token(0))
    assert snapshot(passage) == state
    assert together[method].shape[:2] == (2, 1)
    assert together[method].isfinite().all()
    assert together[method].max() > 0
    alone = model_of(made, family).passage(pictures(family)[1:], QUESTION, TEXT)
    assert_same({method: together[method][1:]}, maps_of(alone, method, cfcam.Token(0)))


@pytest.mark.parametrize("method", sorted(OF_CLASSES | OF_OTHER_NETWORKS) + sorted(NEED_THE_PICTURE))
@pytest.mark.parametrize("family", ["smolvlm"], indirect=True)
def test_what_does_not_apply_is_refused_in_one_line(family, method, passage):
    with pytest.raises(
        MethodError, match="in tiles" if method in NEED_THE_PICTURE else "use (hires-cam or )?grad-cam|by itself"
    ) as error:
        maps_of(passage, method)
    assert "\n" not in str(error.value)


def test_token_activation_maps_are_refused_in_one_line_where_picture_and_text_are_apart(made):
    for family in APART:
        passage = model_of(made, family).passage(pictures(family, 1), QUESTION, TEXT)
        with pytest.raises(
            MethodError, match="has no logits at image tokens: TAM is for networks such as LLaVA"
        ) as error:
            maps_of(passage, "tam")
        assert "\n" not in str(error.value)
