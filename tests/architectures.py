"""Every architecture that the layer choice is tested on: how it is built small, and what is known of it.

The expected grids follow from the strides that the architectures are defined with, and the expected layers from where
their classifiers read: the last layer with a place for each part of the picture, before it is pooled; where a class
token alone is read, the first norm of the last block, behind which patches no longer count.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class Architecture:
    """One network.

    Attributes:
        name: as its library calls it.
        build: returns it small, without weights.
        size: of the input, spatial.
        layer: name of the layer that must be chosen; a trailing ``*`` stands for any ending; None: it must be refused.
        grid: that the layer must have.
        prefix: tokens before those of the grid.
        channels: of the input.
    """

    name: str
    build: Callable[[], nn.Module]
    size: tuple[int, ...]
    layer: str | None
    grid: tuple[int, ...] = ()
    prefix: int = 0
    channels: int = 3


def hugging_face(name: str, kind: str = "ForImageClassification", **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        config = getattr(transformers, f"{name}Config")(num_labels=3, **settings)
        return getattr(transformers, f"{name}{kind}")(config)

    return build


def with_vision_tower(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        config = getattr(transformers, f"{name}Config")(num_labels=3, vision_config=settings)
        return getattr(transformers, f"{name}ForImageClassification")(config)

    return build


class Clips(nn.Module):
    """A network of transformers' clips (N, frames, C, H, W), for clips (N, C, frames, H, W)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x.transpose(1, 2)).logits


def wrapped(wrap: Callable[[nn.Module], nn.Module], build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def both() -> nn.Module:
        return wrap(build())

    return both


def masks(model: nn.Module) -> nn.Module:
    from cfcam.capture import Segmenter

    return Segmenter(model)


def on_convnext(name: str, kind: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        backbone = transformers.ConvNextConfig(out_features=["stage1", "stage2", "stage3", "stage4"], **STAGES)
        return hugging_face(name, kind, backbone_config=backbone, **settings)()

    return build


def monai(name: str, *args: Any, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from monai.networks import nets

        return getattr(nets, name)(*args, **settings)

    return build


VIT: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 8,
}
WIDE, SQUARE = (64, 96), (64, 64)
SWIN: dict[str, Any] = {
    "embed_dim": 12,
    "depths": [2, 2, 2],
    "num_heads": [2, 2, 2],
    "image_size": 64,
    "window_size": 4,
    "patch_size": 4,
}
STAGES: dict[str, Any] = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
PYRAMID: dict[str, Any] = {"hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 2, 2, 4]}

TRANSFORMERS = [
    # convolutions, stride 32
    Architecture("resnet", hugging_face("ResNet", embedding_size=8, **STAGES), WIDE, "resnet.encoder.stages.3", (2, 3)),
    Architecture(
        "bit",
        hugging_face("Bit", embedding_size=16, hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1], num_groups=4),
        WIDE,
        "bit.norm",
        (2, 3),
    ),
    Architecture("convnext", hugging_face("ConvNext", **STAGES), WIDE, "convnext.encoder.stages.3", (2, 3)),
    Architecture("convnextv2", hugging_face("ConvNextV2", **STAGES), WIDE, "convnextv2.encoder.stages.3", (2, 3)),
    Architecture(
        "mobilenet_v1", hugging_face("MobileNetV1", depth_multiplier=0.25), WIDE, "mobilenet_v1.layer.25", (2, 3)
    ),
    Architecture(
        "mobilenet_v2", hugging_face("MobileNetV2", depth_multiplier=0.25), WIDE, "mobilenet_v2.conv_1x1", (2, 3)
    ),
    Architecture(
        "regnet",
        hugging_face("RegNet", embedding_size=8, groups_width=8, **STAGES),
        WIDE,
        "regnet.encoder.stages.3",
        (2, 3),
    ),
    Architecture(
        "efficientnet",
        hugging_face("EfficientNet", width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320),
        WIDE,
        "efficientnet.encoder.top_activation",
        (2, 3),
    ),
    Architecture("poolformer", hugging_face("PoolFormer", **STAGES), WIDE, "norm", (2, 3)),
    Architecture(
        "hgnet_v2",
        hugging_face(
            "HGNetV2",
            embedding_size=8,
            hidden_sizes=[16, 24, 32, 48],
            stem_channels=[3, 8, 8],
            depths=[1, 1, 1, 1],
            stage_in_channels=[8, 16, 24, 32],
            stage_mid_channels=[8, 8, 8, 8],
            stage_out_channels=[16, 24, 32, 48],
            stage_num_blocks=[1, 1, 1, 1],
        ),
        WIDE,
        "encoder.stages.3",
        (2, 3),
    ),
    Architecture("pp_lcnet", hugging_face("PPLCNet", scale=0.25), WIDE, "encoder.blocks.4", (2, 3)),
    # convolutions with attention inside
    Architecture(
        "mobilevit",
        hugging_face(
            "MobileViT",
            hidden_sizes=[16, 20, 24],
            neck_hidden_sizes=[8, 16, 16, 24, 32, 32, 64],
            num_attention_heads=2,
            image_size=64,
        ),
        WIDE,
        "mobilevit.conv_1x1_exp",
        (2, 3),
    ),
    Architecture(
        "mobilevitv2",
        hugging_face("MobileViTV2", width_multiplier=0.25, image_size=64),
        WIDE,
        "mobilevitv2.encoder.layer.4",
        (2, 3),
    ),
    Architecture(
        "swiftformer",
        hugging_face("SwiftFormer", embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1]),
        WIDE,
        "norm",
        (2, 3),
    ),
    # patches of 8, read through the class token
    Architecture("vit", hugging_face("ViT", image_size=WIDE, **VIT), WIDE, "vit.layers.2.layernorm_before", (8, 12), 1),
    Architecture(
        "deit", hugging_face("DeiT", image_size=WIDE, **VIT), WIDE, "deit.layers.2.layernorm_before", (8, 12), 2
    ),
    Architecture(
        "deit with teacher",
        hugging_face("DeiT", "ForImageClassificationWithTeacher", image_size=WIDE, **VIT),
        WIDE,
        "deit.layers.2.layernorm_before",
        (8, 12),
        2,
    ),
    Architecture(
        "vit_msn", hugging_face("ViTMSN", image_size=WIDE, **VIT), WIDE, "vit.layers.2.layernorm_before", (8, 12), 1
    ),
    Architecture(
        "beit, class token",
        hugging_face("Beit", use_mean_pooling=False, image_size=64, **VIT),
        SQUARE,
        "beit.layers.2.layernorm_before",
        (8, 8),
        1,
    ),
    # patches of 8, averaged (DINOv2: beside the class token)
    Architecture("beit", hugging_face("Beit", image_size=64, **VIT), SQUARE, "beit.layers.2", (8, 8), 1),
    Architecture(
        "data2vec-vision",
        hugging_face("Data2VecVision", image_size=64, **VIT),
        SQUARE,
        "data2vec_vision.encoder.layer.2",
        (8, 8),
        1,
    ),
    Architecture("dinov2", hugging_face("Dinov2", image_size=64, **VIT), WIDE, "dinov2.layernorm", (8, 12), 1),
    Architecture(
        "dinov2 with registers",
        hugging_face("Dinov2WithRegisters", image_size=64, **VIT),
        WIDE,
        "dinov2_with_registers.layernorm",
        (8, 12),
        5,
    ),
    Architecture("ijepa", hugging_face("IJepa", image_size=WIDE, **VIT), WIDE, "ijepa.layernorm", (8, 12)),
    Architecture(
        "siglip", with_vision_tower("Siglip", image_size=64, **VIT), SQUARE, "vision_model.post_layernorm", (8, 8)
    ),
    Architecture(
        "clip",
        with_vision_tower("CLIP", image_size=64, projection_dim=16, **VIT),
        SQUARE,
        "vision_model.encoder.layers.2",
        (8, 8),
        1,
    ),
    # windows and pyramids of tokens
    Architecture("swin", hugging_face("Swin", **SWIN), WIDE, "swin.layernorm", (4, 6)),
    Architecture("swinv2", hugging_face("Swinv2", **SWIN), WIDE, "swinv2.layernorm", (4, 6)),
    Architecture("donut-swin", hugging_face("DonutSwin", **SWIN), WIDE, "donut.encoder.layers.2", (4, 6)),
    Architecture(
        "focalnet",
        hugging_face(
            "FocalNet",
            embed_dim=12,
            depths=[1, 1, 2],
            hidden_sizes=[12, 24, 48],
            focal_levels=[2, 2, 2],
            focal_windows=[3, 3, 3],
            image_size=64,
        ),
        WIDE,
        "focalnet.layernorm",
        (4, 6),
    ),
    Architecture(
        "pvt",
        hugging_face("Pvt", image_size=64, depths=[1, 1, 1, 2], sequence_reduction_ratios=[8, 4, 2, 1], **PYRAMID),
        SQUARE,
        "pvt.encoder.block.3.1.layer_norm_1",
        (2, 2),
        1,
    ),
    Architecture(
        "pvt_v2",
        hugging_face("PvtV2", depths=[1, 1, 1, 2], **PYRAMID),
        WIDE,
        "pvt_v2.encoder.layers.3.layer_norm",
        (2, 3),
    ),
    Architecture(
        "segformer",
        hugging_face("Segformer", depths=[1, 1, 1, 1], decoder_hidden_size=16, **PYRAMID),
        WIDE,
        "segformer.stages.3",
        (2, 3),
    ),
    Architecture(
        "cvt",
        hugging_face("Cvt", embed_dim=[8, 16, 24], num_heads=[1, 2, 2], depth=[1, 2, 3]),
        WIDE,
        "cvt.encoder.stages.2.layers.2.layernorm_before",
        (4, 6),
        1,
    ),
    Architecture(  # 16 patches along an axis become 8, and 4, without a convolution
        "levit",
        hugging_face(
            "Levit",
            hidden_sizes=[16, 24, 32],
            num_attention_heads=[2, 2, 2],
            depths=[1, 1, 2],
            key_dim=[8, 8, 8],
            image_size=256,
        ),
        (256, 256),
        "levit.encoder.stages.2",
        (4, 4),
    ),
    Architecture(
        "hiera",
        hugging_face("Hiera", embed_dim=8, image_size=[64, 96], depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2]),
        WIDE,
        "hiera.encoder.stages.3",
        (2, 3),
    ),
    Architecture(
        "metaclip_2",
        with_vision_tower("MetaClip2", image_size=64, **VIT),
        SQUARE,
        "vision_model.encoder.layers.2",
        (8, 8),
        1,
    ),
    Architecture("textnet", hugging_face("TextNet"), WIDE, "textnet.encoder.stages.3", (2, 3)),
    # segmentation
    Architecture(
        "segformer, segmentation",
        hugging_face("Segformer", "ForSemanticSegmentation", depths=[1, 1, 1, 1], decoder_hidden_size=16, **PYRAMID),
        WIDE,
        "decode_head.activation",
        (16, 24),
    ),
    Architecture(
        "upernet, segmentation",
        on_convnext("UperNet", "ForSemanticSegmentation", hidden_size=16, use_auxiliary_head=False),
        WIDE,
        "decode_head.fpn_bottleneck",
        (16, 24),
    ),
    Architecture(
        "dpt, segmentation",
        hugging_face(
            "DPT",
            "ForSemanticSegmentation",
            image_size=64,
            backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[8, 8, 8, 8],
            fusion_hidden_size=8,
            reassemble_factors=[4, 2, 1, 0.5],
            use_auxiliary_head=False,
            **VIT | {"num_hidden_layers": 4},
        ),
        SQUARE,
        "head.head.2",
        (64, 64),
    ),
    Architecture(
        "beit, segmentation",
        hugging_face(
            "Beit",
            "ForSemanticSegmentation",
            image_size=64,
            out_indices=[0, 1, 2, 3],
            pool_scales=[1, 2],
            use_auxiliary_head=False,
            **VIT,
        ),
        SQUARE,
        "decode_head.fpn_bottleneck",
        (32, 32),
    ),
    Architecture(
        "mobilenet_v2, segmentation",
        hugging_face("MobileNetV2", "ForSemanticSegmentation", depth_multiplier=0.25, output_stride=16),
        WIDE,
        "segmentation_head.conv_projection",
        (4, 6),
    ),
    Architecture(
        "eomt, segmentation",
        wrapped(
            masks,
            hugging_face("Eomt", "ForUniversalSegmentation", image_size=64, num_queries=5, num_blocks=1, **VIT),
        ),
        SQUARE,
        "model.layers.2",
        (8, 8),
        10,
    ),
    # clips
    Architecture(
        "videomae",
        wrapped(
            Clips,
            hugging_face("VideoMAE", "ForVideoClassification", image_size=64, num_frames=4, tubelet_size=2, **VIT),
        ),
        (4, 64, 64),
        "model.videomae.encoder.layer.2",
        (2, 8, 8),
    ),
    Architecture(
        "vivit",
        wrapped(
            Clips,
            hugging_face(
                "Vivit",
                "ForVideoClassification",
                image_size=64,
                num_frames=4,
                tubelet_size=[2, 8, 8],
                **{key: value for key, value in VIT.items() if key != "patch_size"},
            ),
        ),
        (4, 64, 64),
        "model.vivit.layers.2.layernorm_before",
        (2, 8, 8),
        1,
    ),
    Architecture(
        "vjepa2",
        wrapped(
            Clips,
            hugging_face(
                "VJEPA2",
                "ForVideoClassification",
                crop_size=64,
                frames_per_clip=4,
                patch_size=8,
                hidden_size=24,
                num_attention_heads=2,
                num_hidden_layers=2,
                mlp_ratio=2,
                pred_hidden_size=24,
                pred_num_attention_heads=2,
                pred_num_hidden_layers=2,
                num_pooler_layers=1,
            ),
        ),
        (4, 64, 64),
        "model.pooler.cross_attention_layer.layer_norm1",
        (2, 8, 8),
    ),
    # places and frames take turns in its tokens
    Architecture(
        "timesformer",
        wrapped(Clips, hugging_face("Timesformer", "ForVideoClassification", image_size=64, num_frames=4, **VIT)),
        (4, 64, 64),
        None,
    ),
    # its pixel decoder works on the tokens of three grids at once
    Architecture(
        "mask2former, segmentation",
        wrapped(
            masks,
            on_convnext(
                "Mask2Former",
                "ForUniversalSegmentation",
                hidden_dim=32,
                feature_size=32,
                mask_feature_size=32,
                num_queries=5,
                encoder_layers=1,
                decoder_layers=2,
                num_attention_heads=2,
                dim_feedforward=32,
                encoder_feedforward_dim=32,
            ),
        ),
        SQUARE,
        None,
    ),
    # no grid behind its cross-attention to latent vectors
    Architecture(
        "perceiver",
        hugging_face(
            "Perceiver",
            "ForImageClassificationConvProcessing",
            num_latents=8,
            d_latents=16,
            num_blocks=1,
            num_self_attends_per_block=1,
            num_self_attention_heads=2,
            num_cross_attention_heads=1,
        ),
        (224, 224),
        None,
    ),
]


def _monai(dims: int) -> list[Architecture]:
    size, vit = (64,) * dims, {"hidden_size": 24, "mlp_dim": 32, "num_layers": 3, "num_heads": 2, "num_classes": 2}
    one_or_two: dict[str, Any] = {"spatial_dims": dims, "in_channels": 1, "out_channels": 2}

    fine = (64,) * dims if dims == 2 else (32,) * dims

    def of(name: str, build: Callable[[], nn.Module], layer: str, side: int, prefix: int = 0) -> Architecture:
        return Architecture(f"{name}, {dims}-D", build, size, layer, (side,) * dims, prefix, channels=1)

    def at_full_size(name: str, build: Callable[[], nn.Module], layer: str) -> Architecture:
        return Architecture(f"{name}, {dims}-D", build, fine, layer, fine, channels=1)

    return [
        of(
            "DenseNet",
            monai("DenseNet", init_features=8, growth_rate=4, block_config=(2, 2, 2, 2), **one_or_two),
            "class_layers.relu",
            2,
        ),
        of(  # MONAI's first layer of a ResNet has stride 1 in its first convolution
            "ResNet",
            monai(
                "ResNet",
                "basic",
                [1, 1, 1, 1],
                [8, 16, 24, 32],
                spatial_dims=dims,
                n_input_channels=1,
                num_classes=2,
            ),
            "layer4",
            4,
        ),
        of(
            "EfficientNetBN",
            monai(
                "EfficientNetBN",
                "efficientnet-b0",
                spatial_dims=dims,
                in_channels=1,
                num_classes=2,
                pretrained=False,
            ),
            "_bn1",
            2,
        ),
        of(
            "ViT",
            monai("ViT", 1, size, (16,) * dims, classification=True, spatial_dims=dims, **vit),
            "blocks.2.norm1",
            4,
            1,
        ),
        of(
            "ViT, perceptron",
            monai("ViT", 1, size, (16,) * dims, proj_type="perceptron", classification=True, spatial_dims=dims, **vit),
            "blocks.2.norm1",
            4,
            1,
        ),
        of(  # what its last convolution is given
            "UNet",
            monai("UNet", dims, 1, 3, channels=(4, 8, 16), strides=(2, 2), num_res_units=2),
            "model.2.0",
            64,
        ),
        at_full_size("BasicUNet", monai("BasicUNet", dims, 1, 3, features=(4, 4, 8, 8, 8, 4)), "upcat_1"),
        at_full_size("SegResNet", monai("SegResNet", dims, 8, 1, 3), "act_mod"),
        of(
            "SwinUNETR",
            monai("SwinUNETR", 1, 3, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), spatial_dims=dims),
            "decoder1",
            64,
        ),
        at_full_size(
            "UNETR",
            monai("UNETR", 1, 3, fine, feature_size=4, hidden_size=24, mlp_dim=32, num_heads=2, spatial_dims=dims),
            "decoder2",
        ),
    ]


def _senet() -> nn.Module:
    from monai.networks.blocks import SEBottleneck
    from monai.networks.nets import SENet

    return SENet(2, 1, SEBottleneck, [1, 1, 1, 1], 4, 4, num_classes=2)


MONAI = [
    *_monai(2),
    *_monai(3),
    Architecture("SENet154, 2-D, one block a stage", _senet, (64, 64), "layer4", (2, 2), channels=1),
]
NEEDS_EINOPS = ("ViT", "SwinUNETR", "UNETR")

# Libraries whose definitions are built by name: (input size, grid of a square input, tokens before it) -> names.
TORCHVISION: dict[tuple[int, int, int], str] = {
    (64, 2, 0): """
        densenet121 densenet161 densenet169 densenet201 googlenet mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3
        mobilenet_v2 mobilenet_v3_large mobilenet_v3_small resnet18 resnet34 resnet50 resnet101 resnet152
        resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 wide_resnet101_2
        shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0
        efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5
        efficientnet_b6 efficientnet_b7 efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l
        regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf
        regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf
        regnet_y_128gf convnext_tiny convnext_small convnext_base convnext_large
        swin_t swin_s swin_b swin_v2_t swin_v2_s swin_v2_b
    """,
    (64, 4, 0): "vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn",  # before the last pooling: stride 16
    (128, 2, 0): "inception_v3",
    (96, 5, 0): "alexnet squeezenet1_0 squeezenet1_1",
    (224, 7, 0): "maxvit_t",
    (0, 4, 1): "vit_b_16 vit_b_32 vit_l_16 vit_l_32 vit_h_14",  # built for four patches a side
}
LARGER = {
    "densenet121": "densenet161 densenet169 densenet201",
    "resnet50": "resnet101 resnet152",
    "resnext50_32x4d": "resnext101_32x8d resnext101_64x4d",
    "wide_resnet50_2": "wide_resnet101_2",
    "efficientnet_b0": "efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7",
    "efficientnet_v2_s": "efficientnet_v2_m efficientnet_v2_l",
    "regnet_x_3_2gf": "regnet_x_8gf regnet_x_16gf regnet_x_32gf",
    "regnet_y_3_2gf": "regnet_y_8gf regnet_y_16gf regnet_y_32gf regnet_y_128gf",
    "convnext_tiny": "convnext_small convnext_base convnext_large",
    "swin_t": "swin_s swin_b",
    "swin_v2_t": "swin_v2_s swin_v2_b",
    "vgg11": "vgg13 vgg16 vgg19",
    "vgg11_bn": "vgg13_bn vgg16_bn vgg19_bn",
    "vit_b_32": "vit_b_16 vit_l_16 vit_l_32 vit_h_14",
}
"""Of torchvision, names and those of larger siblings: more or wider modules, of the same classes.

They have most of all weights. `make soak` and the documentation run them; the suite shows that they are siblings.
"""
TIMM: dict[tuple[int, int, int], str] = {
    (64, 2, 0): """
        resnet18 resnet50d resnext50_32x4d seresnet50 ecaresnet26t skresnet18 res2net50_26w_4s resnest14d resnetv2_50
        resnetrs50 nfnet_f0 nf_regnet_b0 regnetx_002 regnety_002 regnetz_b16 efficientnet_b0 tf_efficientnetv2_b0
        mobilenetv2_050 mobilenetv3_small_050 mobilenetv4_conv_small mnasnet_small fbnetc_100 lcnet_050 tinynet_e
        ghostnet_050 ghostnetv3_050 repghostnet_050 hardcorenas_a mixnet_s densenet121 dla34 dpn48b hrnet_w18_small
        inception_next_atto xception41 vovnet39a ese_vovnet19b_dw cspresnet50 cspdarknet53 darknet53 selecsls42
        repvgg_a0 repvit_m0_9 rexnet_100 hgnet_tiny hgnetv2_b0 tresnet_m gcresnet33ts convnext_atto convnextv2_atto
        poolformer_s12 poolformerv2_s12 caformer_s18 convformer_s18 edgenext_xx_small fastvit_t8 fastvit_mci0
        fasternet_t0 starnet_s1 mambaout_femto rdnet_tiny mobileone_s0 efficientvit_b0 efficientvit_l1 shvit_s1
        focalnet_tiny_srf nextvit_small mobilevit_xxs mobilevitv2_050 pvt_v2_b0
    """,
    (64, 4, 0): "vgg11",
    (64, 9, 0): "convmixer_768_32",  # patches of 7
    (96, 3, 0): "nasnetalarge pnasnet5large",
    (128, 2, 0): "inception_v3 inception_v4 inception_resnet_v2",
    (256, 8, 0): """
        bat_resnext26ts eca_botnext26ts_256 halonet26t lambda_resnet26t sebotnet33ts_256 swinv2_tiny_window8_256
        maxvit_rmlp_pico_rw_256 maxxvit_rmlp_nano_rw_256 hiera_small_abswin_256 hieradet_small
    """,
    (224, 7, 0): """
        efficientformer_l1 efficientformerv2_s0 swiftformer_xs tiny_vit_5m_224 coatnet_nano_rw_224 coatnext_nano_rw_224
        visformer_tiny swin_tiny_patch4_window7_224 swin_s3_tiny_224 swinv2_cr_tiny_224 davit_tiny gcvit_xxtiny
        maxvit_tiny_tf_224 mvitv2_tiny twins_pcpvt_small twins_svt_small hiera_tiny_224 levit_384_s8 mixer_s32_224
    """,
    (224, 4, 0): "efficientvit_m0 levit_128s levit_conv_128s",
    (512, 8, 0): "csatv2",
    (224, 14, 0): """
        nest_tiny vitamin_small_224 samvit_base_patch16_224 vit_base_patch16_siglip_224 vit_base_patch16_rpn_224
        vit_relpos_small_patch16_224 vit_srelpos_small_patch16_224 resmlp_12_224 gmixer_12_224 gmlp_ti16_224
    """,
    (224, 16, 0): "sequencer2d_s",  # patches of 7, then 2
    (240, 15, 0): "vit_medium_patch16_gap_240",
    (224, 14, 1): """
        vit_tiny_patch16_224 vit_base_mci_224 vit_xsmall_patch16_clip_224 deit_tiny_patch16_224
        deit3_small_patch16_224 beit_base_patch16_224 beitv2_base_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224
        convit_tiny tnt_s_patch16_224 volo_d1_224
    """,
    (224, 7, 1): """
        vit_small_patch32_224 vit_base_patch32_clip_224 vit_tiny_r_s16_p8_224 coat_tiny coat_lite_tiny pit_ti_224
        mvitv2_small_cls
    """,
    (224, 28, 1): "xcit_tiny_12_p8_224",
    (224, 16, 1): "eva02_tiny_patch14_224",
    (240, 15, 1): "vit_base_patch16_plus_240 flexivit_small",
    (240, 20, 1): "crossvit_tiny_240",  # the finer of its two branches
    (256, 16, 1): "vit_wee_patch16_reg1_gap_256 vit_pwee_patch16_reg1_gap_256",
    (160, 10, 1): "test_vit test_vit2 test_vit3 test_vit4",
    (224, 14, 2): "deit_tiny_distilled_patch16_224",
    (224, 7, 2): "pit_ti_distilled_224",
    (224, 14, 4): "naflexvit_base_patch16_gap",
    (256, 16, 5): "vit_small_patch16_dinov3",
    (518, 37, 1): "vit_small_patch14_dinov2",
    (518, 37, 5): "vit_small_patch14_reg4_dinov2",
}


def _from_torchvision(name: str, size: int) -> nn.Module:
    from torchvision.models import get_model

    settings: dict[str, Any] = {"image_size": size} if name.startswith("vit_") else {}
    if name in ("googlenet", "inception_v3"):
        settings["init_weights"] = False
    return get_model(name, weights=None, num_classes=5, **settings)


def _from_timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False, num_classes=5)


def _filled(model: nn.Module) -> nn.Module:
    """Fills weights that are initialised to zero, as some classifiers are, without which no layer counts."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1 and not p.is_meta and not p.any():
                p.normal_(std=0.02, generator=generator)
    return model


def by_name(library: str) -> list[Architecture]:
    """The architectures of "torchvision" or "timm", which must be importable when they are built."""
    found = []
    for (size, side, prefix), names in (TORCHVISION if library == "torchvision" else TIMM).items():
        for name in names.split():
            own = size or side * int(name.rpartition("_")[2])

            def build(name: str = name, own: int = own) -> nn.Module:
                return _filled(_from_torchvision(name, own) if library == "torchvision" else _from_timm(name))

            found.append(Architecture(name, build, (own, own), "*", (side, side), prefix))
    return found


def organ(output: Any) -> torch.Tensor:
    """The mean score of a class over the picture."""
    scores = output if isinstance(output, torch.Tensor) else output.logits
    return scores[:, 1].flatten(1).mean(1)


def survey(a: Architecture) -> dict[str, Any]:
    """What the automatic choice does with an architecture, and whether the methods run at it."""
    import cfcam
    from cfcam.capture import Capture, Network, automatic_layer

    torch.manual_seed(0)
    model, x = a.build().eval(), torch.randn(1, a.channels, *a.size)
    network = Network(model)
    found: dict[str, Any] = {"name": a.name, "size": list(a.size)}
    try:
        layer = automatic_layer(network, x)
    except cfcam.errors.LayerError as error:
        return found | {"layer": None, "status": str(error)}
    targets = None if network(x)[1].ndim == 2 else organ
    capture = Capture(network, x, layer=layer, targets=targets)
    e = cfcam.explain(model, x, ["grad-cam", "cf-cam"], layer=layer, targets=targets)
    usable = all(maps.isfinite().all() for maps in e.maps.values())
    reached = float((capture.gradients[0, 0] != 0).any(0).float().mean())
    return found | {
        "layer": layer,
        "grid": list(capture.grid.grid),
        "prefix": capture.grid.prefix,
        "status": "ok" if usable and reached >= 0.5 else f"finite: {usable}, places that count: {reached:.2f}",
    }


class _Weightless(TorchFunctionMode):
    """What is left empty for weights has no memory; numbers that widths are computed of are as they are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}) | ({"device": "meta"} if func is torch.empty else {}))


def classes(a: Architecture) -> set[tuple[type, ...]]:
    """The classes of an architecture's modules, each with those of what it holds; built without memory for weights."""
    with _Weightless():
        model = a.build()
    return {(type(m), *sorted({type(child) for child in m.children()}, key=repr)) for m in model.modules()}


def main(library: str, *, siblings: bool = True) -> None:
    """Prints what `survey` finds for "torchvision" or "timm", a line of JSON each.

    Without siblings, for those that are `LARGER` the name of the smaller one is printed, whose `classes` are theirs;
    and of timm's every second one is left out.
    """
    # The wheel beside a CPU-only torch lacks its compiled operators; no classifier calls these two.
    operators = torch.library.Library("torchvision", "FRAGMENT")
    if not hasattr(torch.ops.torchvision, "nms"):
        operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    if library == "torchvision":
        from torchvision import models

        listed, here = set(models.list_models(module=models)), {a.name for a in by_name(library)}
        if listed != here:
            raise SystemExit(f"torchvision lists {sorted(listed - here)} beside, and not {sorted(here - listed)}")
    named = {a.name: a for a in by_name(library)}
    smaller = {} if siblings else {larger: name for name, all_ in LARGER.items() for larger in all_.split()}
    for name, a in named.items() if siblings or library == "torchvision" else list(named.items())[::2]:
        found = {"name": name, "sibling": smaller[name]} if library == "torchvision" and name in smaller else survey(a)
        if "sibling" in found and classes(a) != classes(named[found["sibling"]]):
            found["status"] = f"it is no sibling of {found['sibling']}"
        print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], siblings="--without-siblings" not in sys.argv)
