"""Captioned pictures, all of them in memory, as a CLIP trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerBase
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tuning.data.everyday.names import has_a_colour, has_a_side
from llava_tuning.data.everyday.table import EverydayPicture, check_style, read_table
from llava_tuning.data.load import load_records
from llava_tuning.errors import UserError
from llava_tuning.models.pictures import open_picture
from llava_tuning.training.clip.augment import place, shift
from llava_tuning.training.clip.processes import Processes
from llava_tuning.training.clip.settings import TEXT_LENGTH


@dataclass
class Pool:
    """Pictures of one kind, a caption each."""

    pictures: torch.Tensor  # uint8, of records (n, 3, side, side), of drawings RGBA: (n, 4, side, side)
    captions: list[str]
    tokens: torch.Tensor  # (n, TEXT_LENGTH)
    caption_ids: torch.Tensor  # (n,), the same for the same caption within the pool
    sided: torch.Tensor | None = None  # of drawings, (n,) bool: in a mirror it would be another thing
    coloured: torch.Tensor | None = None  # of drawings, (n,) bool: in another hue it would be another thing

    def __len__(self) -> int:
        return len(self.captions)

    def to(self, device: str) -> Pool:
        """On the device that trains, where they are varied too."""
        sided, coloured = (None if of is None else of.to(device) for of in (self.sided, self.coloured))
        tokens, ids = self.tokens.to(device), self.caption_ids.to(device)
        return Pool(self.pictures.to(device), self.captions, tokens, ids, sided, coloured)

    def varied(self, chosen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The chosen pictures, each time a little different: float (chosen, 3, side, side), 0 to 1."""
        if self.sided is None or self.coloured is None:
            return shift(self.pictures[chosen], generator)
        return place(self.pictures[chosen], self.sided[chosen], self.coloured[chosen], generator)


def record_pool(
    data: Sequence[tuple[Path, Path]],
    processor: LlavaImageProcessorPil,
    tokenizer: PreTrainedTokenizerBase,
    processes: Processes,
) -> Pool:
    """Pictures of (records file, image folder) pairs; a caption is a record's first answer.

    Of several processes each reads its part of the pictures, see `Processes.together`.

    Raises:
        UserError: no record has a picture and a caption.
    """
    paths, captions = [], []
    for file, folder in data:
        for record in load_records(file):
            answers = [turn.value for turn in record.conversations if turn.from_ == "gpt"]
            if record.image is not None and answers:
                paths.append(Path(folder) / record.image)
                captions.append(answers[0])
    if not paths:
        raise UserError(f"{', '.join(str(file) for file, _ in data)}: no record has a picture and a caption")
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(_Resize(processor), processes.share(paths), chunksize=64))
    side = processor.crop_size["height"]
    mine = torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, 3, side, side, dtype=torch.uint8)
    return Pool(mine, captions, *tokenise(captions, tokenizer))


def everyday_pools(
    folder: Path, side: int, held_out_style: str | None, tokenizer: PreTrainedTokenizerBase
) -> tuple[Pool, Pool | None]:
    """The pictures to train on of a folder of everyday pictures, and those of the style that is held out.

    Raises:
        UserError: no such folder, or no picture of that style or none to train on.
    """
    table = read_table(folder)
    if held_out_style is not None:
        check_style(folder, table, held_out_style)
    held_out = [row for row in table if row.style == held_out_style]
    trained = [row for row in table if row.split == "train" and row.style != held_out_style]
    if not trained:
        raise UserError(f"{folder}: no picture is for training; build it again")
    pools = [_everyday(folder, rows, side, tokenizer) if rows else None for rows in (trained, held_out)]
    assert pools[0] is not None
    return pools[0], pools[1]


def _everyday(
    folder: Path, rows: list[EverydayPicture], side: int, tokenizer: PreTrainedTokenizerBase
) -> Pool:
    with ProcessPoolExecutor() as pool:
        pictures = list(pool.map(_Shrink(side), [folder / row.file for row in rows], chunksize=64))
    captions = [row.name.lower() for row in rows]
    sided, coloured = (torch.tensor([has(row.name) for row in rows]) for has in (has_a_side, has_a_colour))
    tokens, ids = tokenise(captions, tokenizer)
    return Pool(torch.from_numpy(np.stack(pictures)), captions, tokens, ids, sided, coloured)


class _Resize:
    """One picture as uint8 (3, side, side); a class, so that worker processes can receive it."""

    def __init__(self, processor: LlavaImageProcessorPil) -> None:
        self.processor = processor

    def __call__(self, path: Path) -> np.ndarray:
        pixels = self.processor(open_picture(path), do_rescale=False, do_normalize=False, return_tensors="np")
        return np.clip(np.round(pixels["pixel_values"][0]), 0, 255).astype(np.uint8)


class _Shrink:
    """One drawing as uint8 (4, side, side), RGBA."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, path: Path) -> np.ndarray:
        with Image.open(path) as picture:
            small = picture.convert("RGBA").resize((self.side, self.side), Image.Resampling.LANCZOS)
        return np.asarray(small).transpose(2, 0, 1)


def tokenise(captions: list[str], tokenizer: PreTrainedTokenizerBase) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, TEXT_LENGTH) ids closed and padded with 0, and an id for each distinct caption (n,)."""
    out = torch.zeros(len(captions), TEXT_LENGTH, dtype=torch.long)
    for row, ids in enumerate(tokenizer(captions, add_special_tokens=False)["input_ids"]):
        ids = ids[: TEXT_LENGTH - 1]
        out[row, : len(ids)] = torch.tensor(ids)
    _, distinct = torch.unique(out, dim=0, return_inverse=True)
    return out, distinct


def batch_indices(
    step: int, batch: int, count: int, seed: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Which pictures of a pool a step takes: each once in an epoch, in an order of its own."""
    per_epoch = count // batch
    epoch, position = divmod(step, per_epoch)
    order = _order(count, seed * 1_000_003 + epoch, torch.device(device))
    return order[position * batch : (position + 1) * batch]


@lru_cache(maxsize=4)
def _order(count: int, seed: int, device: torch.device) -> torch.Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).to(device)
