"""What a model in training answers, many conversations at a time, and how likely it finds given answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional

from llava_tuning.models.conversation import Message, answer_end, render_conversation
from llava_tuning.training.dataset import collate
from llava_tuning.training.language_model import LanguageModelStep

ROW_TOKENS = 1024  # of conversations whose likelihood is found together; their logits are all in memory


@torch.no_grad()
def greedy_answers(
    model: LanguageModelStep,
    tokenizer: Any,
    conversations: Sequence[Sequence[Message]],
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[tuple[int, str]]:
    """(index, answer) of each conversation in text, those of like length together.

    Prompts are padded on the left, where no token looks, so an answer does not depend on its batch but for
    rounding.
    """
    prompts = [
        render_conversation(tokenizer, messages, generation_prompt=True).input_ids
        for messages in conversations
    ]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    ends = _end_ids(model, tokenizer)
    device = next(model.llm.parameters()).device
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        longest = max(len(prompts[i]) for i in batch)
        ids = torch.full((len(batch), longest), ends[0])
        mask = torch.zeros_like(ids)
        for row, i in enumerate(batch):
            ids[row, longest - len(prompts[i]) :] = torch.tensor(prompts[i])
            mask[row, longest - len(prompts[i]) :] = 1
        with model.autocast():
            written = model.llm.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                use_cache=True,
                eos_token_id=ends,
                pad_token_id=ends[0],
            )[:, longest:]  # (batch, answer length)
        for i, tokens in zip(batch, written.tolist(), strict=True):
            length = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
            yield i, tokenizer.decode(tokens[:length], skip_special_tokens=True).strip()


@torch.no_grad()
def log_likelihoods(
    model: LanguageModelStep, tokenizer: Any, conversations: Sequence[Sequence[Message]], max_length: int
) -> list[tuple[float, int]]:
    """Of each conversation the log-likelihood (nats) of all its answers together, and their number of tokens.

    The token that ends an answer counts. What lies behind `max_length` tokens is left out.
    """
    rows: list[list[dict[str, Any]]] = []
    room = 0  # tokens that the last row may still take
    for messages in conversations:
        rendered = render_conversation(tokenizer, messages, max_length=max_length)
        if len(rendered.input_ids) > room:
            rows.append([])
            room = ROW_TOKENS
        rows[-1].append({"input_ids": rendered.input_ids, "labels": rendered.labels})
        room -= len(rendered.input_ids)
    return [found for row in rows for found in _of_row(model, row)]


def _of_row(model: LanguageModelStep, samples: Sequence[dict[str, Any]]) -> list[tuple[float, int]]:
    data = model.data_preprocessor(collate(samples), False)["data"]
    logits = model(data, mode="tensor")[0, data["supervised"]]  # (supervised, vocabulary)
    losses = functional.cross_entropy(logits.float(), data["targets"], reduction="none")
    ends = data["cu_seqlens"][1:].to(data["supervised"].dtype)
    sample = torch.bucketize(data["supervised"], ends, right=True)  # (supervised) which sample each is of
    sums = torch.zeros(len(samples), device=losses.device).index_add_(0, sample, losses)
    counts = torch.bincount(sample, minlength=len(samples))
    return [(-loss, tokens) for loss, tokens in zip(sums.tolist(), counts.tolist(), strict=True)]


def _end_ids(model: LanguageModelStep, tokenizer: Any) -> list[int]:
    """Every id that ends an answer: the chat template's, the tokenizer's and the generation config's."""
    configured = model.language_model().generation_config.eos_token_id
    found = [answer_end(tokenizer), tokenizer.eos_token_id]
    found += configured if isinstance(configured, list) else [configured]
    return list(dict.fromkeys(token for token in found if token is not None))
