"""What a run will do and need, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.config import Config
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from llava_tuning.models.llava import new_projector
from llava_tuning.training.estimate import (
    GIB,
    SIZES,
    Card,
    Load,
    Training,
    layers_recomputed,
    memory,
    seconds,
)


@dataclass(frozen=True)
class Samples:
    """Tokens of samples (negative for text only) and their positions with a label; all of them or some."""

    lengths: Sequence[int]
    supervised: Sequence[int]
    like_base: int = 0  # how many of them are learnt like the base model answers

    @property
    def load(self) -> Load:
        plain = [abs(length) for length in self.lengths]
        return Load.of(plain, self.supervised, sum(length > 0 for length in self.lengths))

    def largest_step(self, config: Config) -> Load:
        """The step that takes most memory."""
        plain = sorted(abs(length) for length in self.lengths)
        mean = self.load.times(1 / len(plain))
        if config.batch_tokens is not None:
            return mean.times(config.batch_tokens / mean.tokens)
        size = config.batch_size
        if config.stage == "finetune":  # samples of like length share a step
            longest = plain[-max(1, len(plain) // 200) :]
            tokens = size * sum(longest) / len(longest)
        else:
            spread = sum((length - mean.tokens) ** 2 for length in plain) / len(plain)
            tokens = min(size * plain[-1], size * mean.tokens + 3 * (size * spread) ** 0.5)
        pictures = size if mean.pictures else 0
        return Load(tokens, tokens**2 / size, mean.supervised * size, pictures)


@dataclass(frozen=True)
class Plan:
    """What a run will train and need."""

    records: int
    steps: int
    processes: int
    training: Training
    samples: Samples
    card: Card | None
    deepspeed: bool = False

    def describe(self, config: Config) -> str:
        """Lines for the terminal."""
        training, load = self.training, self.samples.load
        mean = load.tokens / len(self.samples.lengths)
        size = f"{config.batch_size} records"
        if config.batch_tokens is not None:
            size = f"up to {config.batch_tokens:,} tokens (about {config.batch_tokens / mean:.0f} records)"
        lines = [
            f"stage       {config.stage}: {_what_trains(config)}",
            f"parameters  {training.trained_parameters / 1e6:,.1f} M trained, "
            f"{training.frozen_parameters / 1e6:,.1f} M frozen",
            f"data        {self.records:,} records of {mean:,.0f} tokens on average, "
            f"{max(map(abs, self.samples.lengths)):,} at most",
            f"steps       {self.steps:,} of {size}"
            + (f" × {config.accumulative_counts} accumulated" if config.accumulative_counts > 1 else ""),
            *self._like_base(config),
            f"memory      {self._memory(config)}",
        ]
        if self.deepspeed:
            return "\n".join(lines)
        if self.card is not None:
            lines.append(f"card        {self._card(config, self.card)}")
        lines.append(f"GPU memory  {self._sizes(config)}")
        return "\n".join(lines)

    def _like_base(self, config: Config) -> list[str]:
        # Without an adapter, and in ZeRO-3, such records are learnt as any other.
        if not self.samples.like_base or config.llm_lora is None or self.deepspeed:
            return []
        share = self.samples.like_base / len(self.samples.lengths)
        return [
            f"like base   {share:.0%} of the records: read without the adapter too; estimates leave that out"
        ]

    def memory_bytes(self, config: Config, recomputed: int | None = None) -> float:
        """Peak memory of a process; by default with as many layers recomputed as the config says."""
        if recomputed is None:
            recomputed = self.training.text.num_hidden_layers if config.gradient_checkpointing is True else 0
        return memory(self.training, self.samples.largest_step(config), recomputed, self.processes)

    def _memory(self, config: Config) -> str:
        if self.deepspeed:
            return (
                f"{self.memory_bytes(config) / GIB:,.1f} GiB a process before DeepSpeed divides it (estimate)"
            )
        line = f"about {self.memory_bytes(config) / GIB:,.1f} GiB a process (estimate for a GPU)"
        if config.gradient_checkpointing == "auto":
            least = self.memory_bytes(config, self.training.text.num_hidden_layers)
            line += f"; {least / GIB:,.1f} GiB where every layer is computed again in the backward pass"
        return line

    def _recomputed(self, config: Config, gib: float) -> int | None:
        """Layers that are recomputed on a card of `gib`; None when the run does not fit."""
        layers = self.training.text.num_hidden_layers
        least = layers_recomputed(self.training, self.samples.largest_step(config), gib, self.processes)
        if least is None or config.gradient_checkpointing == "auto":
            return least
        chosen = layers if config.gradient_checkpointing else 0
        return chosen if least <= chosen else None

    def _card(self, config: Config, card: Card) -> str:
        if self.training.frozen_fp8 and not card.float8:
            return f"{card.name}: frozen_fp8 needs a Hopper GPU (H100); set it to False"
        gib = min(card.gib, config.memory_limit or card.gib)
        again = self._recomputed(config, gib)
        if again is None:
            return f"{card.name}, {gib:g} GiB: does not fit; {self._advice(config)}"
        step = self.samples.load.times(self.records / len(self.samples.lengths) / self.processes)
        share = again / self.training.text.num_hidden_layers
        fits = f"{card.name}, {gib:g} GiB: fits{_again(again, self.training)}"
        took = seconds(self.training, step, card, share, self._steps_an_epoch(config))
        return f"{fits}; an epoch takes about {_duration(took)} (estimate)"

    def _steps_an_epoch(self, config: Config) -> float:
        """Forward and backward passes of one process."""
        if config.batch_tokens is not None:
            mean = self.samples.load.tokens / len(self.samples.lengths)
            return self.records * mean / config.batch_tokens / self.processes
        return self.records / config.batch_size / self.processes

    @staticmethod
    def _advice(config: Config) -> str:
        size = "batch_size" if config.batch_tokens is None else "batch_tokens"
        auto = "" if config.gradient_checkpointing == "auto" else "set gradient_checkpointing=auto or "
        return f"{auto}lower {size} or max_length"

    def _sizes(self, config: Config) -> str:
        found = [(size, self._recomputed(config, size)) for size in SIZES]
        parts = [
            f"{size} GiB: " + ("no" if again is None else "yes" + _again(again, self.training))
            for size, again in found
        ]
        return "fits on " + " · ".join(parts)


def _duration(took: float) -> str:
    if took < 90:
        return f"{took:.0f} s"
    return f"{took / 60:.0f} min" if took < 90 * 60 else f"{took / 3600:.1f} h"


def _again(layers: int, training: Training) -> str:
    return f", {layers} of {training.text.num_hidden_layers} layers computed twice" if layers else ""


def plan(
    config: Config,
    records: int,
    steps: int,
    samples: Samples,
    processes: int = 1,
    card: Card | None = None,
    deepspeed: bool = False,
) -> Plan:
    """Count parameters on the meta device; `samples` are all of the data or some, drawn at random."""
    with torch.device("meta"):
        llm = LlamaForCausalLM(LlamaConfig.from_pretrained(config.llm))
    trained = frozen = 0
    lora: Any = config.llm_lora
    float8 = False if config.frozen_fp8 == "auto" else config.frozen_fp8
    training = Training(llm.config, four_bit=config.load_in_4bit, frozen_fp8=float8)
    if config.vision_tower is not None:
        with torch.device("meta"):
            vision = CLIPVisionModel(CLIPVisionConfig.from_pretrained(config.vision_tower))
            projector = new_projector(vision.config.hidden_size, llm.config.hidden_size)
        trained, frozen = count(projector), count(vision)
        training = replace(training, picture=vision.config)
        if config.visual_encoder_lora is not None:
            trained += lora_size(vision, config.visual_encoder_lora)
            training = replace(training, vision_rank=config.visual_encoder_lora["r"])
    if lora is not None:
        trained += lora_size(llm, lora)
        training = replace(training, rank=lora["r"], dropout=lora.get("lora_dropout", 0.0))
    if config.freeze_llm:
        frozen += count(llm)
    else:
        trained += count(llm)
        training = replace(training, full=lora is None)
    training = replace(training, trained_parameters=trained, frozen_parameters=frozen)
    return Plan(records, steps, processes, training, samples, card, deepspeed)


def count(module: torch.nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def lora_size(module: torch.nn.Module, lora: Any) -> int:
    """Parameters of the adapters that `lora` (peft's LoraConfig as a dict) puts on a module."""
    wanted = lora.get("target_modules")
    size = 0
    for name, part in module.named_modules():
        last = name.rsplit(".", 1)[-1]
        if isinstance(part, torch.nn.Linear) and last != "lm_head" and (not wanted or last in wanted):
            size += lora["r"] * (part.in_features + part.out_features)
    return size


def _what_trains(config: Config) -> str:
    parts = [] if config.vision_tower is None else ["projector"]
    if config.llm_lora is not None:
        kind = "QLoRA, 4-bit base" if config.load_in_4bit else "LoRA"
        parts.append(f"language model by {kind} (rank {config.llm_lora['r']})")
    elif not config.freeze_llm:
        parts.append("language model in full")
    if config.visual_encoder_lora is not None:
        parts.append(f"vision tower by LoRA (rank {config.visual_encoder_lora['r']})")
    return ", ".join(parts)
