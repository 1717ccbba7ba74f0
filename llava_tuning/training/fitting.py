"""What of a config depends on the machine and the data: precision, backend, batches, schedule in steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config

from llava_tuning.errors import UserError
from llava_tuning.models.precision import fast_dtype
from llava_tuning.training.config import TEXT_STAGE
from llava_tuning.training.layers import compiled_from
from llava_tuning.training.packing import rows_per_process


def fit_to_machine(
    config: Config,
    lengths: Sequence[int],
    records: int | None = None,
    world_size: int = 1,
    deepspeed: str | None = None,
    float8: bool = False,
    on_gpu: bool | None = None,
) -> Config:
    """Precision, backend, batches and the schedule in steps.

    Args:
        lengths: tokens of each sample, or of some drawn at random.
        records: number of samples; as many as there are lengths when None.
        deepspeed: a strategy's name, or a JSON file's.
        float8: whether the GPU multiplies in 8-bit floating point.
        on_gpu: whether the run will be on a GPU; None for what this machine has.
    """
    cuda = torch.cuda.is_available()
    on_gpu = cuda if on_gpu is None else on_gpu
    full = not config.freeze_llm and config.llm_lora is None
    half = str(fast_dtype("cuda" if cuda else "cpu")).removeprefix("torch.")
    # Weights under training keep a float32 master copy; frozen ones need none.
    config.model.llm.dtype = "float32" if full else half
    config.model.compute_dtype = half if cuda else None
    if config.stage != TEXT_STAGE:
        config.model.visual_encoder.dtype = half if cuda else "float32"
    if cuda and half == "float16":  # bfloat16 needs no gradient scaler; the model computes in it by itself
        config.optim_wrapper.type = "mmengine.optim.AmpOptimWrapper"
        config.optim_wrapper.dtype = half
        config.optim_wrapper.loss_scale = "dynamic"
    if cuda and not deepspeed and half != "float16":  # a gradient scaler's checkpoints may be unfused ones
        config.optim_wrapper.optimizer.fused = True
    if config.load_in_4bit and not cuda:
        raise UserError("load_in_4bit needs an NVIDIA GPU and none was found; use the LoRA config instead")
    config.env_cfg.dist_cfg.backend = "nccl" if cuda else "gloo"
    if world_size > 1:
        config.model_wrapper_cfg = {
            "type": "MMDistributedDataParallel",
            "broadcast_buffers": False,
            "gradient_as_bucket_view": True,  # else each gradient is held twice, and copied back
            # The vision tower's adapters go unused in its last layer, and everywhere in a batch of text only.
            "find_unused_parameters": config.visual_encoder_lora is not None,
            **({} if cuda else {"device_ids": None}),  # mmengine's default names a GPU
        }
    config.train_dataloader.pin_memory = cuda
    if workers := config.dataloader_num_workers:  # an update's batches are read before its first step
        ahead = math.ceil(config.accumulative_counts / workers) + 1
        config.train_dataloader.prefetch_factor = max(2, ahead)
    if "length_property" in config.train_dataloader.sampler:
        config.train_dataloader.sampler.per_device_batch_size = config.batch_size * config.accumulative_counts
    if config.batch_tokens is not None:
        config.train_dataloader.sampler = {"type": "mmengine.dataset.DefaultSampler", "shuffle": True}
        config.train_dataloader.batch_sampler = {
            "type": "llava_tuning.training.packing.TokenBudgetBatchSampler",
            "max_tokens": config.batch_tokens,
        }
    total = total_steps(config, lengths, records or len(lengths), world_size)
    adapted = config.llm_lora is not None or config.visual_encoder_lora is not None
    # Tried on GPUs, under DeepSpeed with full finetuning and this strategy alone; on a CPU in one process.
    tried = deepspeed is None or (deepspeed == "zero2" and full)
    tried = tried if on_gpu else deepspeed is None and world_size == 1
    config.model.compile_layers = config.compile_layers and tried and total >= compiled_from(adapted, on_gpu)
    if config.frozen_fp8 == "auto":  # interpreted, conversions would take longer than the products save
        config.frozen_fp8 = "backward" if float8 and config.model.compile_layers and not deepspeed else False
    config.model.frozen_fp8 = config.frozen_fp8
    config.train_cfg.max_iters = total
    config.param_scheduler = schedule(total, config.warmup_ratio)
    if total < config.save_steps:
        config.default_hooks.checkpoint.interval = total
    return config


def schedule(total: int, warmup_ratio: float) -> list[dict[str, Any]]:
    """Linear warm-up, then cosine to zero, in steps.

    mmengine's linear scheduler needs two steps to arrive, so a short run warms up for two steps or not at
    all; XTuner's own configs crash when the share rounds to zero.
    """
    warmup = max(2, math.ceil(total * warmup_ratio)) if total > 2 and warmup_ratio > 0 else 0
    linear = {
        "type": "mmengine.optim.LinearLR",
        "start_factor": 1e-5,
        "by_epoch": False,
        "begin": 0,
        "end": warmup,
    }
    cosine = {
        "type": "mmengine.optim.CosineAnnealingLR",
        "eta_min": 0.0,
        "by_epoch": False,
        "begin": warmup,
        "end": max(total, warmup + 1),
    }
    return [linear, cosine] if warmup else [cosine]


def total_steps(config: Config, lengths: Sequence[int], records: int, world_size: int = 1) -> int:
    """Iterations of the run: `max_steps`, or `max_epochs` over the data."""
    if config.max_steps is not None:
        return int(config.max_steps)
    if config.batch_tokens is None:
        per_epoch = math.ceil(math.ceil(records / world_size) / config.batch_size)
    else:
        rows = rows_per_process(lengths, config.batch_tokens, world_size, config.seed or 0)
        per_epoch = math.ceil(rows * records / len(lengths))
    return max(1, int(config.max_epochs * per_epoch))
