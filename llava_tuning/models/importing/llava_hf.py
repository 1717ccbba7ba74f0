"""Hugging Face's LLaVA directories (llava-1.5 and the like) → model directories of this project.

They differ in three things: their picture processor may crop where training padded, their chat template
wants each content as a list, and their tokenizer may add the first token itself. What comes out renders the
same token ids, which is checked before anything is written.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from transformers import AddedToken, LlavaProcessor

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import Checkpoint, read_config
from llava_tuning.models.conversation import IMAGE_MARKER, Message, id_of, render_conversation
from llava_tuning.models.directory import complete_or_not_at_all
from llava_tuning.models.importing.origin import Origin
from llava_tuning.models.llava import load_image_processor, load_llava, save_llava, tokens_per_image
from llava_tuning.models.provenance import (
    BaseModelSource,
    Provenance,
    hash_file,
    read_provenance,
    write_provenance,
)
from llava_tuning.models.tokenizer import load_tokenizer

# A content that is a string becomes a list with one text in it.
_AS_LISTS = (
    "{%- set ns = namespace(lists=[]) -%}{%- for m in messages -%}{%- if m['content'] is string -%}"
    "{%- set text = [{'type': 'text', 'text': m['content']}] -%}"
    "{%- set ns.lists = ns.lists + [{'role': m['role'], 'content': text}] -%}"
    "{%- else -%}{%- set ns.lists = ns.lists + [m] -%}{%- endif -%}{%- endfor -%}"
    "{%- set messages = ns.lists -%}"
)
_GENERATION = re.compile(r"{%-?\s*(?:end)?generation\s*-?%}")  # transformers' own tags, for training masks
_QUESTION, _ANSWER, _NEXT = "What is it?", "A cat.", "Which colour?"


def is_llava_hf(source: Path) -> bool:
    """Whether a directory holds a LLaVA model in one piece."""
    return (source / "config.json").is_file() and "vision_config" in read_config(source)


def import_llava_hf(origin: Origin, out: Path) -> Path:
    """Write a LLaVA directory as one of this project's; weights stay as they are.

    Args:
        origin: a directory of `LlavaForConditionalGeneration` with a CLIP vision tower and a Llama language
            model.
        out: the directory to make.

    Raises:
        UserError: another kind of model, a damaged one, or a chat template that this project renders
            otherwise.
    """
    source = origin.directory
    _check_kind(source)
    checkpoint = Checkpoint(source)
    tokenizer = load_tokenizer(source, name=source, remedy="download it again")
    config = read_config(source)
    image_token_id = config.get("image_token_index", config.get("image_token_id"))
    if image_token_id is None or id_of(tokenizer, IMAGE_MARKER) != image_token_id:
        raise UserError(
            f"{source}: its picture token is number {image_token_id} and not {IMAGE_MARKER}, which this "
            "project writes; its tokenizer may be that of another model"
        )
    # Some tokenizers know it as a plain token, which typed text could become.
    tokenizer.add_tokens(AddedToken(IMAGE_MARKER, special=True, normalized=False), special_tokens=True)
    tokenizer.chat_template = _template(source, tokenizer, image_token_id)
    image_processor = load_image_processor(source)
    model, _, _ = load_llava(source)
    vision: Any = model.config.vision_config
    model.config.image_seq_length = tokens_per_image(vision)
    processor = LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    hashes = {file.name: hash_file(file) for file in checkpoint.shards}
    own = read_provenance(source)  # of a directory that this project wrote
    base = BaseModelSource(role="LLaVA model", name=origin.name, revision=origin.revision, hashes=hashes)
    sources = own.base_models if own else [base]
    with complete_or_not_at_all(out) as building:
        save_llava(model, processor, building)
        write_provenance(
            building, Provenance(stage="imported", base_models=sources, template=tokenizer.chat_template)
        )
    return out


def _check_kind(source: Path) -> None:
    config = read_config(source)
    kind, text = config.get("model_type"), config.get("text_config", {}).get("model_type", "llama")
    vision = config["vision_config"].get("model_type", "clip_vision_model")
    if (kind, vision, text) != ("llava", "clip_vision_model", "llama"):
        raise UserError(
            f"{source}: a {kind} model of {vision} and {text}; imported are llava models of "
            "clip_vision_model and llama"
        )
    layer = config.get("vision_feature_layer", -2)
    strategy = config.get("vision_feature_select_strategy", "default")
    if not isinstance(layer, int) or strategy != "default":
        raise UserError(
            f"{source}: reads pictures from layer {layer} with {strategy} tokens; imported are models that "
            "take one layer without its class token (default)"
        )


def _template(source: Path, tokenizer: Any, image_token_id: int) -> str:
    """The chat template for contents of both kinds, checked against what transformers makes of the original.

    The ids of a question are the same; of a longer conversation the text, since an answer's ids are made
    apart from what stands before it.

    Raises:
        UserError: there is none, or it would be rendered otherwise here.
    """
    original = _original_template(source, tokenizer)
    messages = [Message("user", _QUESTION, 1), Message("assistant", _ANSWER), Message("user", _NEXT)]
    question, conversation = (_reference(source, tokenizer, original, count) for count in (1, 3))
    cleaned = _GENERATION.sub("", original)
    # A tokenizer that adds the first token itself: here the template writes it.
    adds = tokenizer.bos_token_id is not None and question[:1] == [tokenizer.bos_token_id]
    first = "{{ bos_token }}" if adds else ""
    failed: Exception | None = None
    for template in (cleaned, _AS_LISTS + cleaned, first + cleaned, first + _AS_LISTS + cleaned):
        tokenizer.chat_template = template
        try:
            found = [
                render_conversation(
                    tokenizer,
                    messages[:count],
                    image_token_id=image_token_id,
                    tokens_per_image=1,
                    generation_prompt=True,
                ).input_ids
                for count in (1, 3)
            ]
        except Exception as error:  # Jinja and the template's own code raise what they like
            failed = error
            continue
        if found[0] == question and tokenizer.decode(found[1]) == tokenizer.decode(conversation):
            return template
    raise UserError(
        f"{source}: its chat template puts a picture, or the first token, where this project does not; write "
        f"one for contents that are strings, with {IMAGE_MARKER} and a line break before the text, to "
        f"chat_template.jinja{f' (it also failed: {failed})' if failed else ''}"
    ) from failed


def _original_template(source: Path, tokenizer: Any) -> str:
    """Of the processor where there is one: it is the one for pictures."""
    for file in ("chat_template.jinja", "chat_template.json"):
        if (source / file).is_file():
            text = (source / file).read_text(encoding="utf-8")
            return text if file.endswith(".jinja") else str(_read_template(source / file))
    if not tokenizer.chat_template:
        raise UserError(f"{source}: has no chat template; add chat_template.jinja")
    return str(tokenizer.chat_template)


def _read_template(path: Path) -> str:
    """The template in a processor's `chat_template.json`."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["chat_template"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: holds no chat template; download it again") from None


def _reference(source: Path, tokenizer: Any, template: str, count: int) -> list[int]:
    """What transformers' processor feeds the model for the first turns, the picture as one token."""
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": _QUESTION}]},
        {"role": "assistant", "content": [{"type": "text", "text": _ANSWER}]},
        {"role": "user", "content": [{"type": "text", "text": _NEXT}]},
    ]
    try:
        text = tokenizer.apply_chat_template(
            messages[:count], chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # Jinja and the template's own code raise what they like
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{source}: its chat template cannot be rendered for a picture ({reason}); mend it"
        ) from None
    starts = tokenizer.bos_token is not None and text.startswith(str(tokenizer.bos_token))
    ids: list[int] = tokenizer(text, add_special_tokens=not starts).input_ids
    return ids
