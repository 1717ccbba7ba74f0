"""Training configs: XTuner's format, with the few things that people change as plain settings at the top.

A config is a short file of settings over a base in `configs/_base_/`. `load_settings` puts each setting where
XTuner's runner expects it (`PLACES`), and `fit_to_machine` adds precision, backend and the schedule in steps.
"""

from __future__ import annotations

import ast
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from llava_tuning.errors import UserError
from llava_tuning.models.precision import fast_dtype
from llava_tuning.training.packing import rows_per_process
from llava_tuning.training.places import check_place

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BASES = "_base_"

# setting -> where it belongs in XTuner's configuration
PLACES: dict[str, tuple[str, ...]] = {
    "llm": ("model.llm.path", "train_dataloader.dataset.llm"),
    "vision_tower": ("model.visual_encoder.path", "train_dataloader.dataset.vision_tower"),
    "projector_checkpoint": ("model.projector_checkpoint",),
    "freeze_llm": ("model.freeze_llm",),
    "gradient_checkpointing": ("model.use_activation_checkpointing",),
    "memory_limit": ("model.memory_limit",),
    "compile_layers": ("model.compile_layers",),
    "frozen_fp8": ("model.frozen_fp8",),
    "load_in_4bit": ("model.llm.load_in_4bit",),
    "data_path": ("train_dataloader.dataset.data_path",),
    "image_folder": ("train_dataloader.dataset.image_folder",),
    "max_length": ("train_dataloader.dataset.max_length",),
    "batch_size": ("train_dataloader.batch_size",),
    "dataloader_num_workers": ("train_dataloader.num_workers",),
    "accumulative_counts": ("optim_wrapper.accumulative_counts",),
    "lr": ("optim_wrapper.optimizer.lr",),
    "betas": ("optim_wrapper.optimizer.betas",),
    "weight_decay": ("optim_wrapper.optimizer.weight_decay",),
    "max_norm": ("optim_wrapper.clip_grad.max_norm",),
    "save_steps": ("default_hooks.checkpoint.interval",),
    "save_total_limit": ("default_hooks.checkpoint.max_keep_ckpts",),
    "evaluation_freq": ("custom_hooks.0.every_n_iters",),
    "evaluation_images": ("custom_hooks.0.images",),
    "evaluation_inputs": ("custom_hooks.0.questions",),
    "log_interval": ("default_hooks.logger.interval",),
    "seed": ("randomness.seed",),
}
OPTIONAL = ("llm_lora", "visual_encoder_lora")
# What only LLaVA has; None in a run of text.
OF_PICTURES = (
    "vision_tower",
    "projector_checkpoint",
    "image_folder",
    "evaluation_images",
    "visual_encoder_lora",
)
TEXT_STAGE = "sft"
# What only text runs have; None in others.
OF_TEXT = ("selection_sample", "leakage_limit", "held_out", "general")
NULLABLE = (
    *OPTIONAL,
    *OF_TEXT,
    "max_steps",
    "seed",
    "llm",
    "vision_tower",
    "projector_checkpoint",
    "image_folder",
    "memory_limit",
    "batch_tokens",
)
# kind -> settings, and how to give them
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "count": (
        (
            "max_length",
            "batch_size",
            "accumulative_counts",
            "save_steps",
            "evaluation_freq",
            "log_interval",
            "max_steps",
            "batch_tokens",
            "selection_sample",
        ),
        "a whole number of 1 or more",
    ),
    "number": (("lr", "max_epochs", "max_norm"), "a number above 0, e.g. 2e-4"),
    "gibibytes": (("memory_limit",), "GiB above 0, e.g. 22, or None"),
    "share": (("warmup_ratio", "weight_decay", "leakage_limit"), "a number from 0 up to, but not, 1"),
    "betas": (("betas",), "two numbers from 0 up to, but not, 1, e.g. (0.9, 0.999)"),
    "path": (
        ("llm", "vision_tower", "projector_checkpoint", "data_path", "image_folder", "held_out", "general"),
        "a path",
    ),
    "stage": (("stage",), "pretrain, finetune or sft"),
    "seed": (("seed", "dataloader_num_workers"), "a whole number of 0 or more"),
    "truth": (("freeze_llm", "compile_layers", "load_in_4bit"), "True or False"),
    "recompute": (("gradient_checkpointing",), "True, False or 'auto'"),
    "float8": (("frozen_fp8",), "True, False, 'backward' or 'auto'"),
    "list": (("evaluation_images", "evaluation_inputs"), "a list of texts, e.g. ['a.png']"),
    "lora": (OPTIONAL, "peft's LoraConfig as a dict with a rank, e.g. {'r': 16, 'lora_alpha': 32}, or None"),
}
SETTINGS = (*PLACES, *OPTIONAL, *OF_TEXT, "batch_tokens", "max_epochs", "max_steps", "warmup_ratio", "stage")
# Settings that copies of older configs lack.
ADDED = {"memory_limit": None, "compile_layers": True, "frozen_fp8": "auto", "batch_tokens": None}
ADDED |= dict.fromkeys(OF_TEXT)
# Steps; compiling saves about a tenth of a second a step, and takes half a minute, with adapters three.
COMPILED_FROM, ADAPTED_COMPILED_FROM = 300, 1500


def config_names() -> list[str]:
    """Names of the configs that come with the project, without `.py`."""
    return sorted(path.stem for path in CONFIGS.rglob("*.py") if BASES not in path.parts)


def config_path(name: str) -> Path:
    """The file of a config: a path, or the name of one that comes with the project.

    Raises:
        UserError: neither exists; suggests similar names.
    """
    if Path(name).is_file():
        return Path(name)
    for path in CONFIGS.rglob("*.py"):
        if path.stem == name.removesuffix(".py") and BASES not in path.parts:
            return path
    words = set(Path(name).stem.split("_"))
    shared = {n: len(words & set(n.split("_"))) for n in config_names()}
    similar = sorted((n for n in shared if shared[n]), key=lambda n: (-shared[n], len(n)))[:4]
    hint = f"similar: {', '.join(similar)}" if similar else "see `llava-tuning config list`"
    raise UserError(f"{name}: no such config file or name; {hint}")


def copy_config(name: str, directory: Path) -> Path:
    """Copy a config and its base into `directory` for editing; returns the new file. Never overwrites."""
    source = config_path(name)
    target = directory / source.name
    if target.exists():
        raise UserError(f"{target}: is there already; choose another directory or delete it")
    check_place(directory, "--directory")
    try:
        text = source.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{source}: not a config file; choose one of `llava-tuning config list`") from None
    (directory / BASES).mkdir(parents=True, exist_ok=True)
    for base in (CONFIGS / BASES).glob("*.py"):
        if not (directory / BASES / base.name).exists():
            shutil.copyfile(base, directory / BASES / base.name)
    target.write_text(text.replace(f'"../{BASES}/', f'"./{BASES}/'), encoding="utf-8")
    return target


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`["lr=1e-4", "llm=models/x"]` to a dict; values are Python literals where they read as such.

    Raises:
        UserError: a pair without `=`, or an unknown setting; lists the known ones.
    """
    out: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise UserError(f"--set {pair}: write it as NAME=VALUE")
        root = key.split(".")[0]
        if root not in SETTINGS:
            raise UserError(f"--set {key}: no such setting; known are {', '.join(sorted(SETTINGS))}")
        try:
            out[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            out[key] = value
    return out


def load_settings(path: Path, overrides: dict[str, Any] | None = None) -> Config:
    """The config with overrides applied and every setting put in its place; nothing about the machine yet.

    Raises:
        UserError: the file is no valid config, or lacks a setting.
    """
    try:
        config = Config.fromfile(path, import_custom_modules=False)
    except Exception as error:  # mmengine raises whatever the file's own code raises
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UserError(
            f"{path}: not a valid config ({reason}); mend it or start from one of `llava-tuning config list`"
        ) from None
    if overrides:
        config.merge_from_dict(overrides)
    for name in OPTIONAL:  # absent from the bases: mmengine merges no dict over None
        config.setdefault(name, None)
    for name, value in ADDED.items():
        config.setdefault(name, value)
    text = config.get("stage") == TEXT_STAGE
    if text:
        _check_without_pictures(config, path)
    elif given := [name for name in OF_TEXT if config[name] is not None]:
        raise UserError(
            f"{path}: {', '.join(given)} belong to runs of text (stage {TEXT_STAGE}); leave them out"
        )
    missing = [name for name in SETTINGS if name not in config]
    if missing:
        raise UserError(
            f"{path}: lacks the settings {', '.join(missing)}; start from one of "
            f"`llava-tuning config list` or add `_base_ = [...]`"
        )
    _check_kinds(config)
    for name, places in PLACES.items():
        for place in places if not text or name not in OF_PICTURES else ():
            try:
                _put(config, place, config[name])
            except (TypeError, KeyError, IndexError, AttributeError):
                raise UserError(
                    f"{path}: there is no {place}, where {name} belongs; start from one of "
                    "`llava-tuning config list`"
                ) from None
    if config.selection_sample is not None:
        config.custom_hooks.append(_selection(config))
    elif config.leakage_limit is not None:
        raise UserError(
            f"{path}: leakage_limit = {config.leakage_limit} does nothing without scores at each checkpoint; "
            "set selection_sample too, e.g. to 24"
        )
    for name in OPTIONAL[:1] if text else OPTIONAL:
        lora = config[name]
        config.model[name] = None if lora is None else {"type": "peft.LoraConfig", **lora}
    return config


def _check_without_pictures(config: Config, path: Path) -> None:
    """A run of text has no picture's settings; they are set to None (lists to empty ones)."""
    given = [name for name in OF_PICTURES if config.get(name)]
    if given or "visual_encoder" in config.get("model", {}):
        what = f"{', '.join(given)} set" if given else "a vision tower in its model"
        raise UserError(
            f"{path}: stage {TEXT_STAGE} trains a language model alone, but has {what}; leave that out, or "
            "start from a LLaVA config (`llava-tuning config list -p llava`)"
        )
    for name in OF_PICTURES:
        config[name] = [] if name == "evaluation_images" else None


def _selection(config: Config) -> dict[str, Any]:
    """The hook that scores a run at its checkpoints."""
    return {
        "type": "llava_tuning.training.selection.hook.SelectionHook",
        "sample": config.selection_sample,
        "leakage_limit": config.leakage_limit,
        "data": config.data_path,
        "held_out": config.held_out,
        "general": config.general,
        "max_length": config.max_length,
    }


def _check_kinds(config: Config) -> None:
    """A number that is none would fail late; the text "false" would count as true."""
    for kind, (names, expected) in KINDS.items():
        for name in names:
            value = config[name]
            if value is None and name in NULLABLE:
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            fits = {
                "count": number and isinstance(value, int) and value >= 1,
                "number": number and value > 0,
                "gibibytes": number and value > 0,
                "truth": isinstance(value, bool),
                "recompute": isinstance(value, bool) or value == "auto",
                "float8": isinstance(value, bool) or value in ("backward", "auto"),
                "share": number and 0 <= value < 1,
                "betas": isinstance(value, (list, tuple))
                and len(value) == 2
                and all(isinstance(beta, (int, float)) and 0 <= beta < 1 for beta in value),
                "path": isinstance(value, str),
                "stage": value in ("pretrain", "finetune", TEXT_STAGE),
                "seed": number and isinstance(value, int) and value >= 0,
                "list": isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value),
                "lora": isinstance(value, dict) and isinstance(value.get("r"), int),
            }[kind]
            if not fits:
                raise UserError(f"{name} = {value}: give {expected}")


def fit_to_machine(
    config: Config,
    lengths: Sequence[int],
    records: int | None = None,
    world_size: int = 1,
    deepspeed: bool = False,
    float8: bool = False,
) -> Config:
    """Precision, backend, batches and the schedule in steps.

    Args:
        lengths: tokens of each sample, or of some drawn at random.
        records: number of samples; as many as there are lengths when None.
        float8: whether the GPU multiplies in 8-bit floating point.
    """
    cuda = torch.cuda.is_available()
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
    # Not tried: compiling under DeepSpeed.
    adapted = config.llm_lora is not None or config.visual_encoder_lora is not None
    enough = ADAPTED_COMPILED_FROM if adapted else COMPILED_FROM
    config.model.compile_layers = config.compile_layers and not deepspeed and total >= enough
    if config.frozen_fp8 == "auto":  # interpreted, conversions would take longer than the products save
        config.frozen_fp8 = "backward" if float8 and config.model.compile_layers else False
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


def _put(config: Config, place: str, value: Any) -> None:
    *path, last = place.split(".")
    node: Any = config
    for key in path:
        node = node[int(key)] if key.isdigit() else node[key]
    node[last] = value
