"""A model's configuration as GGUF's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gguf import GGUFType, GGUFWriter, RopeScalingType

from llava_tuning.errors import UserError
from llava_tuning.models.gguf_export.template import media_template
from llava_tuning.models.gguf_export.tokenizer import add_tokenizer
from llava_tuning.models.llava import load_image_processor, tokens_per_image

# llama.cpp fills up to a square with this colour, whatever the file says: the mean colour of CLIP's pictures.
_LLAMA_CPP_PADDING = (122, 116, 104)


def add_language_model(writer: GGUFWriter, config: Any, tokenizer: Any, rows: int, directory: Path) -> None:
    """Sizes, rotary embedding, tokenizer and chat template.

    Raises:
        UserError: llama.cpp's `llama` does not compute this, or has no such tokenizer.
    """
    text = config.get_text_config()
    if text.model_type != "llama" or text.hidden_act != "silu":
        raise UserError(
            f"{directory}: its language model is {text.model_type} with {text.hidden_act}; GGUF export knows "
            "llama with silu"
        )
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    writer.add_type(GGUFType.MODEL)
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_vocab_size(rows)
    writer.add_rope_dimension_count(head)
    _add_rope(writer, text.rope_parameters, directory)
    add_tokenizer(writer, tokenizer, rows, directory)
    if not tokenizer.chat_template:
        raise UserError(f"{directory}: the tokenizer has no chat template; add chat_template.jinja")
    template = str(tokenizer.chat_template)
    writer.add_chat_template(media_template(template) if config.model_type == "llava" else template)


def _add_rope(writer: GGUFWriter, rope: dict[str, Any], directory: Path) -> None:
    """`dynamic` (InternLM2) changes nothing within the context that the file names."""
    kind = rope.get("rope_type", "default")
    if kind not in ("default", "dynamic", "linear"):
        raise UserError(
            f"{directory}: rotary embedding of type {kind}; GGUF export knows default, dynamic and linear"
        )
    writer.add_rope_freq_base(rope["rope_theta"])
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def vision_layers(config: Any, directory: Path) -> int:
    """How many layers of the vision tower a LLaVA model's features go through.

    Raises:
        UserError: llama.cpp's `clip` with the projector `mlp` does not compute this.
    """
    vision = config.vision_config
    layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
    if vision.model_type != "clip_vision_model" or strategy != "default" or not isinstance(layer, int):
        raise UserError(
            f"{directory}: its pictures go through a {vision.model_type}, layer {layer}, {strategy} tokens; "
            "GGUF export knows one layer of a clip_vision_model without its class token (default)"
        )
    if vision.hidden_act not in ("quick_gelu", "gelu") or config.projector_hidden_act != "gelu":
        raise UserError(
            f"{directory}: activations {vision.hidden_act} and {config.projector_hidden_act}; GGUF export "
            "knows quick_gelu or gelu in the vision tower and gelu in the projector"
        )
    if not config.multimodal_projector_bias:
        raise UserError(f"{directory}: a projector without bias, which llama.cpp does not know")
    # Hidden states count from the embedding: 0 is before the first layer, -1 after the last.
    layers = layer if layer >= 0 else vision.num_hidden_layers + 1 + layer
    if not 0 < layers <= vision.num_hidden_layers:
        raise UserError(f"{directory}: no layer {layer} in a vision tower of {vision.num_hidden_layers}")
    return layers


def add_vision(writer: GGUFWriter, config: Any, directory: Path, layers: int) -> None:
    """What the file of what sees (mmproj) says about vision tower, projector and picture processor.

    Raises:
        UserError: llama.cpp would read pictures in another way.
    """
    vision, processor = config.vision_config, load_image_processor(directory)
    tokens_per_image(vision)  # square pictures and patches
    side = processor.size["shortest_edge"]
    padding = tuple(int(255 * mean) for mean in processor.image_mean)
    if side != vision.image_size or processor.resample != 3 or padding != _LLAMA_CPP_PADDING:
        raise UserError(
            f"{directory}: pictures are brought to {side} pixels with filter {processor.resample} and the "
            f"colour {padding}; llama.cpp brings them to {vision.image_size} with filter 3 "
            f"and {_LLAMA_CPP_PADDING}"
        )
    writer.add_type(GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    writer.add_bool("clip.has_llava_projector", True)  # older versions ask
    writer.add_clip_projector_type("mlp")
    writer.add_vision_projection_dim(config.get_text_config().hidden_size)
    writer.add_vision_image_size(vision.image_size)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_embedding_length(vision.hidden_size)
    writer.add_vision_feed_forward_length(vision.intermediate_size)
    writer.add_vision_block_count(layers)
    writer.add_vision_head_count(vision.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(vision.layer_norm_eps)
    writer.add_vision_use_gelu(vision.hidden_act == "gelu")
    writer.add_vision_image_mean([float(value) for value in processor.image_mean])
    writer.add_vision_image_std([float(value) for value in processor.image_std])
    # Without it llama.cpp would leave out the last of the layers that are there.
    writer.add_array("clip.vision.feature_layer", [layers])
