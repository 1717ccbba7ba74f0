"""Training configs: XTuner's format, with the few things that people change as plain settings at the top.

A config is a short file of settings over a base in `configs/_base_/`. `load_settings` puts each setting where
XTuner's runner expects it (`PLACES`); what depends on machine and data is added by `fitting`.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from llava_tuning.errors import UserError
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
    "vision_cuda_graph": ("model.vision_cuda_graph",),
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
    "vision_cuda_graph",
)
TEXT_STAGE = "sft"
# What only runs have that train the language model; None in stage pretrain.
OF_ANSWERS = ("selection_sample", "leakage_limit", "held_out", "general")
NULLABLE = (
    *OPTIONAL,
    *OF_ANSWERS,
    "max_steps",
    "seed",
    "llm",
    "vision_tower",
    "projector_checkpoint",
    "image_folder",
    "memory_limit",
    "batch_tokens",
    "vision_cuda_graph",
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
    "truth": (("freeze_llm", "compile_layers", "vision_cuda_graph", "load_in_4bit"), "True or False"),
    "recompute": (("gradient_checkpointing",), "True, False or 'auto'"),
    "float8": (("frozen_fp8",), "True, False, 'backward' or 'auto'"),
    "list": (("evaluation_images", "evaluation_inputs"), "a list of texts, e.g. ['a.png']"),
    "lora": (OPTIONAL, "peft's LoraConfig as a dict with a rank, e.g. {'r': 16, 'lora_alpha': 32}, or None"),
}
SETTINGS = (
    *PLACES,
    *OPTIONAL,
    *OF_ANSWERS,
    "batch_tokens",
    "max_epochs",
    "max_steps",
    "warmup_ratio",
    "stage",
)
# Settings that copies of older configs lack.
ADDED = {"memory_limit": None, "compile_layers": True, "frozen_fp8": "auto", "batch_tokens": None}
ADDED |= {"vision_cuda_graph": False}
ADDED |= dict.fromkeys(OF_ANSWERS)


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
    given = [name for name in OF_ANSWERS if config[name] is not None]
    if given and config.get("stage") == "pretrain":
        raise UserError(
            f"{path}: {', '.join(given)} belong to runs that train the language model (stages finetune and "
            f"{TEXT_STAGE}); leave them out"
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


def _put(config: Config, place: str, value: Any) -> None:
    *path, last = place.split(".")
    node: Any = config
    for key in path:
        node = node[int(key)] if key.isdigit() else node[key]
    node[last] = value
