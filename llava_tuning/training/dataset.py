"""XTuner's LLaVA dataset over this project's records, prompts and picture processor."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from torch.nn import functional
from transformers import CLIPVisionConfig, PreTrainedTokenizerBase
from xtuner.dataset import LLaVADataset
from xtuner.utils import IGNORE_INDEX, IMAGE_TOKEN_INDEX

from llava_tuning.data.records import Record
from llava_tuning.models.conversation import render_conversation
from llava_tuning.models.llava import load_image_processor, tokens_per_image
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.tokenizer import load_tokenizer

RECORDS_PER_WORKER = 20_000  # below this a second process costs more than it saves


class RecordsDataset(LLaVADataset):
    """LLaVA records as token ids, labels and pixels.

    Each picture stands in `input_ids` as IMAGE_TOKEN_INDEX at every one of its positions, so lengths,
    truncation and grouping by length count what the model will really read.

    Args:
        data_path: JSON or JSONL file of LLaVA records.
        image_folder: pictures' paths are relative to it.
        llm: prepared language model directory (for the tokenizer and its chat template).
        vision_tower: CLIP directory (for the picture processor and the number of patches).
        max_length: tokens kept, picture positions included.
    """

    def __init__(
        self, data_path: str, image_folder: str, llm: str, vision_tower: str, max_length: int
    ) -> None:
        torch.utils.data.Dataset.__init__(self)
        self.image_folder = image_folder
        self.image_processor = load_image_processor(vision_tower)
        self.patches = tokens_per_image(CLIPVisionConfig.from_pretrained(vision_tower))
        self.tokenizer = load_tokenizer(Path(llm), name=f"llm = {llm}", remedy="prepare it again")
        self.text_data = tokenize_records(data_path, self.tokenizer, self.patches, max_length)

    @property
    def modality_length(self) -> list[int]:
        """Length of each sample; negative for text only, as XTuner's sampler expects."""
        lengths = self.text_data["length"]
        images = self.text_data["image"]
        return [-n if image is None else n for n, image in zip(lengths, images, strict=True)]

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.text_data[index]
        sample = {"input_ids": row["input_ids"], "labels": row["labels"]}
        if row["image"] is not None:
            picture = open_picture(Path(self.image_folder) / row["image"])
            sample["pixel_values"] = self.image_processor(picture, return_tensors="pt")["pixel_values"][0]
        return sample


def tokenize_records(
    data_path: str | Path, tokenizer: PreTrainedTokenizerBase, patches: int, max_length: int
) -> datasets.Dataset:
    """Rows of input_ids, labels, image and length; left out is what has nothing to learn after truncation."""
    from llava_tuning.data.load import load_records

    rows = [json.dumps(record.to_dict()) for record in load_records(data_path)]
    table = datasets.Dataset.from_dict({"record": rows})
    workers = max(1, min(os.cpu_count() or 1, len(rows) // RECORDS_PER_WORKER))
    table = table.map(
        _tokenize,
        fn_kwargs={"tokenizer": tokenizer, "patches": patches, "max_length": max_length},
        remove_columns=["record"],
        num_proc=workers if workers > 1 else None,
        desc="tokenising",
    )
    return table.filter(lambda row: row["supervised"] > 0, desc="checking labels")


def _tokenize(
    row: dict[str, str], tokenizer: PreTrainedTokenizerBase, patches: int, max_length: int
) -> dict[str, Any]:
    record = Record(**json.loads(row["record"]))
    rendered = render_conversation(
        tokenizer,
        record.messages(),
        image_token_id=IMAGE_TOKEN_INDEX,
        tokens_per_image=patches,
        max_length=max_length,
    )
    pictures = rendered.input_ids.count(IMAGE_TOKEN_INDEX)
    if pictures % patches:  # cut inside the picture (a record has one): end before it
        rendered = rendered.truncated(rendered.input_ids.index(IMAGE_TOKEN_INDEX))
        pictures = 0
    supervised = sum(label != IGNORE_INDEX for label in rendered.labels)
    return {
        "input_ids": rendered.input_ids,
        "labels": rendered.labels,
        "image": record.image if pictures else None,
        "length": len(rendered.input_ids),
        "supervised": supervised,
    }


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Samples one behind the other in one row, without padding.

    Returns:
        `data`: `input_ids`, `labels` and `position_ids`, each (1, tokens), positions starting at 0 in every
        sample; `cu_seqlens` (samples + 1) int32, where each starts, and the number of tokens at the end;
        `max_seqlen`, the tokens of the longest; and `pixel_values` (pictures, 3, side, side) when there are.
    """
    ids = [torch.tensor(sample["input_ids"]) for sample in samples]
    labels = [torch.tensor(sample["labels"]) for sample in samples]
    for row in labels:
        row[0] = IGNORE_INDEX  # the sample before must not learn to predict it
    lengths = torch.tensor([len(row) for row in ids])
    pictures = [sample["pixel_values"] for sample in samples if "pixel_values" in sample]
    data = {
        "input_ids": torch.cat(ids)[None],
        "labels": torch.cat(labels)[None],
        "position_ids": torch.cat([torch.arange(len(row)) for row in ids])[None],
        "cu_seqlens": functional.pad(lengths.cumsum(0), (1, 0)).int(),
        "max_seqlen": int(lengths.max()),
    }
    if pictures:
        data["pixel_values"] = torch.stack(pictures)
    return {"data": data, "data_samples": None}
