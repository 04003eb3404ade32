"""The demo network that writes: the honest demo network looks at a phantom, and a small GPT-2 says what is there.

It writes a caption ("nodule, left upper zone.") and answers questions ("is there an effusion?", "where is the
nodule?"). Each word can be right or wrong, and where its finding lies is known to the pixel.
"""

from __future__ import annotations

import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from cfcam.errors import MissingExtraError, ModelError
from cfcam.models.demo.network import INPUT_SIZE, load_demo_network, preprocess
from cfcam.models.demo.phantoms import FINDINGS, Phantom

if TYPE_CHECKING:
    from cfcam.models.texts.text_model import TextModel

WEIGHTS: Final = "demo-captions.safetensors"
WORDS: Final = (
    *("<pad>", "<s>", "</s>", "<unk>", ",", ".", "?", "no", "yes", "finding", *FINDINGS),
    *("left", "right", "upper", "middle", "lower", "zone", "nowhere", "is", "there", "a", "an", "where", "the"),
)
CELLS: Final = 14
WIDTH: Final = 48
_SINES: Final = 4


def describe(phantom: Phantom) -> str:
    """Returns a phantom's caption, a sentence for each finding in the order of `FINDINGS`."""
    found = [f"{name}, {place(phantom, name)}." for name in phantom.findings]
    return " ".join(found) or "no finding."


def place(phantom: Phantom, finding: str) -> str:
    """Returns where a finding lies: the patient's side, and the third of the lungs' height that its middle is in."""
    mask = phantom.masks[finding]
    rows, columns = np.nonzero(mask)
    lungs = np.nonzero(phantom.masks["left lung"] | phantom.masks["right lung"])[0]
    side = "left" if columns.mean() > mask.shape[1] / 2 else "right"  # as a radiologist sees it
    share = (rows.mean() - lungs.min()) / (lungs.max() - lungs.min())
    return f"{side} {('upper', 'middle', 'lower')[min(2, max(0, int(3 * share)))]} zone"


def questions(phantom: Phantom) -> list[tuple[str, str]]:
    """Returns questions that can be asked of a phantom, and their answers."""
    asked = []
    for name in FINDINGS:
        article = "an" if name[0] in "aeiou" else "a"
        present = name in phantom.findings
        asked.append((f"is there {article} {name}?", "yes" if present else "no"))
        asked.append((f"where is the {name}?", place(phantom, name) if present else "nowhere"))
    return asked


def tokenizer() -> Any:
    """Returns what turns captions into ids: a token for each word and sign."""
    transformers = _transformers()
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    inner = Tokenizer(models.WordPiece({word: n for n, word in enumerate(WORDS)}, unk_token=WORDS[3]))
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    inner.decoder = decoders.WordPiece()
    pad, begin, end, unknown = WORDS[:4]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=pad, bos_token=begin, eos_token=end, unk_token=unknown
    )


class PhantomProcessor:
    """Prepares pictures as the demo networks were trained with: grey, stretched, normalised as ImageNet's."""

    def __call__(self, images: Any, return_tensors: str = "pt") -> dict[str, Tensor]:
        """Returns ``pixel_values`` (1, 3, 224, 224) of one picture."""
        return {"pixel_values": preprocess(torch.from_numpy(np.array(images.convert("L")))[None])}


def positions() -> Tensor:
    """Returns (196, 16) sines and cosines of each cell's row and column, slow ones first."""
    at = (torch.arange(CELLS) + 0.5) / CELLS
    waves = torch.cat([f(math.pi * (n + 1) * at)[:, None] for n in range(_SINES) for f in (torch.sin, torch.cos)], 1)
    rows, columns = waves[:, None].expand(-1, CELLS, -1), waves[None].expand(CELLS, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)


def captioning_network() -> Any:
    """Returns the network: what looks with the honest demo network's weights, what writes without any."""
    transformers = _transformers()
    from transformers.modeling_outputs import BaseModelOutput

    config_base: Any = transformers.PreTrainedConfig
    model_base: Any = transformers.PreTrainedModel

    class DemoEncoderConfig(config_base):  # type: ignore[misc]
        model_type = "cfcam-demo-encoder"

    class DemoEncoder(model_base):  # type: ignore[misc]
        """`layer4` of the demo network as 14 x 14 tokens, each with its place."""

        config_class = DemoEncoderConfig
        main_input_name = "pixel_values"

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.network = load_demo_network()
            self.register_buffer("positions", positions(), persistent=False)
            self.post_init()

        def _init_weights(self, module: Any) -> None:
            """Leaves the demo network's weights."""

        def forward(self, pixel_values: Tensor, **others: Any) -> Any:
            """Returns tokens (N, 196, 144) of pictures (N, 3, 224, 224)."""
            net = self.network
            features = net.layer4(net.layer3(net.layer2(net.layer1(net.stem(pixel_values)))))
            tokens = features.flatten(2).transpose(1, 2)
            placed = self.positions.to(tokens).expand(len(tokens), -1, -1)
            return BaseModelOutput(last_hidden_state=torch.cat([tokens, placed], 2))

    transformers.AutoConfig.register(DemoEncoderConfig.model_type, DemoEncoderConfig, exist_ok=True)
    encoder = DemoEncoder(
        DemoEncoderConfig(image_size=INPUT_SIZE, patch_size=INPUT_SIZE // CELLS, hidden_size=128 + 4 * _SINES)
    )
    decoder = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=len(WORDS),
            n_embd=WIDTH,
            n_layer=2,
            n_head=4,
            n_positions=32,
            add_cross_attention=True,
            is_decoder=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            attn_pdrop=0.0,
            embd_pdrop=0.0,
            resid_pdrop=0.0,
        )
    )
    network = transformers.VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    for settings in (network.config, network.generation_config):
        settings.decoder_start_token_id, settings.pad_token_id, settings.eos_token_id = 1, 0, 2
    return network.eval()


def load_demo_captioner() -> TextModel:
    """The shipped network that writes, with its processor, for `cfcam.explain_text`.

    Raises:
        MissingExtraError: transformers is not installed.
        ModelError: the weights are missing from the installation.
    """
    from cfcam.models.texts.text_model import TextModel

    network = captioning_network()
    try:
        stored = safetensors.torch.load(files(__package__).joinpath(WEIGHTS).read_bytes())
    except FileNotFoundError as error:
        remedy = "reinstall cfcam, or run python -m cfcam.models.demo.train_captioner"
        raise ModelError(f"{WEIGHTS} is missing: {remedy}") from error
    network.load_state_dict({name: value.float() for name, value in stored.items()}, strict=False)
    return TextModel(network, PhantomProcessor(), tokenizer())


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError("transformers", "models", "the demo network that writes") from error
    return transformers
