"""A packed row has the loss and gradients of its samples, one by one through transformers' own Llama."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exactness import assert_same, step_of
from mmengine.config import Config
from torch.nn import functional
from xtuner.registry import BUILDER
from xtuner.utils import IGNORE_INDEX

from llava_tuning.training.dataset import collate

CUT = 250  # tokens
# Which samples are in the row, from the tenth on with a picture, and the tokens that are kept of each.
ROWS = {
    "ragged": ([1, 9, 11, 4, 12, 7], 1024),
    "pictures": ([10, 11, 12, 13], 1024),
    "one": ([12], 1024),
    "truncated": ([10, 9, 3, 11], CUT),
    "texts": ([2, 9, 5], 1024),
    "truncated_texts": ([8, 9, 7], CUT),
}
TEXTS = ["texts", "truncated_texts"]
CASES = [
    *itertools.product(["lora", "full", "vision_lora"], ROWS),
    *itertools.product(["pretrain"], [row for row in ROWS if row not in TEXTS]),  # text moves no projector
    *itertools.product(["text_lora", "text_full"], TEXTS),
]


@pytest.fixture(scope="module")
def samples(
    load_config: Callable[..., Config], texts_and_pictures: Path
) -> Callable[[str], list[dict[str, Any]]]:
    """A row's samples as training reads them."""

    def read(row: str) -> list[dict[str, Any]]:
        chosen, max_length = ROWS[row]
        config = load_config("lora", data_path=texts_and_pictures, max_length=max_length)
        dataset: Any = BUILDER.build(config.train_dataloader.dataset)
        assert len(dataset) == 14
        found = [dataset[i] for i in chosen]
        for sample in found:  # a label that nothing may predict, least of all the sample before
            sample["labels"][0] = sample["input_ids"][0]
        return found

    return read


def one_by_one(model: Any, samples: list[dict[str, Any]]) -> torch.Tensor:
    """Mean cross-entropy from all logits of each sample: no packing, no layout, no positions given."""
    total, count = torch.zeros(()), 0
    for sample in samples:
        pixels = sample["pixel_values"][None] if "pixel_values" in sample else None
        embeds = model.embed(sample["input_ids"][None], pixels)
        logits = model.llm(inputs_embeds=embeds).logits[0, :-1]
        labels = sample["labels"][1:]
        total = total + functional.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="sum")
        count += int((labels != IGNORE_INDEX).sum())
    return total / count


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("kind", "row"), CASES)
def test_a_packed_row_has_the_loss_and_gradients_of_its_samples(
    kind: str, row: str, checkpointing: bool, build: Callable[..., Any], samples: Callable[..., Any]
) -> None:
    model, chosen = build(kind, checkpointing), samples(row)
    found = step_of(model, model(collate(chosen)["data"])["loss"])
    assert model._text_memory.recomputed == int(checkpointing)  # of two layers, the last counts apart
    assert_same(found, step_of(model, one_by_one(model, chosen)))


def test_rows_are_as_they_are_called(samples: Callable[..., Any]) -> None:
    rows = {row: collate(samples(row))["data"] for row in ROWS}
    lengths = {row: data["cu_seqlens"].diff().tolist() for row, data in rows.items()}
    assert len(set(lengths["ragged"])) == 6 and max(lengths["ragged"]) > 7 * min(lengths["ragged"])
    assert lengths["truncated"] == [CUT, CUT, 141, CUT] and lengths["truncated_texts"] == [CUT] * 3
    pictures = {row: len(data.get("pixel_values", ())) for row, data in rows.items()}
    assert pictures == {
        "ragged": 2,
        "pictures": 4,
        "one": 1,
        "truncated": 2,
        "texts": 0,
        "truncated_texts": 0,
    }
    padded = {row for row, data in rows.items() if "padded_grid" in data}
    assert padded == {"one", "truncated", "truncated_texts"}
