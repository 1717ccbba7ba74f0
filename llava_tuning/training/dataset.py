"""XTuner's LLaVA dataset over this project's records, prompts and picture processor."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from mmengine.config import Config
from torch.nn import functional
from transformers import CLIPVisionConfig, PreTrainedTokenizerBase
from xtuner.dataset import LLaVADataset
from xtuner.utils import IGNORE_INDEX, IMAGE_TOKEN_INDEX

from llava_tuning.data import load, records
from llava_tuning.data.load import load_records
from llava_tuning.data.records import Record
from llava_tuning.models import conversation
from llava_tuning.models.cache import build_once
from llava_tuning.models.conversation import render_conversation
from llava_tuning.models.llava import load_image_processor, square_pixels, tokens_per_image
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.tokenizer import load_tokenizer
from llava_tuning.training.plan import Samples

RECORDS_DRAWN = 2_000  # for an estimate of what all of them cost
RECORDS_PER_WORKER = 20_000  # below this a second process costs more than it saves
LENGTH_MULTIPLE = 64  # padded batches are rounded up: GPU libraries plan anew for each size
# A GPU's attention kernels are about this many times as fast for padded batches as for variable lengths.
PADDING_PAYS = 1.5


class RecordsDataset(LLaVADataset):
    """LLaVA records as token ids, labels and pixels.

    Each picture stands in `input_ids` as IMAGE_TOKEN_INDEX at every one of its positions, so lengths,
    truncation and grouping by length count what the model will really read. Token ids are made once and kept
    in the cache.

    Args:
        data_path: JSON or JSONL file of LLaVA records.
        image_folder: pictures' paths are relative to it; None for text alone.
        llm: prepared language model directory (for the tokenizer and its chat template).
        vision_tower: CLIP directory (for the picture processor and the number of patches); None for text
            alone.
        max_length: tokens kept, picture positions included.
    """

    def __init__(
        self,
        data_path: str,
        image_folder: str | None,
        llm: str,
        vision_tower: str | None,
        max_length: int,
    ) -> None:
        torch.utils.data.Dataset.__init__(self)
        self.image_folder = image_folder
        self.image_processor = None if vision_tower is None else load_image_processor(vision_tower)
        self.patches = _patches(vision_tower)
        self.tokenizer = load_tokenizer(Path(llm), name=f"llm = {llm}", remedy="prepare it again")
        self.text_data = prepared_tokens(data_path, self.tokenizer, self.patches, max_length)

    @property
    def modality_length(self) -> list[int]:
        """Length of each sample; negative for text only, as XTuner's sampler expects."""
        return sample_lengths(self.text_data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`input_ids` and `labels`, int64; with a picture also `pixel_values` (3, side, side), uint8.

        And `like_base`, True, where a record is so marked.
        """
        row = self.text_data[index]
        ids = row["input_ids"]
        repeats = np.where(ids == IMAGE_TOKEN_INDEX, self.patches, 1)
        sample: dict[str, Any] = {
            name: torch.from_numpy(row[name].repeat(repeats)).long() for name in ("input_ids", "labels")
        }
        if row["like_base"]:
            sample["like_base"] = True
        if row["image"] is not None:
            assert self.image_folder is not None and self.image_processor is not None
            picture = open_picture(Path(self.image_folder) / row["image"])
            sample["pixel_values"] = square_pixels(picture, self.image_processor)
        return sample


def read_samples(config: Config, only_some: bool) -> Samples:
    """Tokens and labels of the samples that a config trains on, which are then in the cache.

    Args:
        only_some: of some records, drawn at random, and nothing is kept.
    """
    tokenizer = load_tokenizer(Path(config.llm), name=f"llm = {config.llm}", remedy="prepare it again")
    patches = _patches(config.vision_tower)
    if only_some:
        rows = load_records(config.data_path)
        if len(rows) > RECORDS_DRAWN:
            rows = random.Random(0).sample(rows, RECORDS_DRAWN)
        table = tokenize_records(rows, tokenizer, patches, config.max_length)
    else:
        table = prepared_tokens(config.data_path, tokenizer, patches, config.max_length)
    plain = table.with_format(None)
    return Samples(sample_lengths(table), list(plain["supervised"]), sum(plain["like_base"]))


def _patches(vision_tower: str | None) -> int:
    """Positions that a picture takes; 0 without a vision tower."""
    return 0 if vision_tower is None else tokens_per_image(CLIPVisionConfig.from_pretrained(vision_tower))


def sample_lengths(tokens: datasets.Dataset) -> list[int]:
    """Tokens of each sample, picture positions included; negative for text only."""
    plain = tokens.with_format(None)
    lengths, images = plain["length"], plain["image"]
    return [-n if image is None else n for n, image in zip(lengths, images, strict=True)]


def prepared_tokens(
    data_path: str | Path, tokenizer: PreTrainedTokenizerBase, patches: int, max_length: int
) -> datasets.Dataset:
    """`tokenize_records` from the cache, where the same data, tokenizer, settings and code were there before.

    It may be deleted at any time (`tokens-*`) when no run reads it.
    """
    digest = hashlib.sha256(f"{patches} {max_length} {tokenizer.chat_template}".encode())
    for source in (conversation, load, records):  # what would render otherwise after an update
        digest.update(Path(str(source.__file__)).read_bytes())
    digest.update(Path(__file__).read_bytes())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    with Path(data_path).open("rb") as file:
        while block := file.read(2**24):
            digest.update(block)

    def build(directory: Path) -> None:
        rows = load_records(data_path)
        tokenize_records(rows, tokenizer, patches, max_length).save_to_disk(str(directory))

    directory = build_once(f"tokens-{digest.hexdigest()[:20]}", build)
    return datasets.load_from_disk(str(directory)).with_format("numpy")


def tokenize_records(
    data: Sequence[Record], tokenizer: PreTrainedTokenizerBase, patches: int, max_length: int
) -> datasets.Dataset:
    """Rows of input_ids, labels, image, length, supervised and like_base.

    A picture is one IMAGE_TOKEN_INDEX here, whatever positions it takes; `length` counts them. Left out is
    what has nothing to learn after truncation.
    """
    rows = [json.dumps(record.to_dict()) for record in data]
    table = datasets.Dataset.from_dict({"record": rows})
    workers = max(1, min(os.cpu_count() or 1, len(rows) // RECORDS_PER_WORKER))
    ids = datasets.List(datasets.Value("int32"))
    table = table.map(
        _tokenize,
        fn_kwargs={"tokenizer": tokenizer, "patches": patches, "max_length": max_length},
        remove_columns=["record"],
        features=datasets.Features(
            input_ids=ids,
            labels=ids,
            image=datasets.Value("string"),
            length=datasets.Value("int32"),
            supervised=datasets.Value("int32"),
            like_base=datasets.Value("bool"),
        ),
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
    if pictures and pictures % patches:  # cut inside the picture (a record has one): end before it
        rendered = rendered.truncated(rendered.input_ids.index(IMAGE_TOKEN_INDEX))
        pictures = 0
    ids, labels = rendered.input_ids, rendered.labels
    if pictures:
        first = ids.index(IMAGE_TOKEN_INDEX)
        ids = ids[: first + 1] + ids[first + patches :]
        labels = labels[: first + 1] + labels[first + patches :]
    return {
        "input_ids": ids,
        "labels": labels,
        "image": record.image if pictures else None,
        "length": len(rendered.input_ids),
        "supervised": sum(label != IGNORE_INDEX for label in labels),
        "like_base": record.like_base,
    }


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Samples one behind the other in one row, without padding.

    All that the forward pass would have to look for on the GPU, and wait for, is found here.

    Returns:
        `data`: `input_ids` and `position_ids`, each (1, tokens), positions starting at 0 in every sample;
        `supervised` and `targets`, where a label comes next and which; `cu_seqlens` (samples + 1) int32,
        where each sample starts, and the number of tokens at the end; `max_seqlen`, the longest in tokens;
        where padding costs attention little `padded_grid` and `padded_slots` (see `attention.Layout`); and
        when there are pictures `pixel_values` (pictures, 3, side, side) and `picture_positions`, the tokens
        that they take; and where samples are marked `like_base`, `base_row`, those alone as such a row, and
        which of the supervised positions are theirs, `like_base_at`, and which are not, `by_token_at`.
    """
    data = _row(samples)
    pictures = [sample["pixel_values"] for sample in samples if "pixel_values" in sample]
    if pictures:
        data["pixel_values"] = torch.stack(pictures)
        data["picture_positions"] = (data["input_ids"][0] == IMAGE_TOKEN_INDEX).nonzero()[:, 0]
    marked = torch.tensor([sample.get("like_base", False) for sample in samples])
    if marked.any():
        data["base_row"] = _row([sample for sample in samples if sample.get("like_base")])
        sample_of = torch.searchsorted(data["cu_seqlens"], data["supervised"], right=True) - 1
        data["like_base_at"] = marked[sample_of].nonzero()[:, 0]
        data["by_token_at"] = (~marked[sample_of]).nonzero()[:, 0]
    return {"data": data, "data_samples": None}


def _row(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The tokens of a packed row, and where they belong; see `collate`."""
    ids = torch.cat([torch.as_tensor(sample["input_ids"]) for sample in samples])
    labels = torch.cat([torch.as_tensor(sample["labels"]) for sample in samples])
    lengths = torch.tensor([len(sample["input_ids"]) for sample in samples])
    starts = functional.pad(lengths.cumsum(0), (1, 0))
    labels[starts[:-1]] = IGNORE_INDEX  # the sample before must not learn to predict it
    supervised = (labels[1:] != IGNORE_INDEX).nonzero()[:, 0]
    data = {
        "input_ids": ids[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths.tolist()])[None],
        "supervised": supervised,
        "targets": labels[supervised + 1],
        "cu_seqlens": starts.int(),
        "max_seqlen": int(lengths.max()),
    }
    return data | _padded_layout(lengths)


def _padded_layout(lengths: torch.Tensor) -> dict[str, torch.Tensor]:
    longest = -(-int(lengths.max()) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    if len(lengths) * longest**2 > PADDING_PAYS * int((lengths**2).sum()):
        return {}
    place = torch.arange(longest)
    real = place < lengths[:, None]  # (samples, longest)
    starts = lengths.cumsum(0) - lengths
    return {
        "padded_grid": torch.where(real, starts[:, None] + place, -1),
        "padded_slots": real.flatten().nonzero()[:, 0],
    }
