"""Train a small CLIP on captioned pictures with transformers' own `CLIPModel`, and keep its vision tower.

Contrastive loss as in CLIP (arXiv:2103.00020), with one change: pictures of a batch that share a caption are
all right for it, so their targets share the probability (plain CLIP would push them apart).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional
from transformers import CLIPModel, PreTrainedTokenizerBase
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tuning.errors import UserError
from llava_tuning.models.precision import fast_dtype
from llava_tuning.models.tokenizer import load_tokenizer
from llava_tuning.training.clip.features import caption_features, picture_features
from llava_tuning.training.clip.pools import Pool, batch_indices, everyday_pools, record_pool
from llava_tuning.training.clip.processes import Processes
from llava_tuning.training.clip.settings import ClipSettings, Pooling, check_settings, clip_config
from llava_tuning.training.clip.state import resume_state, save_state, save_tower
from llava_tuning.training.layers import COMPILED_FROM, can_compile
from llava_tuning.training.places import check_place


def train_clip(
    data: Sequence[tuple[Path, Path]],
    out: Path,
    tokenizer_directory: Path,
    settings: ClipSettings,
    resume: bool = False,
    everyday: Path | None = None,
) -> dict[str, float]:
    """Train on (records file, image folder) pairs and everyday pictures; writes the vision tower to `out`.

    An epoch is a pass over the records, or over the everyday pictures where there are none. Processes that
    torchrun started share each batch: every picture is told from all captions of the batch, as on one.

    Returns:
        loss and retrieval accuracy (the right caption first, within a batch) over the last 50 steps; with a
        held-out style its accuracy by name, among all names of its pictures.

    Raises:
        UserError: sizes do not divide, `out` cannot be written, no tokenizer, no captioned picture, or
            nothing to resume from.
    """
    check_settings(settings)
    check_place(out)
    tokenizer = _load_tokenizer(tokenizer_directory)
    processes = Processes.joined()
    device = processes.device
    kind = torch.device(device).type
    autocast = fast_dtype(kind) == torch.bfloat16  # float16 would need its gradients scaled
    torch.manual_seed(settings.seed)
    model: Any = CLIPModel(clip_config(settings, len(tokenizer)))
    model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.98),
        fused=kind == "cuda",
    )
    start = resume_state(out, model, optimizer, device, settings) if resume else 0
    processor = picture_processor(settings.image_size)
    pools, held_out = _pools(data, everyday, settings, processor, tokenizer, processes)
    pools = [(pool.to(device), size) for pool, size in pools]
    held_out = held_out and held_out.to(device)
    steps = max(1, int(settings.epochs * (len(pools[0][0]) // pools[0][1])))
    if steps - start >= COMPILED_FROM and can_compile():
        _compile_layers(model)
    history: deque[torch.Tensor] = deque(maxlen=50)  # (loss, accuracy) of the last steps
    saved, named = time.monotonic(), ""
    columns = (
        TextColumn("train-clip"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not processes.first) as progress:
        task = progress.add_task("train", total=steps, completed=start, state="")
        for step in range(start, steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * _cosine(step, steps, settings.warmup_ratio)
            pixels, text, ids = _batch(pools, step, settings.seed, processes)
            with torch.autocast(kind, dtype=torch.bfloat16, enabled=autocast):
                seen = picture_features(model, _normalised(pixels, processor), settings.pooling)
                said = caption_features(model, text)
            logits = model.logit_scale.exp() * processes.gathered(seen) @ processes.gathered(said).T
            loss, accuracy = contrastive_loss(logits, ids)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            processes.mean_gradients(model.parameters())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(max=math.log(100))
            history.append(torch.stack([loss.detach(), accuracy]))
            due = processes.first and time.monotonic() - saved > 60
            if kind == "cpu" or due or step % 10 == 9 or step + 1 == steps:  # a GPU waits while it is read
                state = "loss {:.3f}  right caption {:.0%}".format(*history[-1].tolist())
                progress.update(task, completed=step + 1, state=state + named)
            if due:
                save_state(out, model, optimizer, step + 1, settings)
                if held_out is not None:
                    named = f"  held out {accuracy_by_name(model, held_out, processor, settings.pooling):.1%}"
                if not progress.console.is_terminal:  # a log has no bar
                    progress.console.print(f"step {step + 1:,} of {steps:,}  {state}{named}")
                saved = time.monotonic()
    last = torch.stack([*history]).mean(0).tolist() if history else [math.nan] * 2
    scores = dict(zip(("loss", "retrieval_accuracy"), last, strict=True))
    if held_out is not None:
        scores["held_out_accuracy"] = accuracy_by_name(model, held_out, processor, settings.pooling)
    if processes.first:
        save_tower(out, model, processor, settings, scores, sum(len(pool) for pool, _ in pools))
    processes.leave()
    return scores


def contrastive_loss(logits: torch.Tensor, caption_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric cross-entropy of (batch, batch) picture-to-caption logits; equal captions share the target.

    Returns:
        loss, and the share of pictures whose likeliest caption is a right one.
    """
    same = (caption_ids[:, None] == caption_ids[None, :]).float()
    target = same / same.sum(dim=1, keepdim=True)
    loss = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.t(), target)
    right = same.gather(1, logits.argmax(dim=1, keepdim=True)).mean()
    return loss / 2, right


@torch.compiler.set_stance("force_eager")  # these batches have other shapes than those that train
@torch.no_grad()
def accuracy_by_name(
    model: Any, pool: Pool, processor: LlavaImageProcessorPil, pooling: Pooling, batch: int = 500
) -> float:
    """Share of the drawings, on white, that the model gives the right one of the pool's captions."""
    model.eval()
    _, first = np.unique(pool.caption_ids.cpu().numpy(), return_index=True)
    names = caption_features(model, pool.tokens[first])
    right = 0
    for begin in range(0, len(pool), batch):
        drawing = pool.pictures[begin : begin + batch].float() / 255
        pixels = drawing[:, :3] * drawing[:, 3:] + 1 - drawing[:, 3:]
        seen = picture_features(model, _normalised(pixels, processor), pooling)
        found = (seen @ names.T).argmax(1)
        right += int((found == pool.caption_ids[begin : begin + batch]).sum())
    model.train()
    return right / len(pool)


def _compile_layers(model: Any) -> None:
    """Compile what the layers of a tower share: all batches have one shape."""
    for part in model.modules():
        if isinstance(part, CLIPEncoderLayer):
            part.compile(dynamic=False)


def picture_processor(side: int) -> LlavaImageProcessorPil:
    """Pad to a square, resize to `side` pixels, normalise with CLIP's mean and deviation."""
    return LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )


def _load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    if not (directory / "tokenizer_config.json").is_file():  # transformers would ask the hub for the name
        raise UserError(
            f"--tokenizer {directory}: no such tokenizer directory (no tokenizer_config.json); name a "
            "prepared language model's"
        )
    tokenizer: PreTrainedTokenizerBase = load_tokenizer(
        directory, name=f"--tokenizer {directory}", remedy="name a prepared language model's directory"
    )
    return tokenizer


def _pools(
    data: Sequence[tuple[Path, Path]],
    everyday: Path | None,
    settings: ClipSettings,
    processor: LlavaImageProcessorPil,
    tokenizer: PreTrainedTokenizerBase,
    processes: Processes,
) -> tuple[list[tuple[Pool, int]], Pool | None]:
    """Each pool with its pictures in a step, the one whose passes are counted first; and what is held out.

    Raises:
        UserError: nothing to train on, or processes that do not divide the pictures of a step.
    """
    found: list[tuple[Pool, int]] = []
    held_out = None
    share = settings.everyday_share if data and everyday is not None else 1
    if data:
        pool = record_pool(data, processor, tokenizer, processes)
        size = settings.batch_size if everyday is None else round((1 - share) * settings.batch_size)
        found.append((pool, max(1, min(size, len(pool)))))
    if everyday is not None:
        pool, held_out = everyday_pools(everyday, settings.image_size, settings.held_out_style, tokenizer)
        found.append((pool, max(1, min(round(share * settings.batch_size), len(pool)))))
    if not found:
        raise UserError("nothing to train on; give files of records, or --everyday FOLDER, or both")
    uneven = [str(size) for _, size in found if size % processes.count]
    if uneven:  # a part left out would make another run, also of one that is resumed
        raise UserError(
            f"{processes.count} processes cannot share {' and '.join(uneven)} pictures of a batch evenly; "
            "start as many as divide that, or choose --batch-size and --everyday-share for them"
        )
    if data:
        pool = found[0][0]
        pool.pictures = processes.together(pool.pictures, len(pool))
    return found, held_out


def _batch(
    pools: list[tuple[Pool, int]], step: int, seed: int, processes: Processes
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """This process's pictures (0 to 1) and captions' tokens in a step; the whole batch's captions' ids.

    No two pools share an id. Ids stand as `Processes.gathered` joins what comes of pictures and tokens.
    """
    pixels, text = [], []
    ids: list[list[torch.Tensor]] = [[] for _ in range(processes.count)]
    offset = 0
    generator = torch.Generator().manual_seed((seed + step) * processes.count + processes.rank)
    for pool, size in pools:
        chosen = batch_indices(step, size, len(pool), seed, pool.pictures.device)
        parts = processes.parts(chosen)
        mine = parts[processes.rank]
        pixels.append(pool.varied(mine, generator))
        text.append(pool.tokens[mine])
        for of_one, part in zip(ids, parts, strict=True):
            of_one.append(pool.caption_ids[part] + offset)
        offset += len(pool)
    return torch.cat(pixels), torch.cat(text), torch.cat([part for of_one in ids for part in of_one])


def _normalised(pixels: torch.Tensor, processor: LlavaImageProcessorPil) -> torch.Tensor:
    mean, deviation = (
        _channels(tuple(of), pixels.device) for of in (processor.image_mean, processor.image_std)
    )
    return (pixels - mean) / deviation


@lru_cache
def _channels(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """(channels, 1, 1); kept, for a copy to the device in each step would keep a GPU waiting."""
    return torch.tensor(values, device=device)[:, None, None]


def _cosine(step: int, steps: int, warmup_ratio: float) -> float:
    warmup = max(1, int(steps * warmup_ratio))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
