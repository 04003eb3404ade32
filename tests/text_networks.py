# ruff: noqa: S105, S106 (tokens of texts, and no secrets)
"""Small networks of transformers that write text, built from their configurations, with processors, without weights."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

WORDS = [
    "a",
    "an",
    "the",
    "nodule",
    "effusion",
    "left",
    "right",
    "upper",
    "lower",
    "zone",
    "lung",
    "no",
    "yes",
    "is",
    "there",
    "in",
    "of",
    "and",
    "clear",
    ",",
    ".",
    "?",
    "large",
    "small",
    "what",
]
SPECIAL = (
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "<image>",
    "<extra>",
    "<fake>",
    "<global-img>",
    "<row_1_col_1>",
    "[CLS]",
    "[SEP]",
)


def tokenizer(extra=()):
    """Words apart by blanks, with BERT's pieces of words: "nodu ##le"."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *extra, *WORDS, "nodu", "##les", "##le", "##s", "\n"]
    inner = Tokenizer(models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    inner.decoder = decoders.WordPiece()
    found = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )
    found.add_special_tokens({"additional_special_tokens": ["<image>", "<extra>", *extra]})
    return found


def vocabulary() -> int:
    return len(SPECIAL) + len(WORDS) + 13


def picture(seed: int = 0, size: tuple[int, int] = (40, 40)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8))


def image_processor(size: int = 32):
    from transformers import ViTImageProcessor

    return ViTImageProcessor(size={"height": size, "width": size})


def _restless(model, seed: int = 0, scale: float = 4.0):
    """Weights large enough that what is written depends on the picture."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=rng) * scale / parameter.shape[-1] ** 0.5 / 2)
        image = getattr(model.config, "image_token_id", None)
        if image is not None:
            model.get_output_embeddings().weight[image] = 0  # it would rather not write that here is a picture
    return model.eval()


FAMILIES = (
    *("vit_gpt2", "blip", "blip_answers", "blip2", "blip2_t5", "git", "llava", "pixtral", "mistral3", "paligemma"),
    *("gemma3", "qwen", "qwen25", "qwen3", "internvl", "idefics3", "smolvlm", "llava_next"),
)
GRIDS = {"pixtral": (8, 8), "gemma3": (2, 2), "llava_next": (8, 8)}
"""Cells of the map of a picture of `SIZES`; (4, 4) of the others."""
SIZES = dict.fromkeys(
    ("pixtral", "mistral3", "qwen", "qwen25", "qwen3", "internvl", "idefics3", "smolvlm", "llava_next"), (64, 64)
)
APART = ("vit_gpt2", "blip", "blip_answers", "blip2", "blip2_t5")
"""Those that have no logits at image tokens."""
QUESTION = "is there a nodule ?"


def pictures(name: str, count: int = 2) -> list[Image.Image]:
    return [picture(seed, SIZES.get(name, (40, 40))) for seed in range(count)]


VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def vit_gpt2():
    """`VisionEncoderDecoderModel` of a ViT and GPT-2."""
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    encoder = ViTConfig(**VIT, image_size=32, patch_size=8)
    decoder = GPT2Config(
        vocab_size=vocabulary(),
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=24,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    model = _restless(VisionEncoderDecoderModel(config))
    model.generation_config.decoder_start_token_id = 1
    return model, image_processor(), tokenizer()


def _blip_config():
    from transformers import BlipConfig

    text = {
        "vocab_size": vocabulary(),
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 24,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "sep_token_id": 2,
    }
    return BlipConfig(text_config=text, vision_config={**VIT, "image_size": 32, "patch_size": 8}, projection_dim=16)


def blip():
    """BLIP for captions."""
    from transformers import BlipForConditionalGeneration

    return _restless(BlipForConditionalGeneration(_blip_config())), image_processor(), tokenizer()


def blip_answers():
    """BLIP for answers."""
    from transformers import BlipForQuestionAnswering

    return _restless(BlipForQuestionAnswering(_blip_config())), image_processor(), tokenizer()


def git():
    """GIT."""
    from transformers import GitConfig, GitForCausalLM

    config = GitConfig(
        vision_config={**VIT, "image_size": 32, "patch_size": 8},
        vocab_size=vocabulary(),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return _restless(GitForCausalLM(config)), image_processor(), tokenizer()


def _llama():
    return {
        "model_type": "llama",
        "vocab_size": vocabulary(),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def llava():
    """LLaVA with a CLIP tower, whose last layer and class token are not used."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    vision = {"model_type": "clip_vision_model", **VIT, "image_size": 32, "patch_size": 8}
    words = tokenizer()
    image = words.convert_tokens_to_ids("<image>")
    model = _restless(
        LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=_llama(), image_token_id=image))
    )
    processor = LlavaProcessor(
        image_processor(), words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return model, processor, words


def llava_next():
    """LLaVA-NeXT: a picture in tiles of any resolution."""
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    vision = {"model_type": "clip_vision_model", **VIT, "image_size": 32, "patch_size": 8}
    words, grids = tokenizer(), [[32, 64], [64, 32], [64, 64]]
    image = words.convert_tokens_to_ids("<image>")
    config = LlavaNextConfig(
        vision_config=vision, text_config=_llama(), image_token_id=image, image_grid_pinpoints=grids
    )
    pixels = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=grids
    )
    processor = LlavaNextProcessor(
        pixels, words, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return _restless(LlavaNextForConditionalGeneration(config)), processor, words


def paligemma():
    """PaliGemma: a prompt that sees all of itself, and a causal text behind it."""
    from transformers import (
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessor,
    )

    words = tokenizer()
    pixels = SiglipImageProcessor(size={"height": 32, "width": 32})
    pixels.image_seq_length = 16
    processor = PaliGemmaProcessor(pixels, words)
    text = {**_llama(), "model_type": "gemma", "head_dim": 8, "vocab_size": len(words)}
    vision = {"model_type": "siglip_vision_model", **VIT, "image_size": 32, "patch_size": 8, "vision_use_head": False}
    config = PaliGemmaConfig(
        vision_config=vision, text_config=text, image_token_id=processor.image_token_id, projection_dim=16
    )
    return _restless(PaliGemmaForConditionalGeneration(config)), processor, words


def idefics3():
    """Idefics3: tiles, each pooled by pixel shuffle."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    return _tiled(Idefics3ForConditionalGeneration, Idefics3Config)


def smolvlm():
    """SmolVLM (with the processor of Idefics3, which needs no video): the same."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    return _tiled(SmolVLMForConditionalGeneration, SmolVLMConfig)


def _tiled(network, configuration):
    from transformers import Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tiles = [f"<row_{r}_col_{c}>" for r in (1, 2, 3) for c in (1, 2, 3)]
    words = tokenizer(("<fake_token_around_image>", "<end_of_utterance>", *tiles[1:]))
    vision = {**VIT, "image_size": 32, "patch_size": 8}
    image = words.convert_tokens_to_ids("<image>")
    text = {**_llama(), "vocab_size": len(words), "max_position_embeddings": 256}
    config = configuration(vision_config=vision, text_config=text, image_token_id=image, scale_factor=2)
    pixels = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(pixels, words, image_seq_len=4)
    return _restless(network(config)), processor, words


class QwenProcessor:
    """What `Qwen2VLProcessor` gives for a picture and a prompt; that one needs torchvision for films."""

    image_token = "<|image_pad|>"

    def __init__(self, pixels, words):
        self.image_processor, self.tokenizer = pixels, words

    def __call__(self, images, text, return_tensors):
        found = self.image_processor(images=images, return_tensors=return_tensors)
        count = int(found["image_grid_thw"][0].prod()) // self.image_processor.merge_size**2
        prompt = text[0].replace(self.image_token, self.image_token * count)
        ids = self.tokenizer(prompt, return_tensors=return_tensors)
        kinds = (ids["input_ids"] == self.tokenizer.convert_tokens_to_ids(self.image_token)).int()
        return {**found, "input_ids": ids["input_ids"], "mm_token_type_ids": kinds}


class GemmaProcessor:
    """What `Gemma3Processor` gives for a picture and a prompt: 4 tokens of the picture, and which these are."""

    image_token = "<image>"

    def __init__(self, pixels, words):
        self.image_processor, self.tokenizer = pixels, words

    def __call__(self, images, text, return_tensors):
        found = self.image_processor(images=images, return_tensors=return_tensors)
        ids = self.tokenizer(text[0].replace(self.image_token, self.image_token * 4), return_tensors=return_tensors)
        kinds = (ids["input_ids"] == self.tokenizer.convert_tokens_to_ids(self.image_token)).int()
        return {**found, "input_ids": ids["input_ids"], "token_type_ids": kinds}


def gemma3():
    """Gemma 3: sixteen patches pooled to four tokens, which see each other."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    words = tokenizer()
    vision = {"model_type": "siglip_vision_model", **VIT, "image_size": 32, "patch_size": 8, "vision_use_head": False}
    text = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "sliding_window": 64,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    image = words.convert_tokens_to_ids("<image>")
    config = Gemma3Config(vision_config=vision, text_config=text, image_token_id=image, mm_tokens_per_image=4)
    return _restless(Gemma3ForConditionalGeneration(config)), GemmaProcessor(image_processor(), words), words


def qwen25():
    """Qwen2.5-VL: the same, with attention in windows, for which the patches are put into another order and back."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    _, processor, words = qwen()
    ids = {n: words.convert_tokens_to_ids(f"<|{n}|>") for n in ("vision_start", "vision_end", "image_pad", "video_pad")}
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "out_hidden_size": 16,
        "num_heads": 2,
        "intermediate_size": 32,
        "patch_size": 8,
        "window_size": 32,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(
        text_config=_qwen_text(len(words)),
        vision_config=vision,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    return _restless(Qwen2_5_VLForConditionalGeneration(config)), processor, words


def _qwen_text(size):
    return {
        "vocab_size": size,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    }


def qwen():
    """Qwen2-VL: pictures of their own size, four patches in one token."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    words = tokenizer(("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"))
    ids = {n: words.convert_tokens_to_ids(f"<|{n}|>") for n in ("vision_start", "vision_end", "image_pad", "video_pad")}
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8}
    config = Qwen2VLConfig(
        text_config=_qwen_text(len(words)),
        vision_config=vision,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    pixels = Qwen2VLImageProcessorPil(patch_size=8, size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64})
    return _restless(Qwen2VLForConditionalGeneration(config)), QwenProcessor(pixels, words), words


def qwen3():
    """Qwen3-VL: the same, with a learnt position of each patch, and tokens of an earlier layer beside (DeepStack)."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    _, processor, words = qwen()
    ids = {n: words.convert_tokens_to_ids(f"<|{n}|>") for n in ("vision_start", "vision_end", "image_pad", "video_pad")}
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "out_hidden_size": 16,
        "num_heads": 2,
        "intermediate_size": 32,
        "patch_size": 8,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    text = {**_qwen_text(len(words)), "head_dim": 8}
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    return _restless(Qwen3VLForConditionalGeneration(config)), processor, words


class PixtralProcessor:
    """What `PixtralProcessor` gives for a picture and a prompt; that one needs torchvision. Lines end with a token."""

    image_token = "<image>"

    def __init__(self, pixels, words, merge):
        self.image_processor, self.tokenizer, self.merge = pixels, words, merge

    def __call__(self, images, text, return_tensors):
        step = 8 * self.merge
        found = self.image_processor(images=images, patch_size=step, return_tensors=return_tensors)
        rows, columns = (int(n) // step for n in found["image_sizes"][0])
        lines = [self.image_token * columns] * rows
        prompt = text[0].replace(self.image_token, "<extra>".join(lines) + "<fake>")
        return {**found, "input_ids": self.tokenizer(prompt, return_tensors=return_tensors)["input_ids"]}


def _pixtral(merge):
    from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

    words = tokenizer()
    vision = {
        "model_type": "pixtral",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 64,
        "patch_size": 8,
    }
    pixels = PixtralImageProcessorPil(patch_size={"height": 8, "width": 8}, size={"longest_edge": 64})
    said = {
        "vision_config": vision,
        "image_token_id" if merge == 1 else "image_token_index": words.convert_tokens_to_ids("<image>"),
        "vision_feature_layer": -1,
    }
    return said, PixtralProcessor(pixels, words, merge), words


def pixtral():
    """Pixtral's tower in LLaVA: pictures of their own size."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    said, processor, words = _pixtral(1)
    config = LlavaConfig(**said, text_config=_llama(), vision_feature_select_strategy="full")
    return _restless(LlavaForConditionalGeneration(config)), processor, words


def mistral3():
    """Mistral 3: the same tower, four patches merged into one token."""
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    said, processor, words = _pixtral(2)
    text = {**_llama(), "model_type": "mistral", "head_dim": 8}
    return _restless(Mistral3ForConditionalGeneration(Mistral3Config(**said, text_config=text))), processor, words


class InternProcessor:
    """What `InternVLProcessor` gives for a picture and a prompt; that one needs torchvision for films."""

    image_token = "<image>"

    def __init__(self, pixels, words):
        self.image_processor, self.tokenizer = pixels, words

    def __call__(self, images, text, return_tensors):
        found = self.image_processor(images=images, crop_to_patches=True, return_tensors=return_tensors)
        prompt = text[0].replace(self.image_token, f"<extra>{self.image_token * 4 * len(found['pixel_values'])}<fake>")
        ids = self.tokenizer(prompt, return_tensors=return_tensors)["input_ids"]
        return {"pixel_values": found["pixel_values"], "input_ids": ids}


def internvl():
    """InternVL: tiles and the small whole, each pooled by pixel shuffle."""
    from transformers import InternVLConfig, InternVLForConditionalGeneration
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    words = tokenizer()
    vision = {**VIT, "image_size": [32, 32], "patch_size": [8, 8]}
    text = {**_llama(), "model_type": "qwen2"}
    image = words.convert_tokens_to_ids("<image>")
    config = InternVLConfig(vision_config=vision, text_config=text, image_token_id=image, image_seq_length=4)
    pixels = GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, max_patches=4)
    return _restless(InternVLForConditionalGeneration(config)), InternProcessor(pixels, words), words


def _blip2(text, **said):
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor

    words = tokenizer()
    asks = {
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "cross_attention_frequency": 1,
    }
    config = Blip2Config(
        vision_config={**VIT, "image_size": 32, "patch_size": 8},
        qformer_config=asks,
        text_config={**text, "vocab_size": len(words), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        num_query_tokens=3,
        image_token_index=words.convert_tokens_to_ids("<image>"),
        **said,
    )
    processor = Blip2Processor(image_processor(), words, num_query_tokens=3)
    return _restless(Blip2ForConditionalGeneration(config)), processor, words


def blip2():
    """BLIP-2 with OPT, which reads queries and prompt in one sequence."""
    return _blip2(
        {
            "model_type": "opt",
            "hidden_size": 16,
            "word_embed_proj_dim": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 32,
            "max_position_embeddings": 64,
        }
    )


def blip2_t5():
    """BLIP-2 with T5, whose encoder reads queries and prompt."""
    return _blip2(
        {
            "model_type": "t5",
            "d_model": 16,
            "d_kv": 8,
            "d_ff": 32,
            "num_layers": 2,
            "num_heads": 2,
            "decoder_start_token_id": 0,
        },
        use_decoder_only_language_model=False,
    )
