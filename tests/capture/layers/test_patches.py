"""Patches that do not cover the picture, or pad it: cells lie where their patches do, and the rim is exactly 0."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import cfcam
from cfcam.capture import Capture, Network
from cfcam.capture.layers.placement import Placement, Span
from cfcam.errors import InputError
from cfcam.explainer_windows import explain_windows
from cfcam.explanation import Explanation
from cfcam.maps import heatmaps_of
from cfcam.methods import Augmented, Fusion, GradCAM, Occlusion
from cfcam.methods.combined.augmentation import _laid_back


class Patchify(nn.Module):
    """A plain convolution that cuts patches, and what keeps to its grid."""

    def __init__(self, kernel=14, stride=None, padding=0, axes=2, channels=3):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        self.stem = conv(channels, 6, kernel, stride or kernel, padding)
        self.act, self.fc = nn.ReLU(), nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.act(self.stem(x)).flatten(2).mean(2))


class Tokens(nn.Module):
    """A transformer's patch embedding, a class token before the patches, a block and a norm."""

    def __init__(self, kernel=14, stride=None, padding=0, pad=None, axes=2, scaled=False):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        self.embed, self.cls = conv(3, 8, kernel, stride or kernel, padding), nn.Parameter(torch.ones(1, 1, 8))
        self.block, self.norm, self.fc = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2)
        self.pad, self.scaled = pad, scaled

    def forward(self, x):
        x = (x - 0.4) / 0.2 if self.scaled else x
        x = x if self.pad is None else nn.functional.pad(x, self.pad)
        t = torch.cat([self.cls.expand(len(x), -1, -1), self.embed(x).flatten(2).mT], 1)
        return self.fc(self.norm(t + self.block(t).relu()).mean(1))


def built(make=Patchify, **settings):
    torch.manual_seed(0)
    return make(**settings).eval()


def picture(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def placed(net, x, layer):
    return Capture(Network(net), x, layer=layer, targets=1).placement()


def by_patch(cells, first, step, low, high, length):
    """One axis of a map, interpolated between the centres of its patches, without cfcam."""
    out = []
    for pixel in range(length):
        centre = pixel + 0.5
        at = min(max((centre - first) / step, 0), len(cells) - 1)
        below = min(int(at), len(cells) - 2)
        value = cells[below] + (cells[below + 1] - cells[below]) * (at - below)
        out.append(value if low <= centre <= high else 0.0)
    return torch.tensor(out)


CASES = {
    "a rim of 13 pixels": ({"kernel": 14}, 69, (7, 14, 0, 56), 4),
    "padded by half a patch": ({"kernel": 16, "padding": 8}, 64, (0, 16, 0, 64), 5),
    "padded, and a rim": ({"kernel": 8, "padding": 2}, 51, (2, 8, 0, 46), 6),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("make", [Patchify, Tokens])
def test_cells_lie_by_patch_and_the_rim_is_0(case, make):
    settings, size, (first, step, low, high), cells = CASES[case]
    net, x = built(make, **settings), picture(1, 3, size, size)
    layer = "act" if make is Patchify else "norm"
    assert placed(net, x, layer).spans == (Span(first, step, low, high),) * 2
    e = cfcam.explain(net, x, "eigen-cam", layer=layer, targets=1)
    line = torch.rand(cells, generator=torch.Generator().manual_seed(2))
    maps = line[None, None, :, None] * torch.ones(cells)
    e = replace(e, maps={"eigen-cam": maps})
    heat = e.heatmaps("eigen-cam")[0, 0]
    right = by_patch(line.tolist(), first, step, low, high, size)
    torch.testing.assert_close(heat[:, size // 2], right / right.max())
    seen = torch.arange(size) + 0.5 <= high
    assert (heat[~seen] == 0).all()
    assert (heat[:, ~seen] == 0).all()
    assert (heat[seen][:, seen] > 0).all()


@pytest.mark.parametrize("make", [Patchify, Tokens])
def test_what_a_cell_stands_for_is_what_moves_it(make):
    """Each cell's place is the place whose pixels change it, by experiment."""
    net, x = built(make, kernel=14), picture(1, 3, 69, 69)
    layer = "act" if make is Patchify else "norm"
    capture = Capture(Network(net), x, layer=layer, targets=1)
    span = capture.placement().spans[0]
    for cell in range(4):
        other = x.clone()
        other[..., int(span.first + cell * span.step) - 3 : int(span.first + cell * span.step) + 3, :] += 1
        moved = (capture.again(other).activations - capture.activations).abs().amax((0, 1, 3))
        assert moved.argmax() == cell
    other = x.clone()
    other[..., 56:, :] += 1
    assert torch.equal(capture.again(other).activations, capture.activations)


def test_patches_that_overlap_of_a_token_network():
    net, x = built(Tokens, kernel=16, stride=10), picture(1, 3, 70, 70)
    assert placed(net, x, "norm").spans == (Span(8, 10, 0, 66),) * 2
    assert placed(net, x, "embed").spans == (Span(8, 10, 0, 66),) * 2


@pytest.mark.parametrize("pad", [(0, 1, 0, 1), (7, 8, 7, 8), (1, 0, 1, 0), (0, 15, 0, 1)])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_picture_that_the_network_pads_itself(pad, scaled):
    net, x = built(Tokens, kernel=14, pad=pad, scaled=scaled), picture(1, 3, 69, 69)
    spans = placed(net, x, "norm").spans
    assert [span.first for span in spans] == [7 - pad[2], 7 - pad[0]]
    assert all(span.step == 14 and span.high == 69 for span in spans)


def test_a_picture_that_the_network_resizes_itself_is_shared_evenly():
    class Resizing(Tokens):
        def forward(self, x):
            return super().forward(nn.functional.interpolate(x, (70, 70), mode="bilinear"))

    assert placed(built(Resizing), picture(1, 3, 45, 45), "norm") is None


def test_stages_that_cut_patches_of_patches_and_merging_that_pads():
    class Stages(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.mix = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 6, 7, padding=3, groups=6)
            self.down, self.last, self.fc = nn.Conv2d(6, 6, 2, 2), nn.Sequential(nn.Conv2d(6, 6, 1)), nn.Linear(6, 2)

        def forward(self, x):
            return self.fc(self.last(self.down(self.mix(self.stem(x)))).mean((2, 3)))

    assert placed(built(Stages), picture(1, 3, 71, 71), "last").spans == (Span(4, 8, 0, 64),) * 2
    assert placed(built(Stages), picture(1, 3, 64, 64), "last") is None

    class Merging(nn.Module):
        """As Swin: a grid of 17 x 17 patches, padded to 18, becomes 9 x 9."""

        def __init__(self):
            super().__init__()
            self.stem, self.merge, self.norm = nn.Conv2d(3, 6, 4, 4), nn.Linear(24, 6), nn.LayerNorm(6)
            self.first, self.fc = nn.LayerNorm(6), nn.Linear(6, 2)

        def forward(self, x):
            t = self.first(self.stem(x).movedim(1, -1))
            t = nn.functional.pad(t, (0, 0, 0, t.shape[2] % 2, 0, t.shape[1] % 2))
            t = torch.cat([t[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
            return self.fc(self.norm(self.merge(t)).mean((1, 2)))

    assert placed(built(Merging), picture(1, 3, 68, 68), "norm").spans == (Span(4, 8, 0, 68),) * 2


def test_strided_networks_are_left():
    class Strided(nn.Module):
        def __init__(self, kernel, stride, padding):
            super().__init__()
            self.f = nn.Sequential(nn.Conv2d(3, 6, kernel, stride, padding), nn.ReLU(), nn.MaxPool2d(2))
            self.g, self.fc = nn.Conv2d(6, 6, 2, 2), nn.Linear(6, 2)

        def forward(self, x):
            return self.fc(self.g(self.f(x)).mean((2, 3)))

    for kernel, stride, padding in ((7, 2, 3), (3, 2, 1), (3, 2, 0), (3, 1, 1), (3, 1, 0)):
        net = built(Strided, kernel=kernel, stride=stride, padding=padding)
        for layer in ("f", "g"):
            assert placed(net, picture(1, 3, 69, 69), layer) is None


def test_volumes_and_signals():
    assert placed(built(axes=3, kernel=8, channels=1), picture(1, 1, 19, 16, 23), "act").spans == (
        Span(4, 8, 0, 16),
        None,
        Span(4, 8, 0, 16),
    )
    net = built(axes=1, kernel=10, channels=2)
    heat = cfcam.explain(net, picture(1, 2, 47), "eigen-cam", layer="act", targets=1).heatmaps("eigen-cam")[0, 0]
    assert (heat[40:] == 0).all()


@pytest.mark.parametrize("method", ["grad-cam", "score-cam", "occlusion", "refine-cam", "cf-cam"])
def test_every_kind_of_method_carries_its_place(method):
    e = cfcam.explain(built(), picture(2, 3, 69, 69), method, layer="act", targets="all")
    assert e.placements[method].spans == (Span(7, 14, 0, 56),) * 2
    assert (e.heatmaps(method)[..., 56:] == 0).all()


def test_saved_loaded_selected_and_at_other_sizes(tmp_path):
    e = cfcam.explain(built(), picture(2, 3, 69, 69), "eigen-cam", layer="act", targets="all")
    again = Explanation.load(e.save(tmp_path / "e"))
    assert again.placements == e.placements
    assert torch.equal(again.heatmaps("eigen-cam"), e.heatmaps("eigen-cam"))
    one = again.select(slice(1, 2), slice(0, 1))
    assert torch.equal(one.heatmaps("eigen-cam"), e.heatmaps("eigen-cam")[1:, :1])
    large = e.heatmaps("eigen-cam", (138, 207))
    assert (large[:, :, 112:] == 0).all()
    assert (large[..., 168:] == 0).all()
    assert (large[0, 0, :112, :168].amax() > 0).all()
    assert e.plot().axes
    assert "<img" in e._repr_html_()


def test_masks_lie_on_the_patches():
    net, x = built(), picture(1, 3, 69, 69)
    capture = Capture(Network(net), x, layer="act", targets=1)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 1, 2] = 1
    over = capture.over_input(mask)[0, 0]
    assert over[14 + 7 - 1 : 14 + 7 + 1, 28 + 7 - 1 : 28 + 7 + 1].min() > 0.9
    assert (over[56:] == 0).all()
    # Occlusion by windows of one patch each: covering patch (i, j) moves only cell (i, j).
    windows = Occlusion._windows(69, 4, capture.placement().spans[0], 1.0)
    assert [w.nonzero().flatten()[[0, -1]].tolist() for w in windows] == [[0, 13], [14, 27], [28, 41], [42, 55]]


def test_flips_are_laid_back_by_patch():
    """A network whose logit is the sum of its patches: the flipped picture's cells are shifted by the rim."""
    net, x = built(), torch.zeros(1, 3, 69, 69)
    capture = Capture(Network(net), x, layer="act", targets=1)
    flipped = torch.zeros(1, 1, 4, 4)
    flipped[..., 0] = 1  # pixels 55 to 69 of the picture, with their centre at 62
    back = _laid_back(flipped, (-1,), 1.0, capture.placement())
    # The centre of the last cell is 49: 13 pixels from 62, of the 14 to the next one.
    torch.testing.assert_close(back[0, 0, 0], torch.tensor([0, 0, 0, 1 / 14]), atol=1e-6, rtol=0)
    e = cfcam.explain(net, picture(1, 3, 69, 69), Augmented(GradCAM()), layer="act", targets=1)
    assert e.maps["grad-cam-augmented"].shape == (1, 1, 4, 4)


def test_layers_of_several_grids_are_fused_by_place():
    class Stages(Patchify):
        def __init__(self):
            super().__init__(kernel=8)
            self.down = nn.Conv2d(6, 6, 2, 2)

        def forward(self, x):
            return self.fc(self.down(self.act(self.stem(x))).flatten(2).mean(2))

    net, x = built(Stages), picture(1, 3, 75, 75)
    e = cfcam.explain(net, x, Fusion(layers=("act", "down")), layer="down", targets=1)
    assert e.placements["fusion"].spans == (Span(4, 8, 0, 72),) * 2
    fine, coarse = Placement((75, 75), (Span(4, 8, 0, 72),) * 2), Placement((75, 75), (Span(8, 16, 0, 64),) * 2)
    moved = coarse.to(torch.arange(4.0)[None, None, :, None].expand(1, 1, 4, 4), fine, (9, 9))[0, 0, :, 0]
    torch.testing.assert_close(moved, torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3, 0]))


def test_windows_that_their_patches_do_not_cover_are_refused():
    explainer = cfcam.Explainer(built(kernel=8), "grad-cam", layer="act")
    with pytest.raises(InputError, match=r"not covered by the patches.*window of 56 or 64"):
        explain_windows(explainer, picture(1, 3, 120, 120), 63, targets=1)


def test_even_cells_are_interpolated_as_before():
    maps = picture(2, 3, 5, 7)
    plain = torch.nn.functional.interpolate(maps, size=(40, 21), mode="bilinear", align_corners=False)
    peak = plain.flatten(2).amax(2)[..., None, None]
    assert torch.equal(heatmaps_of(maps, (40, 21)), plain / peak)
    e = cfcam.explain(built(kernel=8), picture(1, 3, 64, 64), "grad-cam", layer="act", targets=1)
    assert e.placements == {}
