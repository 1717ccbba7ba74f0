"""Everything that can be known to go wrong, said before a run starts; and what the run will do."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from llava_tuning.data.check import check_file
from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import Checkpoint, read_config
from llava_tuning.models.llava import load_image_processor, new_projector, tokens_per_image
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.prepare import check_llama_weights
from llava_tuning.models.tokenizer import check_chat_template, load_tokenizer
from llava_tuning.training.checkpoint import read_weights

PICTURES_CHECKED = 2_000  # decoding more would take longer than anybody waits before a run
FINDINGS_SHOWN = 5


@dataclass(frozen=True)
class Plan:
    """What a run will train and need."""

    records: int
    steps: int
    frozen_parameters: int
    trained_parameters: int
    memory_bytes: int

    def describe(self, config: Config) -> str:
        """Lines for the terminal."""
        tokens = config.max_length
        return "\n".join(
            [
                f"stage       {config.stage}: {_what_trains(config)}",
                f"parameters  {self.trained_parameters / 1e6:,.1f} M trained, "
                f"{self.frozen_parameters / 1e6:,.1f} M frozen",
                f"data        {self.records:,} records, up to {tokens:,} tokens each",
                f"steps       {self.steps:,} of {config.batch_size} records"
                + (f" × {config.accumulative_counts} accumulated" if config.accumulative_counts > 1 else ""),
                f"memory      about {self.memory_bytes / 2**30:,.1f} GiB a process (estimate: weights, "
                "gradients, optimizer state, activations)",
            ]
        )


def resolve_paths(config: Config) -> None:
    """Replace the names `smollm2` (language model) and `default` (vision tower) by their directories."""
    from llava_tuning.models.default import PARTS
    from llava_tuning.models.smollm2 import smollm2_directory

    if config.llm == "smollm2":
        config.llm = str(smollm2_directory())
    if config.vision_tower == "default":
        config.vision_tower = str(PARTS / "vision_tower")


def check(config: Config) -> int:
    """Check every path, record and shape that the config names; returns the number of records.

    Raises:
        UserError: names what is wrong and the remedy.
    """
    llm, vision = _directory(config, "llm"), _directory(config, "vision_tower")
    kind = read_config(llm).get("model_type")  # not by transformers, which would offer to run a model's code
    if kind != "llama":
        raise UserError(
            f"llm = {llm}: is a {kind} checkpoint; turn it into a Llama directory with "
            f"`llava-tuning prepare {llm} --out DIR` and name DIR"
        )
    check_llama_weights(llm)
    text = LlamaConfig.from_pretrained(llm)
    tokenizer = load_tokenizer(llm, name=f"llm = {llm}", remedy="prepare it again")
    check_chat_template(tokenizer, f"llm = {llm}")
    read_config(vision)
    Checkpoint(vision)
    picture = CLIPVisionConfig.from_pretrained(vision)
    load_image_processor(vision)
    patches = tokens_per_image(picture)
    if config.max_length <= patches:
        raise UserError(
            f"max_length = {config.max_length}: one picture alone takes {patches} tokens; set it above that"
        )
    if config.projector_checkpoint:
        _check_projector(config.projector_checkpoint, picture.hidden_size, text.hidden_size)
    elif config.stage == "finetune":
        raise UserError(
            "projector_checkpoint is not set: a finetuning run starts from the projector of a pretraining "
            "run; set it to that run's iter_N.pth"
        )
    if config.load_in_4bit and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("load_in_4bit needs bitsandbytes: pip install -r requirements-train.txt")
    folder = Path(config.image_folder)
    for image in config.evaluation_images:
        if not (folder / image).is_file():
            raise UserError(f"evaluation_images: {folder / image} is missing; name a picture in image_folder")
        open_picture(folder / image)
    return _check_data(config, tokenizer, patches)


def check_trained(config: Config, checkpoint: Path) -> None:
    """A run goes on only from a checkpoint that trained the same parts.

    Raises:
        UserError: it trained others, e.g. in the other stage.
    """
    names = list(read_weights(checkpoint))
    adapted = [name for name in names if "lora_" in name]
    found = {
        "the language model by LoRA": any(name.startswith("llm.") for name in adapted),
        "the language model in full": any(name.startswith("llm.") and "lora_" not in name for name in names),
        "the vision tower by LoRA": any(name.startswith("visual_encoder.") for name in adapted),
    }
    wanted = {
        "the language model by LoRA": config.llm_lora is not None,
        "the language model in full": not config.freeze_llm and config.llm_lora is None,
        "the vision tower by LoRA": config.visual_encoder_lora is not None,
    }
    for part, trains in wanted.items():
        if trains != found[part]:
            did = "trained" if found[part] else "did not train"
            raise UserError(
                f"{checkpoint}: {did} {part}, other than this config; resume with the config of its own run"
            )


def plan(config: Config, records: int, steps: int) -> Plan:
    """Count parameters on the meta device and estimate the memory of one process."""
    with torch.device("meta"):
        llm = LlamaForCausalLM(LlamaConfig.from_pretrained(config.llm))
        vision = CLIPVisionModel(CLIPVisionConfig.from_pretrained(config.vision_tower))
        projector = new_projector(vision.config.hidden_size, llm.config.hidden_size)
    llm_size, vision_size = _count(llm), _count(vision)
    trained, frozen = _count(projector), vision_size
    if config.llm_lora is not None:
        trained += _lora_size(llm, config.llm_lora)
    if config.visual_encoder_lora is not None:
        trained += _lora_size(vision, config.visual_encoder_lora)
    if config.freeze_llm:
        frozen += llm_size
    else:
        trained += llm_size
    return Plan(records, steps, frozen, trained, _memory(config, llm, vision, trained))


def _memory(config: Config, llm: torch.nn.Module, vision: torch.nn.Module, trained: int) -> int:
    """Bytes of one process: what is trained (weights, gradients, two moments), what is frozen, activations.

    On one H100 at InternLM2-1.8B's and CLIP ViT-L/14-336's shapes it said 10.7 (stage 1), 10.7 (LoRA), 19.3
    (QLoRA) and 35.3 GiB (full) where 8.8, 10.7, 17.6 and 36.0 GiB were measured, with samples shorter than
    the 1,024 tokens that it assumes.
    """
    text: Any = llm.config
    picture: Any = vision.config
    frozen_bytes = _count(vision) * (4 if config.model.visual_encoder.dtype == "float32" else 2)
    # Quantisation and full finetuning leave the hidden states in float32.
    wide = config.load_in_4bit or config.model.llm.dtype == "float32"
    if config.freeze_llm:
        frozen_bytes += int(_count(llm) * (0.6 if config.load_in_4bit else 4 if wide else 2))
    tokens = config.batch_size * min(config.max_length, 1024)
    # A layer keeps about 16 values of a token's width (SwiGLU included); LoRA's 40 bytes are fitted to a run.
    layer = (
        tokens
        * text.hidden_size
        * (16 * (4 if wide else 2) + (40 if config.llm_lora is not None and not wide else 0))
    )
    activations = text.num_hidden_layers * layer
    if config.gradient_checkpointing:  # one layer at a time, and the input of each
        activations = (
            layer + int(1.5 * tokens * text.hidden_size * (4 if wide else 2)) * text.num_hidden_layers
        )
    if config.visual_encoder_lora is not None:
        patches = config.batch_size * ((picture.image_size // picture.patch_size) ** 2 + 1)
        kept = 16 + 1.5 * picture.num_hidden_layers
        if not config.gradient_checkpointing:
            kept = 16 * picture.num_hidden_layers
        activations += int(patches * picture.hidden_size * 4 * kept)
    return 16 * trained + frozen_bytes + activations


def _check_data(config: Config, tokenizer, patches: int) -> int:  # type: ignore[no-untyped-def]
    path, folder = Path(config.data_path), Path(config.image_folder)
    if not folder.is_dir():
        raise UserError(f"image_folder = {folder}: no such directory")
    findings, records = check_file(
        path,
        folder,
        tokenizer=tokenizer,
        max_length=config.max_length,
        tokens_per_image=patches,
        max_pictures=PICTURES_CHECKED,
    )
    duplicates = [finding for finding in findings if finding.kind == "duplicate"]
    findings = [finding for finding in findings if finding.kind != "duplicate"]
    if duplicates:  # repeating an example can be meant
        print(f"note        {len(duplicates):,} duplicate records, e.g. {duplicates[0]}")
    if findings:
        shown = "\n  ".join(str(finding) for finding in findings[:FINDINGS_SHOWN])
        more = len(findings) - FINDINGS_SHOWN
        raise UserError(
            f"{path}: {len(findings)} records cannot be trained on; `llava-tuning data check {path} "
            f"--images {folder}` lists them:\n  {shown}" + (f"\n  … and {more} more" if more > 0 else "")
        )
    return records


def _directory(config: Config, name: str) -> Path:
    value = config[name]
    if not value:
        raise UserError(f"{name} is not set: name a directory with `--set {name}=DIR` or in the config")
    path = Path(value)
    if not (path / "config.json").is_file():
        raise UserError(
            f"{name} = {path}: no such model directory (no config.json); see `llava-tuning prepare`"
        )
    return path


def _check_projector(checkpoint: str, vision_hidden: int, text_hidden: int) -> None:
    if not Path(checkpoint).exists():
        raise UserError(
            f"projector_checkpoint = {checkpoint}: no such file; name the iter_N.pth of a pretrain run"
        )
    if Path(checkpoint).is_dir() and not any(Path(checkpoint).glob("*model_states.pt")):  # not DeepSpeed's
        raise UserError(
            f"projector_checkpoint = {checkpoint}: is a directory; name the iter_N.pth of a pretrain run"
        )
    weight = read_weights(checkpoint).get("projector.model.0.weight")
    if weight is None or tuple(weight.shape) != (text_hidden, vision_hidden):
        found = "no projector" if weight is None else f"a projector {weight.shape[1]} → {weight.shape[0]}"
        raise UserError(
            f"projector_checkpoint = {checkpoint}: holds {found}, but these base models need "
            f"{vision_hidden} → {text_hidden}; pretrain with the same llm and vision_tower"
        )


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _lora_size(module: torch.nn.Module, lora: dict) -> int:  # type: ignore[type-arg]
    wanted = lora.get("target_modules")
    size = 0
    for name, part in module.named_modules():
        last = name.rsplit(".", 1)[-1]
        if isinstance(part, torch.nn.Linear) and last != "lm_head" and (not wanted or last in wanted):
            size += lora["r"] * (part.in_features + part.out_features)
    return size


def _what_trains(config: Config) -> str:
    parts = ["projector"]
    if config.llm_lora is not None:
        kind = "QLoRA, 4-bit base" if config.load_in_4bit else "LoRA"
        parts.append(f"language model by {kind} (rank {config.llm_lora['r']})")
    elif not config.freeze_llm:
        parts.append("language model in full")
    if config.visual_encoder_lora is not None:
        parts.append(f"vision tower by LoRA (rank {config.visual_encoder_lora['r']})")
    return ", ".join(parts)
