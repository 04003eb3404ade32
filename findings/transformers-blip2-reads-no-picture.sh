#!/usr/bin/env bash
# transformers 5.23.0: BLIP-2 answers a question about a picture without the picture, and says nothing. (Seen 2026-11.)
#
# Guess: Blip2Processor(image_processor, tokenizer) makes of a picture and a question what the network needs, as other
# processors do; if places for the picture are missing among the tokens, the network refuses, as LLaVA does.
# Seen: a processor that was not told num_query_tokens keeps no places, and the network then reads the question alone:
# two pictures have the same logits to the last bit and the same answer. With three places for four queries it drops
# the fourth, and says nothing either. LLaVA of the same release raises a ValueError. Without a question it
# adds the places itself.
# Why the guess was wrong: the outputs of the queries are laid over the embeddings with masked_scatter, which takes as
# many as there are places; no one counts them. An answer is fluent all the same, and a map of it is 0 everywhere.
set -euo pipefail
here="$(mktemp -d)"; trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$here/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 numpy==2.4.6 pillow==13.0.0
cd "$here"
HF_HUB_OFFLINE=1 venv/bin/python -W ignore - <<'PYTHON'
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessorPil, LlavaConfig,
    LlavaForConditionalGeneration, PreTrainedTokenizerFast,
)

words = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "is", "there", "an", "effusion", "?", "yes", "no"]
inner = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
inner.pre_tokenizer = pre_tokenizers.Whitespace()
special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **special)
sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
vision = {**sizes, "image_size": 28, "patch_size": 14}


def drawn(network):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


network = drawn(Blip2ForConditionalGeneration(Blip2Config(
    vision_config=vision,
    qformer_config={**sizes, "encoder_hidden_size": 16, "cross_attention_frequency": 1},
    text_config={"model_type": "opt", "vocab_size": len(words), "hidden_size": 16, "word_embed_proj_dim": 16,
                 "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 32, "max_position_embeddings": 64,
                 "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    num_query_tokens=4,
    image_token_index=words.index("<image>"),
)))
look = BlipImageProcessorPil(size={"height": 28, "width": 28})
dark, light = np.zeros((28, 28, 3), np.uint8), np.full((28, 28, 3), 255, np.uint8)


def between(processor, cut=0):
    """How far the logits of a dark and of a light picture lie apart, and how many places there are for it."""
    logits, places = [], 0
    for picture in (dark, light):
        given = processor(images=picture, text="is there an effusion ?", return_tensors="pt")
        ids = given["input_ids"][:, cut:]
        places = int((ids == words.index("<image>")).sum())
        with torch.no_grad():
            logits.append(network(pixel_values=given["pixel_values"], input_ids=ids).logits[:, -1])
    return (logits[0] - logits[1]).abs().max().item(), places


plain, none = between(Blip2Processor(look, tokenizer))
told, four = between(Blip2Processor(look, tokenizer, num_query_tokens=4))
fewer, three = between(Blip2Processor(look, tokenizer, num_query_tokens=4), cut=1)
print(f"a processor that was told of 4 queries:   {four} places, the pictures' logits differ by {told:.3f}")
print(f"one that was not:                         {none} places, they differ by {plain}")
print(f"three places for four queries:            {three} places, no error, they differ by {fewer:.3f}")

llava = drawn(LlavaForConditionalGeneration(LlavaConfig(
    vision_config={"model_type": "clip_vision_model", **vision, "projection_dim": 16},
    text_config={"model_type": "llama", "vocab_size": len(words), **sizes, "num_key_value_heads": 2},
    image_token_id=words.index("<image>"),
)))
refused = ""
try:
    llava(pixel_values=torch.zeros(1, 3, 28, 28), input_ids=torch.tensor([[1, 5, 6, 7, 8, 9]]))
except ValueError as error:
    refused = str(error).splitlines()[0]
print("LLaVA without places:                     ", refused or "no error")

assert (four, none, three) == (4, 0, 3)
assert told > 1e-3
assert plain == 0.0, "the picture is read now"
assert refused, "LLaVA does not refuse any more"
print("unchanged: the question is answered without the picture")
PYTHON
