"""Records become token ids, labels and pixels, and none of them is lost or cut unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS
from xtuner.registry import BUILDER
from xtuner.utils import IGNORE_INDEX, IMAGE_TOKEN_INDEX

from llava_tuning.data.load import load_records
from llava_tuning.models.conversation import Rendered, render_conversation
from llava_tuning.models.llava import load_image_processor
from llava_tuning.models.pictures import open_picture
from llava_tuning.training import dataset as dataset_module
from llava_tuning.training.dataset import RecordsDataset, collate

PATCHES = 16


@pytest.fixture
def make(data: Path, llm: Path, vision_tower: Path) -> Callable[..., RecordsDataset]:
    def build(max_length: int, file: str = "mixed.json") -> RecordsDataset:
        return RecordsDataset(str(data / file), str(data), str(llm), str(vision_tower), max_length)

    return build


@pytest.fixture
def rendered(data: Path, dataset: RecordsDataset) -> list[Rendered]:
    """Each record of `mixed.json` as chat and evaluation would render it."""
    return [
        render_conversation(
            dataset.tokenizer, record.messages(), image_token_id=IMAGE_TOKEN_INDEX, tokens_per_image=PATCHES
        )
        for record in load_records(data / "mixed.json")
    ]


def test_ids_and_labels_are_those_of_render_conversation(
    dataset: RecordsDataset, rendered: list[Rendered]
) -> None:
    assert len(dataset) == len(rendered) == 14
    for sample, expected in zip(dataset, rendered, strict=True):
        assert sample["input_ids"].tolist() == expected.input_ids
        assert sample["labels"].tolist() == expected.labels


def test_a_first_record_without_picture_costs_no_other_its_picture(
    dataset: RecordsDataset, data: Path, vision_tower: Path
) -> None:
    records = load_records(data / "mixed.json")
    assert records[0].image is None
    assert sum(record.image is not None for record in records) == 10
    processor = load_image_processor(vision_tower)
    for sample, record in zip(dataset, records, strict=True):
        positions = int((sample["input_ids"] == IMAGE_TOKEN_INDEX).sum())
        assert positions == (0 if record.image is None else PATCHES)
        assert ("pixel_values" in sample) == (record.image is not None)
        if record.image is not None:
            picture = open_picture(data / record.image)
            expected = processor(picture, do_rescale=False, do_normalize=False, return_tensors="np")
            assert np.array_equal(sample["pixel_values"].numpy(), expected["pixel_values"][0])


def test_the_key_image_may_be_missing(data: Path, make: Callable[..., RecordsDataset]) -> None:
    rows = json.loads((data / "mixed.json").read_text())
    rows[0].pop("image")
    (data / "keyless.json").write_text(json.dumps(rows))
    assert [n > 0 for n in make(1024, "keyless.json").modality_length] == [False, *[True] * 10, *[False] * 3]


def test_lengths_are_what_the_model_reads_and_negative_for_text_only(
    dataset: RecordsDataset, rendered: list[Rendered]
) -> None:
    lengths = [len(row.input_ids) for row in rendered]
    assert [abs(n) for n in dataset.modality_length] == lengths
    assert [n < 0 for n in dataset.modality_length] == [True, *[False] * 10, *[True] * 3]


def test_truncation_counts_picture_positions(
    make: Callable[..., RecordsDataset], rendered: list[Rendered]
) -> None:
    short = make(150)
    assert len(short) == 14
    for sample, whole in zip(short, rendered, strict=True):
        assert sample["input_ids"].tolist() == whole.input_ids[:150]
        assert sample["labels"].tolist() == whole.labels[:150]
    assert max(map(abs, short.modality_length)) == 150


@pytest.mark.parametrize("max_length", [12, 45])
def test_records_that_are_cut_before_their_answer_are_left_out(
    max_length: int, make: Callable[..., RecordsDataset], rendered: list[Rendered]
) -> None:
    """12 tokens end inside the picture, 45 inside the question about it; the texts' answers start at 40."""
    expected = [
        row.input_ids[:max_length]
        for row in rendered
        if any(label != IGNORE_INDEX for label in row.labels[:max_length])
    ]
    assert len(expected) == (0 if max_length == 12 else 4)
    assert [sample["input_ids"].tolist() for sample in make(max_length)] == expected


def test_a_record_that_is_cut_inside_its_picture_ends_before_it(
    data: Path, make: Callable[..., RecordsDataset]
) -> None:
    """The picture comes with the second question, so the first answer is still there to learn from."""
    row = json.loads((data / "pretrain.json").read_text())[0]
    hello = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]
    row["conversations"] = [*hello, *row["conversations"]]
    (data / "late.json").write_text(json.dumps([row]))
    whole = make(1024, "late.json")[0]
    at = whole["input_ids"].tolist().index(IMAGE_TOKEN_INDEX)
    for max_length in (at, at + 1, at + PATCHES - 1):
        (sample,) = make(max_length, "late.json")
        assert set(sample) == {"input_ids", "labels"}
        assert all(torch.equal(values, whole[name][:at]) for name, values in sample.items())
    (sample,) = make(at + PATCHES, "late.json")
    assert len(sample["input_ids"]) == at + PATCHES and "pixel_values" in sample


def test_a_batch_is_one_row_without_padding(dataset: RecordsDataset) -> None:
    samples = [dataset[0], dataset[1], dataset[2]]
    batch: dict[str, Any] = collate(samples)["data"]
    assert batch["pixel_values"].shape == (2, 3, 32, 32)
    assert torch.equal(batch["pixel_values"][1], samples[2]["pixel_values"])
    lengths = [len(sample["input_ids"]) for sample in samples]
    assert batch["cu_seqlens"].tolist() == [0, lengths[0], lengths[0] + lengths[1], sum(lengths)]
    assert batch["cu_seqlens"].dtype == torch.int32
    assert batch["max_seqlen"] == max(lengths)
    ids, labels = (torch.cat([sample[name] for sample in samples]) for name in ("input_ids", "labels"))
    assert torch.equal(batch["input_ids"], ids[None])
    assert torch.equal(batch["supervised"] + 1, (labels != IGNORE_INDEX).nonzero()[:, 0])
    assert torch.equal(batch["targets"], labels[labels != IGNORE_INDEX])
    assert torch.equal(batch["picture_positions"], (ids == IMAGE_TOKEN_INDEX).nonzero()[:, 0])
    assert batch["position_ids"].tolist() == [[i for length in lengths for i in range(length)]]
    assert "pixel_values" not in collate([dataset[0], dataset[11]])["data"]


def test_no_sample_is_trained_on_its_first_token() -> None:
    """It would be predicted from the sample before it."""
    sample = {"input_ids": [7, 8], "labels": [7, 8]}
    data = collate([sample, sample])["data"]
    assert (data["supervised"].tolist(), data["targets"].tolist()) == ([0, 2], [8, 8])


@pytest.mark.parametrize("file", ["mixed.json", "texts.json", "pretrain.json"])
def test_the_sampler_of_stage_2_takes_every_record_once(
    file: str, data: Path, load_config: Callable[..., Config]
) -> None:
    """Also where all records are text, or all have pictures."""
    config = load_config("lora", data_path=data / file)
    built: Any = BUILDER.build(config.train_dataloader.dataset)
    sampler = DATA_SAMPLERS.build(config.train_dataloader.sampler, default_args={"dataset": built, "seed": 0})
    assert sorted(sampler) == list(range(len(built)))


def test_tokens_are_made_once_for_the_same_data_and_settings(
    make: Callable[..., RecordsDataset], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [sample["input_ids"] for sample in make(200)]

    def forbidden(*_: object) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(dataset_module, "tokenize_records", forbidden)
    for sample, expected in zip(make(200), first, strict=True):
        assert torch.equal(sample["input_ids"], expected)
    with pytest.raises(AssertionError, match="tokenised again"):
        make(201)
    rows = json.loads((data / "mixed.json").read_text())
    (data / "fewer.json").write_text(json.dumps(rows[:-1]))
    with pytest.raises(AssertionError, match="tokenised again"):
        make(200, "fewer.json")


def test_a_picture_takes_one_place_in_the_cache(dataset: RecordsDataset) -> None:
    row = dataset.text_data[1]
    assert (row["input_ids"] == IMAGE_TOKEN_INDEX).sum() == 1
    assert len(row["input_ids"]) == len(row["labels"]) == row["length"] - PATCHES + 1


def test_samples_of_like_length_are_given_a_padded_layout_for_attention(dataset: RecordsDataset) -> None:
    alike = collate([dataset[4]] * 3)["data"]
    starts = alike["cu_seqlens"].tolist()
    grid, slots = alike["padded_grid"], alike["padded_slots"]
    assert grid.shape[0] == 3 and grid.shape[1] % 64 == 0
    for row, start, end in zip(grid.tolist(), starts, starts[1:], strict=False):
        assert row == [*range(start, end), *[-1] * (grid.shape[1] - (end - start))]
    assert torch.equal(grid.flatten()[slots], torch.arange(starts[-1]))
    assert "padded_grid" not in collate([dataset[0], dataset[4]])["data"]
