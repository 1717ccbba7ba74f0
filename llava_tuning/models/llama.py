"""A language model directory: read, written, and asked for what it would say next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import rewrite_json
from llava_tuning.models.conversation import Message, answer_end, render_conversation
from llava_tuning.models.directory import let_others_read
from llava_tuning.models.tokenizer import load_tokenizer, name_tokenizer_class

TOLERANCE = 1e-3  # largest difference of a logit, in float32
PROBES = ("Who are you?", "What is the capital of France?", "请介绍一下你自己。")


def load_llama(
    directory: str | Path, dtype: torch.dtype | str = "auto", **options: Any
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Model (in eval mode) and tokenizer of a language model directory; `options` are `from_pretrained`'s.

    Raises:
        UserError: weights are missing from the directory or unknown to the model.
    """
    loaded: Any = LlamaForCausalLM.from_pretrained(
        directory,
        dtype=dtype,
        attn_implementation="sdpa",
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    model, info = loaded
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, info.get(problem, ()))):
            raise UserError(
                f"{directory}: {len(keys)} {problem.replace('_', ' ')} in the weights, e.g. {keys[0]}; "
                "make or copy the model directory again"
            )
    remedy = "make or copy the model directory again"
    return model.eval(), load_tokenizer(Path(directory), name=directory, remedy=remedy)


def save_llama(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, out: str | Path, max_shard_size: str = "5GB"
) -> None:
    """Write weights (safetensors) and tokenizer with its chat template to `out`."""
    model.config._name_or_path = ""  # no local path in what is written
    model.generation_config = generation_config(model, tokenizer)
    model.save_pretrained(out, max_shard_size=max_shard_size)
    tokenizer.save_pretrained(out)
    out = Path(out)
    let_others_read(out)
    rope = json.loads((out / "config.json").read_text(encoding="utf-8"))["rope_parameters"]
    rewrite_json(out / "config.json", **flat_rope(rope))
    name_tokenizer_class(out)


def flat_rope(parameters: dict[str, Any]) -> dict[str, Any]:
    """The rotary embedding in transformers 4's keys, which other engines read: without them, base 10,000."""
    kept = {key: value for key, value in parameters.items() if key != "rope_theta"}
    scaling = None if kept.get("rope_type", "default") == "default" else kept
    return {"rope_theta": parameters["rope_theta"], "rope_scaling": scaling}


def generation_config(llm: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """The model's own ends of an answer, and the one of its chat template."""
    old = llm.generation_config
    eos: Any = old.eos_token_id if old is not None else None
    if eos is None:
        eos = tokenizer.eos_token_id
    ids = set(eos if isinstance(eos, list) else [eos])
    end = answer_end(tokenizer)
    if end is not None:
        ids.add(end)
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(ids),
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ids),
    )


@torch.no_grad()
def probe_logits(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[torch.Tensor]:
    """(tokens, vocabulary) of each of `PROBES`; `model` may be wrapped by an adapter."""
    rows = [probe_ids(tokenizer, question) for question in PROBES]
    return [model(input_ids=torch.tensor([ids])).logits[0] for ids in rows]


def probe_ids(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """A question up to where the answer begins."""
    return render_conversation(tokenizer, [Message("user", question)], generation_prompt=True).input_ids


def largest_difference(
    found: Sequence[torch.Tensor], reference: Sequence[torch.Tensor], vocabulary: int | None = None
) -> float:
    """Of any logit, over the first `vocabulary` tokens."""
    return max(
        float((a[:, :vocabulary] - b[:, :vocabulary]).abs().max())
        for a, b in zip(found, reference, strict=True)
    )


def round_parameters(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Round weights but not buffers: `model.to(bfloat16)` would also round the rotary frequencies."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).to(parameter.dtype)
