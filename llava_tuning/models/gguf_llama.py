"""A Llama model in a GGUF file → a Llama directory, with everything that the format says spelled out.

transformers reads GGUF, but quietly falls back where it does not know a field: the rope base, the tokenizer's
pre-tokenizer, its special tokens and the chat template are therefore written out here, and one greedy answer
is checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import rewrite_json
from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.tokenizer import check_chat_template, name_tokenizer_class

# ChatML without SmolLM2's default system prompt, which names another assistant ("named SmolLM, trained by
# Hugging Face") and would be trained into every answer.
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL_TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
CHECK_QUESTION, CHECK_ANSWER = "What is the capital of France?", "Paris"


def convert_gguf(source: str | Path, out: str | Path) -> str:
    """Dequantise a GGUF file to bfloat16 safetensors, with tokenizer, template and generation settings.

    Args:
        source: a `.gguf` file of Llama architecture with a chat template.
        out: an existing directory to fill.

    Returns:
        the chat template that was written.

    Raises:
        UserError: the file is not GGUF, not Llama, has no chat template, or answers nonsense once converted.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, GgufConfig
    from transformers import modeling_gguf_pytorch_utils as reader
    from transformers.utils import logging

    logging.disable_progress_bar()
    reader.tqdm = logging.tqdm  # the one bar of transformers that heeds no switch
    source, out = Path(source), Path(out)
    fields = read_metadata(source)
    tokenizer = _tokenizer(source, fields)
    model = AutoModelForCausalLM.from_pretrained(
        str(source.parent),
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),  # without it saving fails
        dtype=torch.bfloat16,
    ).eval()
    rope_theta = float(fields.get("llama.rope.freq_base", 10000.0))
    found = float(model.config.rope_parameters["rope_theta"])
    if found != rope_theta:
        raise UserError(
            f"{source}: rope base {rope_theta} was read as {found}; another transformers version is needed"
        )
    _check_answer(model, tokenizer, source)

    stops = {"<|im_end|>", "<|endoftext|>", "</s>", tokenizer.eos_token} & set(tokenizer.get_vocab())
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(tokenizer.convert_tokens_to_ids(stop) for stop in stops),
        pad_token_id=tokenizer.pad_token_id,
    )
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    # The flat key is what other engines and transformers 4 read.
    rewrite_json(out / "config.json", drop=("_model_name_or_path",), rope_theta=rope_theta)
    name_tokenizer_class(out)
    return str(tokenizer.chat_template)


def read_metadata(source: str | Path) -> dict[str, Any]:
    """The key-value fields of a GGUF file, arrays left out.

    Raises:
        UserError: missing, not GGUF, or not a Llama model.
    """
    from gguf import GGUFReader, GGUFValueType

    source = Path(source)
    if not source.is_file():
        raise UserError(f"{source}: no such GGUF file; check the path")
    try:
        reader = GGUFReader(source)
    except Exception as error:  # the reader raises whatever numpy or struct raised
        raise UserError(f"{source}: not a readable GGUF file ({error}); download it again") from None
    fields = {
        key: field.contents()
        for key, field in reader.fields.items()
        if field.types and field.types[0] != GGUFValueType.ARRAY
    }
    architecture = fields.get("general.architecture")
    if architecture != "llama":
        raise UserError(
            f"{source}: holds a {architecture} model; only the llama architecture can be prepared"
        )
    return fields


def _tokenizer(source: Path, fields: dict[str, Any]) -> Any:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    # Not every transformers takes these from the file: 5.17 ends SmolLM2's answers with <|im_start|>.
    for role, key in SPECIAL_TOKENS.items():
        if (token_id := fields.get(f"tokenizer.ggml.{key}_token_id")) is not None:
            setattr(tokenizer, role, tokenizer.convert_ids_to_tokens(token_id))
    if fields.get("tokenizer.ggml.pre") == "smollm":
        # transformers leaves out the splitting of digits that SmolLM2 was trained with.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        tokenizer.chat_template = CHATML
    tokenizer.clean_up_tokenization_spaces = False
    check_chat_template(tokenizer, source)
    return tokenizer


def _check_answer(model: Any, tokenizer: Any, source: Path) -> None:
    """A misread file still loads; it just knows nothing any more. Ask it what every model knows."""
    import torch

    prompt = render_conversation(
        tokenizer, [Message("user", CHECK_QUESTION)], generation_prompt=True
    ).input_ids
    ids = torch.tensor([prompt])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=24,
        do_sample=False,
        pad_token_id=tokenizer.eos_token_id,
    )
    answer = tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True).strip()
    if CHECK_ANSWER not in answer:
        raise UserError(
            f"{source}: converted, but answers {CHECK_QUESTION!r} with {answer!r} instead of {CHECK_ANSWER}; "
            "the file was misread or is no chat model"
        )
