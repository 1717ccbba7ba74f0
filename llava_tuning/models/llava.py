"""Put a language model, a vision tower and a projector together as one Hugging Face LLaVA directory.

Training (through XTuner) and serving both take the picture processor, the number of picture tokens and the
layout from here, so they cannot drift apart. The layout is transformers' `LlavaForConditionalGeneration`:
second to last vision layer, class token dropped, two-layer GELU projector (LLaVA-1.5, arXiv:2310.03744).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import (
    AddedToken,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import rewrite_json
from llava_tuning.models.conversation import IMAGE_MARKER, id_of
from llava_tuning.models.directory import let_others_read
from llava_tuning.models.llama import flat_rope, generation_config
from llava_tuning.models.tokenizer import load_tokenizer, name_tokenizer_class

VISION_FEATURE_LAYER = -2
EMBEDDING_MULTIPLE = 64  # rows of the embedding are padded to a multiple of this, as llava-hf models do
# A message whose content is a list of pictures and texts becomes one string: pictures first, then the text.
FLATTEN_CONTENT = (
    "{%- set ns = namespace(flat=[]) -%}{%- for m in messages -%}{%- if m['content'] is string -%}"
    "{%- set ns.flat = ns.flat + [m] -%}{%- else -%}{%- set text = namespace(value='') -%}"
    "{%- for part in m['content'] if part['type'] == 'image' -%}"
    "{%- set text.value = text.value + '" + IMAGE_MARKER + "\n' -%}{%- endfor -%}"
    "{%- for part in m['content'] if part['type'] == 'text' -%}"
    "{%- set text.value = text.value + part['text'] -%}{%- endfor -%}"
    "{%- set ns.flat = ns.flat + [{'role': m['role'], 'content': text.value}] -%}"
    "{%- endif -%}{%- endfor -%}"
    "{%- set messages = ns.flat -%}"
)


def tokens_per_image(vision_config: CLIPVisionConfig) -> int:
    """Positions that one picture takes: patches without the class token, 576 for ViT-L/14 at 336 pixels.

    Raises:
        UserError: pictures or patches are not square.
    """
    side, patch = vision_config.image_size, vision_config.patch_size
    if not isinstance(side, int) or not isinstance(patch, int):
        raise UserError(
            f"pictures of {side} with patches of {patch} pixels: both must be squares, one number each; "
            "use another vision tower"
        )
    return (side // patch) ** 2


def load_image_processor(directory: str | Path) -> LlavaImageProcessorPil:
    """The picture processor of a vision tower or model directory, padding to a square.

    Whatever the directory holds (a CLIP processor crops, LLaVA's pads), the same processor comes out for
    training and serving: pad with the mean colour, resize (bicubic), normalise. It computes with Pillow
    everywhere, because the torchvision backend rounds differently.
    """
    directory = Path(directory)
    names = ("preprocessor_config.json", "processor_config.json")
    if not any((directory / name).is_file() for name in names):
        raise UserError(
            f"{directory}: no preprocessor_config.json; a vision tower needs its picture processor"
        )
    try:
        values, _ = LlavaImageProcessorPil.get_image_processor_dict(directory)
        if "image_processor" in values:
            values = values["image_processor"]
        size = values["crop_size"]
        side = int(size["height"] if isinstance(size, dict) else size)
        return LlavaImageProcessorPil(
            do_pad=True,
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
            image_mean=values["image_mean"],
            image_std=values["image_std"],
            resample=values.get("resample", 3),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise UserError(
            f"{directory}: its picture processor cannot be read ({reason}); copy its "
            "preprocessor_config.json again"
        ) from None


def square_pixels(image: Image.Image, processor: LlavaImageProcessorPil) -> torch.Tensor:
    """What `processor` (of `load_image_processor`) makes of a picture before it normalises.

    The same pixels in about half of the time, since arrays are not copied back and forth.

    Returns:
        (3, side, side), uint8: padded to a square with the mean colour, resized (bicubic).
    """
    size, side = max(image.size), processor.size["shortest_edge"]
    square = Image.new("RGB", (size, size), tuple(int(255 * mean) for mean in processor.image_mean))
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    square = square.resize((side, side), Image.Resampling(processor.resample))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def new_projector(vision_hidden: int, text_hidden: int, bias: bool = True) -> nn.Sequential:
    """Linear, GELU, Linear: (batch, patches, vision_hidden) to (batch, patches, text_hidden)."""
    return nn.Sequential(
        nn.Linear(vision_hidden, text_hidden, bias=bias),
        nn.GELU(),
        nn.Linear(text_hidden, text_hidden, bias=bias),
    )


def assemble(
    llm: LlamaForCausalLM,
    vision_tower: CLIPVisionModel,
    projector: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerBase,
    image_processor: LlavaImageProcessorPil,
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """One model from its parts; the parts' modules are used, not copied; `llm` grows by the picture token.

    Args:
        projector: `0.weight`, `0.bias`, `2.weight`, `2.bias` of `new_projector`.

    Raises:
        UserError: the projector does not fit the vision tower or the language model; names the sizes.
    """
    vision_hidden, text_hidden = vision_tower.config.hidden_size, llm.config.hidden_size
    found = tuple(projector["0.weight"].shape)
    if found != (text_hidden, vision_hidden):
        raise UserError(
            f"the projector maps {found[1]} to {found[0]}, but this vision tower has {vision_hidden} and "
            f"this language model {text_hidden}; use the base models that it was trained with"
        )
    image_token_id = _add_image_token(tokenizer)
    llm.config._name_or_path = vision_tower.config._name_or_path = ""  # no local path in what is written
    _grow_embedding(llm, len(tokenizer))
    patches = tokens_per_image(vision_tower.config)
    config = LlavaConfig(
        text_config=llm.config,
        vision_config=vision_tower.config,
        image_token_index=image_token_id,
        image_seq_length=patches,
        vision_feature_layer=VISION_FEATURE_LAYER,
        vision_feature_select_strategy="default",
        tie_word_embeddings=bool(llm.config.tie_word_embeddings),
    )
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    dtype = next(llm.parameters()).dtype
    model.model.language_model = llm.model
    model.lm_head = llm.lm_head
    vision_tower.to(dtype)  # type: ignore[arg-type]  # transformers' wrapper hides `self`
    model.model.vision_tower = vision_tower
    names = {"0": "linear_1", "2": "linear_2"}
    state = {f"{names[key[0]]}{key[1:]}": value.to(dtype) for key, value in projector.items()}
    model.model.multi_modal_projector.load_state_dict(state, strict=True, assign=True)
    model.generation_config = generation_config(llm, tokenizer)
    processor = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=vision_tower.config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_multimodal_template(tokenizer),
    )
    return model.eval(), processor


def save_llava(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    out: str | Path,
    max_shard_size: str = "5GB",
) -> None:
    """Write weights (safetensors), tokenizer, picture processor and both chat templates to `out`.

    Names, and keys of the configuration, are those that vLLM, SGLang, LMDeploy and transformers 4 read; why
    is in docs/decisions.md.
    """
    out = Path(out)
    names = ("model.vision_tower.", "model.vision_tower.vision_model.")  # now, and before transformers 5.6
    weights = {name.replace(*names, 1): weight for name, weight in model.state_dict().items()}
    model.save_pretrained(out, state_dict=weights, max_shard_size=max_shard_size)
    let_others_read(out)  # a container's user, for one
    processor.save_pretrained(out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    text = config["text_config"]
    rewrite_json(
        out / "config.json",
        text_config={**text, **flat_rope(text["rope_parameters"])},
        # LMDeploy puts pictures where this token is, or else where the tokenizer's is, which may end turns.
        pad_token_id=config["image_token_index"],
    )
    name_tokenizer_class(out)
    # A preprocessor file of its own beside processor_config.json: other engines look for it.
    processor.image_processor.save_pretrained(out)


def load_llava(
    directory: str | Path, dtype: torch.dtype | str = "auto", **options: Any
) -> tuple[LlavaForConditionalGeneration, PreTrainedTokenizerBase, LlavaImageProcessorPil]:
    """Model (in eval mode), tokenizer and picture processor of a directory; `options`: `from_pretrained`'s.

    Raises:
        UserError: weights are missing from the directory or unknown to the model; names some of them.
    """
    loaded: Any = LlavaForConditionalGeneration.from_pretrained(
        directory, dtype=dtype, output_loading_info=True, attn_implementation="sdpa", **options
    )
    model, info = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            names = ", ".join(sorted(map(str, info[kind]))[:4])
            raise UserError(f"{directory}: {kind.replace('_', ' ')}: {names}; export or download it again")
    tokenizer = load_tokenizer(Path(directory), name=directory, remedy="export or download it again")
    return model.eval(), tokenizer, load_image_processor(directory)


def _add_image_token(tokenizer: PreTrainedTokenizerBase) -> int:
    tokenizer.add_tokens(AddedToken(IMAGE_MARKER, special=True, normalized=False), special_tokens=True)
    return id_of(tokenizer, IMAGE_MARKER)


def _grow_embedding(llm: LlamaForCausalLM, rows: int) -> None:
    """Room for the picture token: new rows are the mean of the others, so none is ever a likely answer."""
    old = llm.model.embed_tokens.weight.shape[0]
    if rows <= old:
        return
    llm.resize_token_embeddings(rows, pad_to_multiple_of=EMBEDDING_MULTIPLE, mean_resizing=False)
    with torch.no_grad():
        for weight in (llm.model.embed_tokens.weight, llm.lm_head.weight):
            weight[old:] = weight[:old].float().mean(dim=0).to(weight.dtype)
    llm.config.vocab_size = llm.model.embed_tokens.weight.shape[0]


def _multimodal_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's chat template, for messages whose content is a list of pictures and texts.

    Other engines render prompts through the processor. A content list becomes the string that
    `render_conversation` writes: each picture as `<image>` and a line break, then the text.
    """
    return FLATTEN_CONTENT + str(tokenizer.chat_template)
