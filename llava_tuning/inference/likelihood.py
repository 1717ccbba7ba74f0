"""How likely a loaded model finds given answers, without pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from llava_tuning.inference.loading import LoadedModel
from llava_tuning.models.conversation import IGNORE_INDEX, Message, render_conversation


@torch.inference_mode()
def log_likelihoods(
    loaded: LoadedModel,
    conversations: Sequence[Sequence[Message]],
    max_length: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[tuple[float, int]]:
    """Of each conversation the log-likelihood (nats) of all its answers together, and their tokens.

    The token that ends an answer counts. What lies behind `max_length` tokens is left out. They are
    read one by one.

    Args:
        progress: called with the number of conversations read so far.
    """
    found = []
    for done, messages in enumerate(conversations):
        progress(done)
        rendered = render_conversation(loaded.tokenizer, messages, max_length=max_length)
        ids = torch.tensor([rendered.input_ids], device=loaded.model.device)  # (1, tokens)
        labels = torch.tensor(rendered.labels, device=loaded.model.device)[1:]  # (tokens - 1)
        logits = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :-1]
        trained = labels != IGNORE_INDEX
        loss = functional.cross_entropy(logits[trained].float(), labels[trained], reduction="sum")
        found.append((-loss.item(), int(trained.sum())))
    progress(len(conversations))
    return found
