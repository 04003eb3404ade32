"""A trunk that runs several times in one pass: one call is named, replaced and explained, and no other."""

import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Adapter, Capture, Network, probe_layers
from cfcam.errors import LayerError


class Siamese(nn.Module):
    """One trunk, two pictures: stacked along the channels (N, 6, H, W), as a pair (N, 2, 3, H, W), or two arguments."""

    def __init__(self, nested=False):
        super().__init__()
        inner = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.trunk = nn.Sequential(inner, nn.Conv2d(6, 6, 3, padding=1)) if nested else inner
        self.fc = nn.Linear(12, 2)

    def forward(self, x, other=None):
        a, b = (x, other) if other is not None else x.chunk(2, 1) if x.ndim == 4 else x.unbind(1)
        return self.head(self.trunk(a), self.trunk(b))

    def head(self, a, b):
        f, g = a.mean((2, 3)), b.mean((2, 3))
        return self.fc(torch.cat([f, f * g.square()], 1))


def built(**settings):
    torch.manual_seed(0)
    return Siamese(**settings).eval()


def pictures(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def by_hand(net, a, b, call, target=1):
    """Grad-CAM of one of the two pictures, without cfcam."""
    f, g = net.trunk(a).detach().requires_grad_(), net.trunk(b).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.head(f, g)[:, target].sum(), (f, g)[call])
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * (f, g)[call].detach()).sum(1).relu()


def layers(net, call):
    return [f"trunk#{call}", (net.trunk, call), ("trunk", call)]


@pytest.mark.parametrize("call", [0, 1])
def test_the_call_is_chosen_by_its_number(call):
    net, x = built(), pictures(3, 6, 16, 16)
    right = by_hand(net, *x.chunk(2, 1), call)
    assert right.any()
    for layer in layers(net, call):
        e = cfcam.explain(net, x, "grad-cam", layer=layer, targets=1)
        assert e.layer == f"trunk#{call}"
        torch.testing.assert_close(e.maps["grad-cam"][:, 0], right)


@pytest.mark.parametrize("call", [0, 1])
def test_a_pair_on_its_own_axis_gives_a_map_of_the_one_picture(call):
    net, x = built(), pictures(3, 2, 3, 16, 16)
    e = cfcam.explain(net, x, "grad-cam", layer=f"trunk#{call}", targets=1)
    torch.testing.assert_close(e.maps["grad-cam"][:, 0], by_hand(net, *x.unbind(1), call))
    assert e.heatmaps("grad-cam", None).shape == (3, 1, 16, 16)
    # Masks lie on that picture; the other one stays as it is.
    masked = cfcam.explain(net, x, ["score-cam", "occlusion"], layer=f"trunk#{call}", targets=1)
    fixed = x.unbind(1)[1 - call]
    adapter = Adapter(net, lambda y, images: (y, fixed[images]) if call == 0 else (fixed[images], y))
    alone = cfcam.explain(adapter, x[:, call], ["score-cam", "occlusion"], layer=f"model.trunk#{call}", targets=1)
    for method, maps in alone.maps.items():
        torch.testing.assert_close(masked.maps[method], maps)


@pytest.mark.parametrize("call", [0, 1])
def test_only_that_call_is_replaced(call):
    net, x = built(), pictures(2, 6, 16, 16)
    capture = Capture(Network(net), x, layer=f"trunk#{call}", targets="all")
    images = torch.tensor([1, 0, 1])
    given = pictures(3, 6, 16, 16)
    pair = [net.trunk(part)[images] for part in x.chunk(2, 1)]
    pair[call] = given
    with torch.no_grad():
        logits = net.head(*pair)
    torch.testing.assert_close(capture.rescore_activations(given, images), logits)


def test_every_method_explains_one_call():
    net, x = built(), pictures(2, 6, 8, 8)
    methods = [m for m in cfcam.list_methods() if m not in ("cam", "attention-rollout", "legrad", "winsor-cam")]
    e = cfcam.explain(net, x, methods, layer="trunk#1", targets="all")
    assert all(maps.shape == (2, 2, 8, 8) for maps in e.maps.values())
    again = cfcam.explain(net, x[1:], methods, layer="trunk#1", targets="all")
    for method, maps in again.maps.items():
        torch.testing.assert_close(maps, e.maps[method][1:], msg=method)


def test_layers_inside_of_the_trunk():
    net, x = built(nested=True), pictures(1, 6, 8, 8)
    first = cfcam.explain(net, x, "grad-cam", layer="trunk.0#0", targets=1)
    assert first.layer == "trunk.0#0"
    assert cfcam.explain(net, x, "grad-cam", layer="trunk[-1]#1", targets=1).layer == "trunk.1#1"
    second = cfcam.explain(net, x, "grad-cam", layer=(net.trunk[0], 1), targets=1)
    assert not torch.equal(first.maps["grad-cam"], second.maps["grad-cam"])


@pytest.mark.parametrize("shape", [(2, 6, 16, 16), (2, 2, 3, 16, 16)])
def test_without_a_number_the_calls_are_named(shape):
    net = built()
    for layer in ("trunk", net.trunk, None):
        with pytest.raises(LayerError, match=r"runs several times.*trunk#0, trunk#1"):
            cfcam.explain(net, pictures(*shape), "grad-cam", layer=layer)


def test_a_call_that_is_not_made_says_how_many_are():
    net, x = built(), pictures(2, 6, 16, 16)
    with pytest.raises(LayerError, match=r"runs 2 times.*no 'trunk#2'.*trunk#0, trunk#1"):
        cfcam.explain(net, x, "grad-cam", layer="trunk#2")
    with pytest.raises(LayerError, match=r"'fc' runs once.*fc#0"):
        cfcam.explain(net, x, "grad-cam", layer="fc#3")
    with pytest.raises(LayerError, match=r"no layer 'trunc'"):
        cfcam.explain(net, x, "grad-cam", layer="trunc#1")


def test_the_only_call_has_a_number_too():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.f(x).mean((2, 3)))

    torch.manual_seed(0)
    net, x = Plain().eval(), pictures(1, 3, 8, 8)
    a, b = (cfcam.explain(net, x, "grad-cam", layer=layer, targets=1).maps["grad-cam"] for layer in ("f", "f#0"))
    assert torch.equal(a, b)


def test_calls_that_depend_on_each_other_keep_the_way_through_the_later_one():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.cell, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

        def forward(self, x):
            return self.tail(self.cell(self.stem(x).tanh()))

        def tail(self, a):
            return self.fc(self.cell(a.tanh()).tanh().mean((2, 3)))

    torch.manual_seed(0)
    net, x = Recurrent().eval(), pictures(1, 3, 8, 8)
    a = net.cell(net.stem(x).tanh()).detach().requires_grad_()
    (right,) = torch.autograd.grad(net.tail(a)[:, 1].sum(), a)
    found = Capture(Network(net), x, layer="cell#0", targets=1).gradients[:, 0]
    torch.testing.assert_close(found, right)


def test_the_probe_counts_the_calls():
    net = built()
    infos, _ = probe_layers(Network(net), pictures(1, 6, 16, 16))
    assert {i.name: i.calls for i in infos}["trunk"] == 2


NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
        self.mix, self.fc = nn.Conv2d(8, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.mix(torch.cat([self.trunk(x[:, :1]), self.trunk(x[:, 1:2])], 1)).mean((2, 3)))

def make():
    return Net().eval()
"""


def test_the_list_of_layers_names_the_calls(tmp_path):
    from typer.testing import CliRunner

    from cfcam.cli.app import app

    (tmp_path / "nets.py").write_text(NETWORK)
    command = ["layers", f"{tmp_path / 'nets.py'}:make", "--size", "32", "--mean", "0,0", "--std", "1,1"]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "runs 2 times: trunk#0, trunk#1" in result.output
