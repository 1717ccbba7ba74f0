"""The three training steps that are compared: XTuner's, transformers' LLaVA, and this project's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration
from xtuner.dataset.collate_fns import default_collate_fn
from xtuner.model import LLaVAModel
from xtuner.utils import IGNORE_INDEX, IMAGE_TOKEN_INDEX

from benchmarks.train.shapes import CLIP_MEAN, CLIP_STD, Batch, Shapes, build_llm, build_vision_tower
from llava_tuning.training.attention import PACKED
from llava_tuning.training.dataset import collate
from llava_tuning.training.float8 import Float8
from llava_tuning.training.model import LeanLLaVAModel, load_llm
from llava_tuning.training.optim import UnhurriedOptimWrapper


@dataclass(frozen=True)
class Task:
    """What trains: the projector always; the language model as `kind` says; the vision tower by LoRA."""

    stage: str
    kind: str  # frozen, lora or full
    rank: int = 0
    vision_rank: int = 0
    four_bit: str | None = None  # directory of the language model that is quantised
    dropout: float = 0.05
    lr: float = 1e-4

    def lora(self, rank: int, alpha: int) -> LoraConfig | None:
        if not rank:
            return None
        kind = "CAUSAL_LM" if rank == self.rank else None
        return LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=self.dropout, bias="none", task_type=kind)


TASKS = {
    "pretrain": Task("pretrain", "frozen"),
    "lora_r512_vision_r64": Task("finetune", "lora", 512, 64),  # XTuner's ranks
    "qlora_r512_vision_r64": Task("finetune", "lora", 512, 64),
    "lora_r128": Task("finetune", "lora", 128),
    "lora_r16": Task("finetune", "lora", 16, dropout=0.0),  # the demo model's
    "full": Task("finetune", "full"),
}


def frozen(task: Task) -> dict[str, Any]:
    """XTuner's arguments for what trains."""
    return {
        "freeze_llm": task.kind != "full",
        "freeze_visual_encoder": True,
        "llm_lora": task.lora(task.rank, 256) if task.kind == "lora" else None,
        "visual_encoder_lora": task.lora(task.vision_rank, 16) if task.vision_rank else None,
    }


def adamw(model: nn.Module, task: Task, fused: bool) -> torch.optim.AdamW:
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return torch.optim.AdamW(trained, lr=task.lr, weight_decay=0.0, fused=True if fused else None)


class DifferentiatedTower(LeanLLaVAModel):
    """With gradients through the frozen vision tower, as XTuner's `enable_input_require_grads` has it."""

    trains_vision = True  # type: ignore[assignment]


class Ours:
    """`LeanLLaVAModel` as `llava-tuning train` runs it; `without` names one technique to leave out."""

    def __init__(
        self,
        shapes: Shapes,
        task: Task,
        device: str,
        checkpointing: Any = "auto",
        memory_limit: float | None = None,
        without: str = "",
        frozen_fp8: Float8 = False,
        vision_cuda_graph: bool = False,
    ) -> None:
        cuda = device == "cuda"
        half = shapes.dtype
        self.without = without
        if task.four_bit:
            llm = load_llm(task.four_bit, "bfloat16", load_in_4bit=True)
        else:
            llm = build_llm(shapes, torch.float32 if task.kind == "full" else half, PACKED, device)
        wide = without == "bfloat16 vision tower" or not cuda
        tower = build_vision_tower(shapes, torch.float32 if wide else half, device)
        differentiated = without == "no gradient through frozen parts"
        self.model = (DifferentiatedTower if differentiated else LeanLLaVAModel)(
            llm=llm,
            visual_encoder=tower,
            use_activation_checkpointing=without == "recomputing only where needed" or checkpointing,
            memory_limit=memory_limit,
            compile_layers=without != "compiled layers",
            frozen_fp8=without != "float8 gradients" and frozen_fp8,
            compute_dtype=str(half).removeprefix("torch."),
            vision_cuda_graph=vision_cuda_graph,
            **frozen(task),
        ).to(device)
        self.model.train()
        if differentiated:
            tower.embeddings.register_forward_hook(lambda _, __, output: output.requires_grad_())
        fused = cuda and without != "fused AdamW"
        self.optimizer = UnhurriedOptimWrapper(adamw(self.model, task, fused), clip_grad={"max_norm": 1.0})
        self.device = device

    def data(self, batch: Batch) -> dict[str, Any]:
        longest = max(len(sample.ids) for sample in batch.samples)
        samples = []
        for sample in batch.samples:
            ids, labels = sample.ids, sample.labels
            if self.without == "packing":
                ids = nn.functional.pad(ids, (0, longest - len(ids)))
                labels = nn.functional.pad(labels, (0, longest - len(labels)), value=IGNORE_INDEX)
            one = {"input_ids": ids, "labels": labels}
            samples.append(one if sample.picture is None else {**one, "pixel_values": sample.picture})
        data: dict[str, Any] = collate(samples)
        if self.without == "head at supervised positions":  # any target: only the work counts
            every = data["data"]
            every["supervised"] = torch.arange(every["input_ids"].shape[1])
            every["targets"] = every["input_ids"][0].clamp(min=0)
        return data

    def step(self, data: dict[str, Any]) -> torch.Tensor:
        loss: torch.Tensor = self.model.train_step(data, self.optimizer)["loss"]
        return loss.detach()


class XTuner:
    """`LLaVAModel` of XTuner 0.2.0 with the settings of its own configs: float16 AMP, checkpointing, padding.

    Full finetuning, which XTuner runs under DeepSpeed, has float32 weights here, since float16 ones cannot be
    unscaled. `amp=False` computes all in float32; `loss_scale` is mmengine's.
    """

    def __init__(
        self,
        shapes: Shapes,
        task: Task,
        device: str,
        checkpointing: bool = True,
        amp: bool = True,
        loss_scale: Any = "dynamic",
    ) -> None:
        half = device == "cuda" and amp
        if task.four_bit:
            llm = _four_bit(task.four_bit)
        else:
            dtype = torch.float16 if half and task.kind != "full" else torch.float32
            llm = build_llm(shapes, dtype, "sdpa", device)
        tower = build_vision_tower(shapes, torch.float32, device)
        self.shapes = shapes
        self.model = LLaVAModel(
            llm=llm, visual_encoder=tower, use_activation_checkpointing=checkpointing, **frozen(task)
        ).to(device)
        self.model.train()
        clip = {"max_norm": 1.0, "error_if_nonfinite": False}
        optimizer = adamw(self.model, task, fused=False)
        self.optimizer: OptimWrapper = (
            AmpOptimWrapper(optimizer=optimizer, clip_grad=clip, loss_scale=loss_scale, dtype="float16")
            if half
            else OptimWrapper(optimizer, clip_grad=clip)
        )

    def data(self, batch: Batch) -> dict[str, Any]:
        samples = []
        side = self.shapes.picture["image_size"]
        for sample in batch.samples:
            keep = torch.ones(len(sample.ids), dtype=torch.bool)  # one placeholder for a picture
            keep[1:] = (sample.ids[1:] != IMAGE_TOKEN_INDEX) | (sample.ids[:-1] != IMAGE_TOKEN_INDEX)
            picture = torch.zeros(3, side, side) if sample.picture is None else normalised(sample.picture)
            samples.append(
                {"input_ids": sample.ids[keep], "labels": sample.labels[keep], "pixel_values": picture}
            )
        data: dict[str, Any] = default_collate_fn(samples)
        return data

    def step(self, data: dict[str, Any]) -> torch.Tensor:
        loss: torch.Tensor = self.model.train_step(data, self.optimizer)["loss"]
        return loss.detach()


class Transformers:
    """`LlavaForConditionalGeneration` in bfloat16 with SDPA, padded, fused AdamW: what a Trainer runs.

    What trains in full has float32 weights under autocast, as with `bf16=True`.
    """

    def __init__(self, shapes: Shapes, task: Task, device: str, checkpointing: bool = True) -> None:
        cuda = device == "cuda"
        half = shapes.dtype if cuda else torch.float32
        llm = (
            load_llm(task.four_bit, "bfloat16", load_in_4bit=True)
            if task.four_bit
            else build_llm(shapes, torch.float32 if task.kind == "full" else half, "sdpa", device)
        )
        tower = build_vision_tower(shapes, half, device)
        text = llm.config
        text._attn_implementation = "sdpa"
        config = LlavaConfig(
            vision_config=tower.config,
            text_config=text,
            image_token_id=text.vocab_size - 1,
            vision_feature_layer=-2,
            attn_implementation="sdpa",
        )
        with torch.device("meta"):
            model: Any = LlavaForConditionalGeneration(config)
        llm.requires_grad_(task.kind == "full")
        model.model.language_model, model.lm_head = llm.model, llm.lm_head
        model.model.vision_tower = tower
        tower.requires_grad_(False)
        model.model.multi_modal_projector.to_empty(device=device).to(torch.float32)
        for weight in model.model.multi_modal_projector.parameters():
            nn.init.normal_(weight, std=0.02)
        if task.kind == "lora":
            model.model.language_model = get_peft_model(llm.model, everywhere(task.lora(task.rank, 256)))
        if task.vision_rank:
            model.model.vision_tower = get_peft_model(tower, everywhere(task.lora(task.vision_rank, 16)))
        if checkpointing:
            options = {"use_reentrant": False}
            llm.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
            if task.vision_rank:
                tower.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
        self.model = model.train()
        self.optimizer = adamw(self.model, task, fused=cuda)
        self.trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.device, self.half = device, half
        self.image = text.vocab_size - 1

    def data(self, batch: Batch) -> dict[str, Any]:
        ids = pad_sequence([sample.ids for sample in batch.samples], batch_first=True)
        masks = [torch.ones_like(sample.ids) for sample in batch.samples]
        ids = ids.masked_fill(ids == self.image, 0).masked_fill(ids == IMAGE_TOKEN_INDEX, self.image)
        data = {
            "input_ids": ids,
            "labels": pad_sequence([s.labels for s in batch.samples], True, IGNORE_INDEX),
            "attention_mask": pad_sequence(masks, batch_first=True),
        }
        pictures = [normalised(s.picture) for s in batch.samples if s.picture is not None]
        if pictures:
            data["pixel_values"] = torch.stack(pictures)
        return data

    def step(self, data: dict[str, Any]) -> torch.Tensor:
        moved = {name: value.to(self.device, non_blocking=True) for name, value in data.items()}
        with torch.autocast(self.device, dtype=self.half, enabled=self.half != torch.float32):
            loss: torch.Tensor = self.model(**moved, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def everywhere(lora: LoraConfig | None) -> LoraConfig:
    """On all linear layers of a model without a head."""
    assert lora is not None
    return replace(lora, task_type=None, target_modules="all-linear")


def normalised(picture: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (picture / 255 - mean) / std


def _four_bit(directory: str) -> LlamaForCausalLM:
    """As in XTuner's QLoRA configs."""
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_compute_dtype=torch.float16,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_quant_type="nf4",
    )
    model: LlamaForCausalLM = LlamaForCausalLM.from_pretrained(
        directory, dtype=torch.float16, attn_implementation="sdpa", quantization_config=quantization
    )
    return model
