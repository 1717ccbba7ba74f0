"""The likelihood of given answers, against transformers' own loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_tuning.evaluation.scoring import retention_loss
from llava_tuning.inference.likelihood import log_likelihoods
from llava_tuning.inference.loading import load_model
from llava_tuning.models.conversation import Message, render_conversation


def test_it_is_transformers_own_loss_over_the_answers(text_model: Path) -> None:
    import torch

    loaded = load_model(text_model, load_in="float32")
    talk = [Message("user", "What is the capital of France?"), Message("assistant", "Paris.")]
    longer = [*talk, Message("user", "And of Spain?"), Message("assistant", "Madrid is its capital.")]
    found = log_likelihoods(loaded, [talk, longer], 512)
    for conversation, (likelihood, tokens) in zip((talk, longer), found, strict=True):
        rendered = render_conversation(loaded.tokenizer, conversation)
        ids, labels = torch.tensor([rendered.input_ids]), torch.tensor([rendered.labels])
        with torch.no_grad():
            loss = loaded.model(input_ids=ids, labels=labels).loss.item()
        assert tokens == sum(label != -100 for label in rendered.labels)
        assert -likelihood / tokens == pytest.approx(loss, rel=1e-4)
    assert log_likelihoods(loaded, [longer], len(render_conversation(loaded.tokenizer, talk).input_ids))[0][
        1
    ] == pytest.approx(found[0][1])


def test_retention_loss_is_the_share_of_probability_lost() -> None:
    base = [(-10.0, 10), (-24.0, 20), (-5.0, 5)]
    assert retention_loss(base, base) == (0.0, (0.0, 0.0))
    halved = [(value - tokens * 0.6931471805599453, tokens) for value, tokens in base]
    loss, (low, high) = retention_loss(halved, base) or (0.0, (0.0, 0.0))
    assert loss == low == high == pytest.approx(0.5)
    mixed = [(-11.0, 10), (-23.0, 20), (-7.0, 5)]
    loss, (low, high) = retention_loss(mixed, base) or (0.0, (0.0, 0.0))
    assert low < loss < high
    assert retention_loss([], []) is None
