"""Clips (N, T, C, H, W) through a 2-D trunk: a map for each frame, by its own gradient; no images are mixed."""

import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Adapter, Capture, Network, automatic_layer
from cfcam.errors import CfcamError, InputError, LayerError
from cfcam.explainer_windows import explain_windows
from cfcam.explanation import Explanation

FOLDS = {
    "flatten": lambda net, x: net.trunk(x.flatten(0, 1)).unflatten(0, x.shape[:2]),
    "view": lambda net, x: net.trunk(x.view(-1, *x.shape[2:])).view(len(x), -1, *net.out(x)),
    "reshape": lambda net, x: net.trunk(x.reshape(-1, *x.shape[-3:])).reshape(*x.shape[:2], *net.out(x)),
    "frames first": lambda net, x: (
        net.trunk(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (-1, len(x))).transpose(0, 1)
    ),
    "loop": lambda net, x: torch.stack([net.trunk(x[:, t]) for t in range(x.shape[1])], 1),
    "loop backwards": lambda net, x: torch.stack([net.trunk(x[:, t]) for t in reversed(range(x.shape[1]))], 1).flip(1),
}


class Clip(nn.Module):
    """A trunk on frames, and something over time."""

    def __init__(self, fold="flatten", time="attention", channels=3, second=False):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.lstm, self.conv = nn.LSTM(6, 6, batch_first=True), nn.Conv1d(6, 6, 3, padding=1)
        self.query, self.fc = nn.Linear(6, 1), nn.Linear(6, 2)
        self.fold, self.time, self.second = FOLDS[fold], time, second

    @staticmethod
    def out(x):
        return 6, x.shape[-2] // 2, x.shape[-1] // 2

    def forward(self, x):
        return self.head(self.fold(self, x.transpose(1, 2) if self.second else x))

    def head(self, maps):
        f = maps.mean((-2, -1))
        if self.time == "lstm":
            return self.fc(self.lstm(f)[0][:, -1])
        if self.time == "attention":
            return self.fc(((self.query(f) * 40).softmax(1) * f).sum(1))
        if self.time == "max":
            return self.fc(f.amax(1))
        if self.time == "conv":
            return self.fc(self.conv(f.mT).relu().mean(2))
        return self.fc(f.mean(1))


def built(**settings):
    torch.manual_seed(0)
    return Clip(**settings).eval()


def clip(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def by_hand(net, x, target=1, method="grad-cam"):
    """The maps of each frame (N, T, h, w), without cfcam: the trunk's output is a leaf, frame by frame."""
    maps = net.trunk(x.flatten(0, 1)).detach().unflatten(0, x.shape[:2]).requires_grad_()
    (g,) = torch.autograd.grad(net.head(maps)[:, target].sum(), maps)
    weights = g if method == "hires-cam" else g.mean((-2, -1), keepdim=True)
    found = (weights * maps.detach()).sum(2)
    return found if method == "hires-cam" else found.relu()


@pytest.mark.parametrize("time", ["mean", "lstm", "attention", "max", "conv"])
@pytest.mark.parametrize("fold", FOLDS)
def test_a_map_for_each_frame(fold, time):
    net, x = built(fold=fold, time=time), clip(2, 5, 3, 16, 12)
    e = cfcam.explain(net, x, ["grad-cam", "hires-cam"], layer="trunk", targets=1)
    assert e.input_size == (5, 16, 12)
    for method in ("grad-cam", "hires-cam"):
        torch.testing.assert_close(e.maps[method][:, 0], by_hand(net, x, method=method))
    alone = cfcam.explain(net, x[1:], "grad-cam", layer="trunk", targets=1)
    torch.testing.assert_close(alone.maps["grad-cam"], e.maps["grad-cam"][1:])


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("fold", ["flatten", "frames first"])
def test_any_number_of_frames_on_either_axis(frames, second, fold):
    """With 3 frames of 3 channels the shape alone does not tell which axis is which."""
    net, x = built(second=second, fold=fold), clip(3, frames, 3, 8, 8)
    e = cfcam.explain(net, x.transpose(1, 2) if second else x, "grad-cam", layer="trunk", targets=1)
    torch.testing.assert_close(e.maps["grad-cam"][:, 0], by_hand(net, x))
    assert e.frames == 1 + second


@pytest.mark.parametrize("fold", FOLDS)
def test_first_one_clip_and_then_several(fold):
    """What was found out with one clip holds for a batch: the order of the rows does not show in one."""
    net, x = built(fold=fold), clip(3, 4, 3, 8, 8)
    explainer = cfcam.Explainer(net, ["grad-cam", "ablation-cam"], layer="trunk")
    one = explainer(x[:1], 1)
    every = explainer(x, 1)
    for method, maps in one.maps.items():
        torch.testing.assert_close(maps, every.maps[method][:1])
    torch.testing.assert_close(every.maps["grad-cam"][:, 0], by_hand(net, x))


def test_a_frame_that_is_not_attended_has_no_heat():
    class First(Clip):
        def head(self, maps):
            return self.fc(maps[:, 0].mean((-2, -1)))

    torch.manual_seed(0)
    net = First().eval()
    methods = [
        "grad-cam",
        "grad-cam++",
        "layer-cam",
        "xgrad-cam",
        "cf-cam",
        "smooth-grad-cam++",
        "finer-cam",
        "refine-cam",
    ]
    e = cfcam.explain(net, clip(2, 4, 3, 16, 16), methods, layer="trunk", targets="all")
    for method, maps in e.maps.items():
        assert not maps[:, :, 1:].any(), method
        assert maps[:, :, 0].any(), method
        assert not e.heatmaps(method)[:, :, 1:].any(), method


def test_frames_are_not_mixed_when_drawn():
    net, x = built(), clip(1, 4, 3, 16, 16)
    e = cfcam.explain(net, x, "hires-cam", layer="trunk", targets=1)
    heat = e.heatmaps("hires-cam")
    assert heat.shape == (1, 1, 4, 16, 16)
    frames = [
        torch.nn.functional.interpolate(m, (16, 16), mode="bilinear") for m in e.maps["hires-cam"].relu().unbind(2)
    ]
    right = torch.stack(frames, 2)
    torch.testing.assert_close(heat, right / right.max())
    torch.testing.assert_close(e.heatmaps("hires-cam", (8, 16, 16)), heat.repeat_interleave(2, 2))
    with pytest.raises(CfcamError, match="maps of 3 axes"):
        e.heatmaps("hires-cam", (16, 16))


@pytest.mark.parametrize("fold", ["flatten", "frames first", "loop"])
def test_every_method_works_or_says_why_not(fold):
    # In float64: in float32 a channel between two clusters of cf-cam may fall to either, by how its batch is rounded.
    net, x = built(fold=fold).double(), clip(2, 3, 3, 8, 8).double()
    worked, refused = set(), {}
    for method in cfcam.list_methods():
        try:
            e = cfcam.explain(net, x, method, layer="trunk", targets="all")
        except CfcamError as error:
            refused[method] = str(error)
            continue
        worked.add(method)
        fine = (8, 8) if method == "refine-cam" else (4, 4)
        assert e.maps[method].shape == (2, 2, 3, *fine), method
        alone = cfcam.explain(net, x[1:], method, layer="trunk", targets="all")
        torch.testing.assert_close(alone.maps[method], e.maps[method][1:], msg=method, rtol=1e-3, atol=1e-6)
    assert set(refused) == {"cam", "attention-rollout", "legrad", "winsor-cam"}  # it has one convolution only
    assert not any("\n" in line for line in refused.values())


def test_score_cam_masks_each_frame_by_its_own_activations():
    net, x = built(), clip(1, 3, 3, 8, 8)
    e = cfcam.explain(net, x, "score-cam", layer="trunk", targets=1)
    A = net.trunk(x[0]).detach()  # (T, C, h, w)
    low, high = A.amin((0, 2, 3)), A.amax((0, 2, 3))
    used = [k for k in range(6) if high[k] > low[k]]
    total = torch.zeros(3, 4, 4)
    with torch.no_grad():
        base = net(torch.zeros_like(x)).softmax(1)[0, 1]
        for k in used:
            mask = torch.nn.functional.interpolate(
                ((A[:, k] - low[k]) / (high[k] - low[k]))[:, None], (8, 8), mode="bilinear"
            )
            total += (net(x * mask[None]).softmax(1)[0, 1] - base) * A[:, k]
    torch.testing.assert_close(e.maps["score-cam"][0, 0], total.relu())


def test_occlusion_covers_one_frame_at_a_time():
    net, x = built(), clip(1, 3, 3, 8, 8)
    e = cfcam.explain(net, x, cfcam.methods.Occlusion(window=1), layer="trunk", targets=1)
    with torch.no_grad():
        whole = net(x).softmax(1)[0, 1]
        other = x.clone()
        other[:, 1, :, 2:4, 4:6] = 0
        torch.testing.assert_close(e.maps["occlusion"][0, 0, 1, 1, 2], whole - net(other).softmax(1)[0, 1])


def test_cam_on_the_mean_of_all_frames():
    net, x = built(time="mean"), clip(2, 4, 3, 8, 8)
    e = cfcam.explain(net, x, "cam", layer="trunk", targets=1)
    A = net.trunk(x.flatten(0, 1)).unflatten(0, (2, 4))
    torch.testing.assert_close(e.maps["cam"][:, 0], torch.einsum("c,ntchw->nthw", net.fc.weight[1], A).detach())


@pytest.mark.parametrize("fold", ["flatten", "frames first", "loop"])
def test_the_automatic_layer_is_the_trunk(fold):
    net = built(fold=fold)
    assert automatic_layer(Network(net), clip(2, 4, 3, 16, 16)) in ("trunk", "trunk.1")
    e = cfcam.explain(net, clip(2, 4, 3, 16, 16), "grad-cam", targets=1)
    assert e.maps["grad-cam"].ndim == 5


def test_one_call_of_a_loop_is_one_frame():
    net, x = built(fold="loop"), clip(2, 5, 3, 16, 12)
    e = cfcam.explain(net, x, "grad-cam", layer="trunk#3", targets=1)
    assert e.input_size == (16, 12)
    torch.testing.assert_close(e.maps["grad-cam"][:, 0], by_hand(net, x)[:, 3])


def test_slices_without_a_channel_axis():
    class Slices(Clip):
        def forward(self, x):
            return self.head(self.trunk(x.flatten(0, 1)[:, None]).unflatten(0, x.shape[:2]))

    torch.manual_seed(0)
    net, x = Slices(channels=1).eval(), clip(2, 6, 16, 16)
    e = cfcam.explain(net, x, ["grad-cam", "score-cam"], layer="trunk", targets=1)
    assert e.input_size == (6, 16, 16)
    torch.testing.assert_close(e.maps["grad-cam"][:, 0], by_hand(net, x[:, :, None]))
    assert e.maps["score-cam"].shape == (2, 1, 6, 8, 8)
    assert e.plot(x).axes


def test_a_transformer_on_frames_with_patches_that_leave_a_rim():
    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.cls = nn.Conv2d(3, 8, 6, 6), nn.Parameter(torch.ones(1, 1, 8))
            self.block, self.norm, self.fc = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2)

        def forward(self, x):
            t = self.embed(x.flatten(0, 1)).flatten(2).mT
            t = torch.cat([self.cls.expand(len(t), -1, -1), t], 1)
            f = self.norm(t + self.block(t)).square().mean(1).unflatten(0, x.shape[:2])
            return self.fc((f * torch.arange(1, x.shape[1] + 1)[:, None]).mean(1))

    torch.manual_seed(0)
    net, x = Frames().eval(), clip(2, 4, 3, 16, 16)
    e = cfcam.explain(net, x, "hires-cam", layer="norm", targets=1)
    assert e.maps["hires-cam"].shape == (2, 1, 4, 2, 2)
    assert (e.heatmaps("hires-cam")[..., 12:] == 0).all()
    assert cfcam.explain(net, x, "grad-cam", targets=1).maps["grad-cam"].shape == (2, 1, 4, 2, 2)


def test_a_network_that_mixes_the_images_of_a_batch_is_refused():
    class Mixing(Clip):
        def forward(self, x):
            x = x + x.mean((0, 1), keepdim=True)
            return super().forward(x)

    torch.manual_seed(0)
    with pytest.raises(LayerError, match=r"not the frames of one image each"):
        cfcam.explain(Mixing().eval(), clip(2, 4, 3, 8, 8), "grad-cam", layer="trunk", targets=1)


def test_vectors_over_time_are_no_map():
    class Sequence(Clip):
        def __init__(self):
            super().__init__(channels=4)
            self.over_time = nn.Linear(6, 6)

        def head(self, maps):
            return self.fc(self.over_time(maps.mean((-2, -1))).mean(1))

    torch.manual_seed(0)
    with pytest.raises(LayerError, match="no spatial extent"):  # 16 vectors, and 1 x 4 x 4 patches of 4 pixels
        cfcam.explain(Sequence().eval(), clip(1, 16, 4, 16, 16), "grad-cam", layer="over_time", targets=1)


def test_another_tail_on_replaced_frames():
    net, x = built(), clip(2, 3, 3, 8, 8)
    for fold in FOLDS:
        net.fold = FOLDS[fold]
        capture = Capture(Network(net), x, layer="trunk", targets="all")
        images = torch.tensor([1, 0, 1])
        given = clip(3, 6, 3, 4, 4)
        with torch.no_grad():
            right = net.head(given.transpose(1, 2))
        torch.testing.assert_close(capture.rescore_activations(given, images), right, msg=fold)


def test_through_an_adapter_with_something_else_for_each_clip():
    class Aged(Clip):
        def forward(self, x, age):
            return super().forward(x) * age

    torch.manual_seed(0)
    net, x, ages = Aged().eval(), clip(2, 4, 3, 8, 8), torch.tensor([[1.0], [3.0]])
    adapter = Adapter(net, lambda y, images: (y, ages[images]))
    e = cfcam.explain(adapter, x, ["grad-cam", "score-cam"], layer="model.trunk", targets=1)
    alone = Adapter(net, lambda y, images: (y, ages[1:][images]))
    single = cfcam.explain(alone, x[1:], ["grad-cam", "score-cam"], layer="model.trunk", targets=1)
    for method, maps in single.maps.items():
        torch.testing.assert_close(maps, e.maps[method][1:])


def test_saved_loaded_and_drawn(tmp_path):
    net, x = built(), clip(2, 6, 3, 16, 16)
    e = cfcam.explain(net, x, "grad-cam", layer="trunk", targets="all").with_pictures(x)
    assert [p.shape for p in e.pictures] == [(6, 16, 16, 3)] * 2
    assert (e.pictures[0][2][..., 1] / 255.0 - x[0, 2, 1].numpy()).max() < 0.05
    again = Explanation.load(e.save(tmp_path / "clip"))
    assert again.frames == e.frames == 1
    assert torch.equal(again.heatmaps("grad-cam"), e.heatmaps("grad-cam"))
    assert "<img" in e._repr_html_()
    figure = again.plot(x, targets=[1])
    labels = [axis.get_ylabel() for axis in figure.axes]
    assert sum("frame" in label for label in labels) == 8
    with pytest.raises(InputError, match="6 frames"):
        again.plot(x[:, :2])


def test_windows_say_how_frames_are_due():
    explainer = cfcam.Explainer(built(), "grad-cam", layer="trunk")
    with pytest.raises(InputError, match=r"transpose\(1, 2\)"):
        explain_windows(explainer, clip(1, 4, 3, 16, 16), (3, 8, 8), targets=1)


def test_half_precision_frame_by_frame():
    net, x = built(time="mean"), clip(2, 4, 3, 256, 256)
    right = cfcam.explain(net, x, "grad-cam", layer="trunk", targets=1).maps["grad-cam"]
    found = cfcam.explain(net.half(), x.half(), "grad-cam", layer="trunk", targets=1).maps["grad-cam"]
    assert torch.corrcoef(torch.stack([right.flatten(), found.flatten()]))[0, 1] > 0.999


def test_volumes_keep_their_maps():
    class Volume(nn.Module):
        def __init__(self):
            super().__init__()
            self.f, self.fc = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU()), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.f(x).mean((2, 3, 4)))

    e = cfcam.explain(Volume().eval(), clip(2, 2, 8, 8, 8), "grad-cam", targets=1)
    assert e.frames == 0
    assert e.maps["grad-cam"].shape == (2, 1, 8, 8, 8)


class Bag(Clip):
    """Takes the slices of one case as its batch, and returns one row of scores."""

    def __init__(self, squeeze=True):
        super().__init__()
        self.squeeze = squeeze

    def forward(self, x):
        slices = (x.squeeze(0) if self.squeeze else x[0]) if x.ndim == 5 else x
        return self.head(self.trunk(slices)[None])


@pytest.mark.parametrize("squeeze", [True, False])
def test_slices_of_one_case(squeeze):
    torch.manual_seed(0)
    net, x = Bag(squeeze).eval(), clip(1, 5, 3, 8, 8)
    e = cfcam.explain(net, x, ["grad-cam", "score-cam", "ablation-cam"], layer="trunk", targets=1)
    torch.testing.assert_close(e.maps["grad-cam"][:, 0], by_hand(net, x))
    right = cfcam.explain(built(), x, ["score-cam", "ablation-cam"], layer="trunk", targets=1)
    for method, maps in right.maps.items():
        torch.testing.assert_close(e.maps[method], maps)


def test_slices_without_a_case_axis_are_told_from_images():
    torch.manual_seed(0)
    net, x = Bag().eval(), clip(5, 3, 8, 8)
    with pytest.raises(CfcamError, match=r"scores of 1 images.*x\[None\] \(1, 5, 3, 8, 8\).*Adapter"):
        cfcam.explain(net, x, "grad-cam", layer="trunk", targets=1)
    e = cfcam.explain(Adapter(net, lambda y, images: y[0]), x[None], "grad-cam", layer="model.trunk", targets=1)
    torch.testing.assert_close(e.maps["grad-cam"][:, 0], by_hand(net, x[None]))


def test_every_second_frame_is_refused_for_what_it_is():
    class Sampled(Clip):
        def forward(self, x):
            return super().forward(x[:, ::2])

    torch.manual_seed(0)
    with pytest.raises(LayerError, match="4 rows for 2 images"):
        cfcam.explain(Sampled().eval(), clip(2, 4, 3, 8, 8), "grad-cam", layer="trunk", targets=1)


class Exchanged(nn.Module):
    """Takes clips (N, T, C, H, W) and convolves (N, C, T, H, W), as networks of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv3d(3, 4, (1, 2, 2), stride=(1, 2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.patches(x.permute(0, 2, 1, 3, 4)).mean((2, 3, 4))


@pytest.mark.parametrize("frames", [5, 3])  # as many as there are colours, too
@pytest.mark.parametrize("layer", [None, "patches"])
def test_frames_are_not_taken_for_channels(frames: int, layer: str | None) -> None:
    net, x = Exchanged(), torch.rand(2, frames, 3, 8, 8)
    with pytest.raises(InputError, match=r"exchanges frames and channels .* cfcam\.capture\.Adapter\(model") as error:
        cfcam.explain(net, x, "occlusion", layer=layer)
    assert f", 3, {frames}, 8, 8), and" in str(error.value)
    adapted = Adapter(net, lambda x, images: x.transpose(1, 2))
    e = cfcam.explain(adapted, x.transpose(1, 2), "hires-cam", layer=None if layer is None else f"model.{layer}")
    assert e.heatmaps("hires-cam").shape == (2, 1, frames, 8, 8)
