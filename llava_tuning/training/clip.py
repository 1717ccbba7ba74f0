"""Train a small CLIP on captioned pictures with transformers' own `CLIPModel`, and keep its vision tower.

Contrastive loss as in CLIP (arXiv:2103.00020), with one change: pictures of a batch that share a caption are
all right for it, so their targets share the probability (plain CLIP would push them apart).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerBase,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from llava_tuning.data.load import load_records
from llava_tuning.errors import UserError
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.tokenizer import load_tokenizer
from llava_tuning.training.places import check_place

TEXT_LENGTH = 64  # tokens of a caption that the text side reads
STATE_FILE = "train_state.pt"
HEAD_WIDTH = 64  # of an attention head, as in every CLIP of OpenAI's
SHIFT = 0.06  # pictures are moved by up to this share of their side while training


@dataclass(frozen=True)
class ClipSettings:
    """Size of the model and of the run; `image_size` and `patch_size` in pixels."""

    image_size: int = 96
    patch_size: int = 16
    width: int = 256
    layers: int = 6
    heads: int = 4
    epochs: float = 20
    batch_size: int = 256
    lr: float = 5e-4
    weight_decay: float = 0.1
    warmup_ratio: float = 0.05
    seed: int = 0


def train_clip(
    data: Sequence[tuple[Path, Path]],
    out: Path,
    tokenizer_directory: Path,
    settings: ClipSettings,
    resume: bool = False,
) -> dict[str, float]:
    """Train on (records file, image folder) pairs; writes vision tower and picture processor to `out`.

    Returns:
        loss and retrieval accuracy (the right caption first, within a batch) over the last 50 steps.

    Raises:
        UserError: sizes do not divide, `out` cannot be written, no tokenizer, no captioned picture, or
            nothing to resume from.
    """
    _check_settings(settings)
    check_place(out)
    tokenizer = _load_tokenizer(tokenizer_directory)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(settings.seed)
    model: Any = CLIPModel(_config(settings, len(tokenizer)))
    model.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    start = _resume(out, model, optimizer, device, settings) if resume else 0
    processor = picture_processor(settings.image_size)
    pictures, captions = _load(data, processor)
    tokens, caption_ids = _tokenise(captions, tokenizer)
    batch = min(settings.batch_size, len(captions))
    steps = max(1, int(settings.epochs * (len(captions) // batch)))
    history: list[tuple[float, float]] = []
    saved = time.monotonic()
    columns = (
        TextColumn("train-clip"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("train", total=steps, completed=start, state="")
        for step in range(start, steps):
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * _cosine(step, steps, settings.warmup_ratio)
            chosen = _batch_indices(step, batch, len(captions), settings.seed)
            pixels = _augment(pictures[chosen].to(device), processor, settings.seed + step)
            text = tokens[chosen].to(device)
            ids = caption_ids[chosen].to(device)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
                logits = model(input_ids=text, pixel_values=pixels).logits_per_image.float()
            loss, accuracy = contrastive_loss(logits, ids)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(max=math.log(100))
            history.append((loss.item(), accuracy.item()))
            progress.update(task, completed=step + 1, state=f"loss {loss:.3f}  right caption {accuracy:.0%}")
            if time.monotonic() - saved > 60:
                _save_state(out, model, optimizer, step + 1, settings)
                saved = time.monotonic()
    scores = {
        "loss": float(np.mean([h[0] for h in history[-50:]] or [math.nan])),
        "retrieval_accuracy": float(np.mean([h[1] for h in history[-50:]] or [math.nan])),
    }
    _save(out, model, processor, settings, scores, len(captions))
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


def picture_processor(side: int) -> LlavaImageProcessorPil:
    """Pad to a square, resize to `side` pixels, normalise with CLIP's mean and deviation."""
    return LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )


def _check_settings(settings: ClipSettings) -> None:
    side, patch = settings.image_size, settings.patch_size
    if side % patch:
        below = side // patch * patch
        near = f"{below} or {below + patch}" if below else str(patch)
        raise UserError(f"image size {side} is no multiple of patch size {patch}; choose {near}")
    if settings.width % settings.heads:
        raise UserError(
            f"{settings.heads} heads do not divide width {settings.width}; choose a multiple of {HEAD_WIDTH}"
        )
    for name, value in (("epochs", settings.epochs), ("lr", settings.lr)):
        if not 0 < value < math.inf:  # written so that NaN fails too
            raise UserError(f"--{name} {value}: give a number above 0")


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


def _config(settings: ClipSettings, vocabulary: int) -> CLIPConfig:
    shared: dict[str, Any] = {
        "hidden_size": settings.width,
        "intermediate_size": 4 * settings.width,
        "num_attention_heads": settings.heads,
        "projection_dim": settings.width,
    }
    # Id 0 closes every caption. (An eos id of 2 would switch transformers to the first CLIP's pooling.)
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        num_hidden_layers=4,
        max_position_embeddings=TEXT_LENGTH,
        eos_token_id=0,
        bos_token_id=1,
        pad_token_id=0,
        **shared,
    )
    vision = CLIPVisionConfig(
        num_hidden_layers=settings.layers,
        image_size=settings.image_size,
        patch_size=settings.patch_size,
        **shared,
    )
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=settings.width)


def _load(
    data: Sequence[tuple[Path, Path]], processor: LlavaImageProcessorPil
) -> tuple[torch.Tensor, list[str]]:
    """All pictures, resized, as uint8 (n, 3, side, side), and their captions (the records' first answers)."""
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
        rows = list(pool.map(_Resize(processor), paths, chunksize=64))
    return torch.from_numpy(np.stack(rows)), captions


class _Resize:
    """One picture as uint8 (3, side, side); a class, so that worker processes can receive it."""

    def __init__(self, processor: LlavaImageProcessorPil) -> None:
        self.processor = processor

    def __call__(self, path: Path) -> np.ndarray:
        pixels = self.processor(open_picture(path), do_rescale=False, do_normalize=False, return_tensors="np")
        return np.clip(np.round(pixels["pixel_values"][0]), 0, 255).astype(np.uint8)


def _tokenise(captions: list[str], tokenizer: PreTrainedTokenizerBase) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, TEXT_LENGTH) ids closed and padded with 0, and an id for each distinct caption (n,)."""
    out = torch.zeros(len(captions), TEXT_LENGTH, dtype=torch.long)
    for row, ids in enumerate(tokenizer(captions, add_special_tokens=False)["input_ids"]):
        ids = ids[: TEXT_LENGTH - 1]
        out[row, : len(ids)] = torch.tensor(ids)
    _, distinct = torch.unique(out, dim=0, return_inverse=True)
    return out, distinct


def _batch_indices(step: int, batch: int, count: int, seed: int) -> torch.Tensor:
    per_epoch = count // batch
    epoch, position = divmod(step, per_epoch)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
    return order[position * batch : (position + 1) * batch]


def _augment(pictures: torch.Tensor, processor: LlavaImageProcessorPil, seed: int) -> torch.Tensor:
    """Shift each picture a little (edges repeat), vary brightness; normalised float (batch, 3, side, side).

    No flips: captions say left and right.
    """
    generator = torch.Generator().manual_seed(seed)
    count, _, side, _ = pictures.shape
    device = pictures.device
    reach = max(1, round(SHIFT * side))
    offsets = torch.randint(-reach, reach + 1, (2, count, 1), generator=generator).to(device)
    line = torch.arange(side, device=device)[None]
    rows, columns = (
        (line + offsets[0]).clamp(0, side - 1),
        (line + offsets[1]).clamp(0, side - 1),
    )  # (batch, side)
    moved = pictures.gather(2, rows[:, None, :, None].expand_as(pictures))
    moved = moved.gather(3, columns[:, None, None, :].expand_as(pictures)).float() / 255
    light = (0.9 + 0.2 * torch.rand(count, 1, 1, 1, generator=generator)).to(device)
    mean = torch.tensor(processor.image_mean, device=device)[:, None, None]
    deviation = torch.tensor(processor.image_std, device=device)[:, None, None]
    return ((moved * light).clamp(0, 1) - mean) / deviation


def _cosine(step: int, steps: int, warmup_ratio: float) -> float:
    warmup = max(1, int(steps * warmup_ratio))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _save_state(
    out: Path, model: CLIPModel, optimizer: torch.optim.Optimizer, step: int, settings: ClipSettings
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    part = out / f"{STATE_FILE}.part"
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save({**state, "settings": asdict(settings)}, part)
    part.replace(out / STATE_FILE)


def _resume(
    out: Path, model: CLIPModel, optimizer: torch.optim.Optimizer, device: str, settings: ClipSettings
) -> int:
    if not (out / STATE_FILE).is_file():
        raise UserError(f"--resume: {out} holds no {STATE_FILE}; start without --resume")
    try:
        state = torch.load(out / STATE_FILE, map_location=device, weights_only=True)
        before: dict[str, Any] = state["settings"]
    except Exception as error:  # torch and pickle raise many kinds for damaged files
        reason = str(error).partition("\n")[0][:200]
        raise UserError(
            f"--resume: {out / STATE_FILE} is damaged ({reason}); delete it and start without --resume"
        ) from None
    changed = [name for name, value in asdict(settings).items() if before.get(name) != value]
    if changed:
        was = ", ".join(f"{name} {before.get(name)} (now {getattr(settings, name)})" for name in changed)
        raise UserError(f"--resume: {out} was begun with {was}; give the same, or start without --resume")
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError):  # the vocabulary alone is left to differ
        raise UserError(
            f"--resume: {out} was begun with another tokenizer; give the same, or start without --resume"
        ) from None
    return int(state["step"])


def _save(
    out: Path,
    model: CLIPModel,
    processor: LlavaImageProcessorPil,
    settings: ClipSettings,
    scores: dict[str, float],
    pictures: int,
) -> None:
    shape: Any = model.config.vision_config
    tower: Any = CLIPVisionModel(shape)
    source = getattr(model.vision_model, "vision_model", model.vision_model)
    target = getattr(tower, "vision_model", tower)
    target.load_state_dict(source.state_dict(), strict=True)
    tower.to(torch.bfloat16).save_pretrained(out)
    processor.save_pretrained(out)
    about = {"settings": asdict(settings), "pictures": pictures, **scores}
    (out / "train_clip.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (out / STATE_FILE).unlink(missing_ok=True)
