"""`inspect`: what a directory is, read from its JSON files and safetensors headers; no weights are loaded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import Checkpoint, TensorInfo, file_tensors, read_config
from llava_tuning.models.provenance import Provenance, read_provenance

_PARTS = (("vision tower", "vision_tower"), ("projector", "multi_modal_projector"))
_ITERATION = re.compile(r"(?:iter|epoch)_(\d+)\.pth")


@dataclass
class Description:
    """What a directory is, in a few words, and what is known about it as (label, text) rows."""

    kind: str
    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, label: str, value: object) -> None:
        """One row more; nothing for an empty value."""
        if value is not None and value != "":
            self.rows.append((label, str(value)))

    def __str__(self) -> str:
        width = max((len(label) for label, _ in self.rows), default=0)
        return "\n".join([self.kind, *(f"  {label:<{width}}  {value}" for label, value in self.rows)])


def describe(path: str | Path) -> Description:
    """What `path` is: a language model, LLaVA model, CLIP tower, adapter, training run or checkpoint.

    Raises:
        UserError: it does not exist, or is nothing that this project makes or reads.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"{path}: does not exist; give a model directory, a training run or a checkpoint")
    if path.suffix == ".pth":
        return _checkpoint(path)
    if path.is_dir():
        if (path / "adapter_config.json").is_file():
            return _adapter(path)
        if (path / "config.json").is_file():
            return _model(path)
        names = [child.name for child in path.iterdir()]
        if "last_checkpoint" in names or any(_ITERATION.fullmatch(name) for name in names):
            return _run(path)
    raise UserError(
        f"{path}: neither a model directory (config.json), an adapter (adapter_config.json) nor a training "
        "run (iter_N.pth)"
    )


def _model(path: Path) -> Description:
    config = read_config(path)
    kind = config.get("model_type")
    makers = {
        "llava": _llava,
        "llama": _language_model,
        "internlm2": _language_model,
        "clip": _vision,
        "clip_vision_model": _vision,
    }
    if kind not in makers:
        raise UserError(f"{path}: a {kind} model; known are {', '.join(makers)}")
    checkpoint = Checkpoint(path)
    description = makers[kind](path, config, checkpoint)
    description.add("weights", f"{_size(checkpoint.bytes)} in {_count(len(checkpoint.shards), 'file')}")
    description.add("dtype", str(checkpoint.dtype).removeprefix("torch."))
    _add_provenance(description, read_provenance(path))
    return description


def _llava(path: Path, config: dict[str, Any], checkpoint: Checkpoint) -> Description:
    description = Description("LLaVA model directory")
    vision, text = config.get("vision_config", {}), config.get("text_config", {})
    description.add("language model", _layers(text))
    description.add("vision tower", _layers(vision))
    parts: dict[str, int] = {}
    for name, info in checkpoint.tensors.items():
        part = next((label for label, key in _PARTS if key in name), "language model")
        parts[part] = parts.get(part, 0) + prod(info.shape)
    description.add("parameters", f"{_millions(sum(parts.values()))}: " + _shares(parts))
    description.add("template", _template(path))
    _add_picture_size(description, path, vision)
    description.add("tokens per picture", config.get("image_seq_length"))
    return description


def _language_model(path: Path, config: dict[str, Any], checkpoint: Checkpoint) -> Description:
    if config["model_type"] == "internlm2":
        description = Description(
            "InternLM2 checkpoint (turn it into a Llama directory with `llava-tuning prepare`)"
        )
    else:
        description = Description("language model (Llama)")
    description.add("size", _layers(config))
    description.add("vocabulary", config.get("vocab_size"))
    description.add(
        "context", f"{config['max_position_embeddings']} tokens" if _has_context(config) else None
    )
    description.add("parameters", _millions(_parameters(checkpoint.tensors)))
    description.add("template", _template(path))
    return description


def _vision(path: Path, config: dict[str, Any], checkpoint: Checkpoint) -> Description:
    whole = config["model_type"] == "clip"
    description = Description("CLIP model" if whole else "CLIP vision tower")
    vision = config.get("vision_config", {}) if whole else config
    description.add("size", _layers(vision))
    description.add("parameters", _millions(_parameters(checkpoint.tensors)))
    _add_picture_size(description, path, vision)
    if vision.get("image_size") and vision.get("patch_size"):
        description.add("tokens per picture", (vision["image_size"] // vision["patch_size"]) ** 2)
    return description


def _adapter(path: Path) -> Description:
    adapter = _json(path / "adapter_config.json")
    description = Description(f"adapter ({adapter.get('peft_type', 'unknown type')})")
    description.add("base model", adapter.get("base_model_name_or_path"))
    description.add("rank", adapter.get("r"))
    description.add("alpha", adapter.get("lora_alpha"))
    modules = adapter.get("target_modules")
    description.add("modules", ", ".join(sorted(modules)) if isinstance(modules, list) else modules)
    weights = path / "adapter_model.safetensors"
    if not weights.is_file():
        raise UserError(f"{path}: an adapter without adapter_model.safetensors; save it as safetensors")
    description.add("parameters", _millions(_parameters(file_tensors(weights))))
    description.add("weights", _size(weights.stat().st_size))
    _add_provenance(description, read_provenance(path))
    return description


def _run(path: Path) -> Description:
    description = Description("training run (turn a checkpoint into a model with `llava-tuning export`)")
    found = [
        (int(match[1]), child) for child in path.iterdir() if (match := _ITERATION.fullmatch(child.name))
    ]
    for _, checkpoint in sorted(found):
        description.add("checkpoint", f"{checkpoint.name} ({_size(_bytes(checkpoint))})")
    description.add("config", ", ".join(sorted(child.name for child in path.glob("*.py"))))
    _add_provenance(description, read_provenance(path))
    return description


def _checkpoint(path: Path) -> Description:
    description = Description("training checkpoint (turn it into a model with `llava-tuning export`)")
    match = _ITERATION.fullmatch(path.name)
    description.add("step" if path.name.startswith("iter") else "epoch", match[1] if match else None)
    description.add("size", _size(_bytes(path)))
    return description


def _add_picture_size(description: Description, path: Path, vision: dict[str, Any]) -> None:
    side = vision.get("image_size")
    processor: dict[str, Any] = {}
    for name in ("preprocessor_config.json", "processor_config.json"):
        if not processor and (path / name).is_file():
            processor = _json(path / name)
    processor = processor.get("image_processor", processor)
    if not processor:
        fit = "no picture processor"
    else:
        fit = "padded to a square" if processor.get("do_pad") else "cropped to a square"
    description.add("picture", f"{side}×{side} pixels, patches of {vision.get('patch_size')}, {fit}")


def _add_provenance(description: Description, provenance: Provenance | None) -> None:
    if provenance is None:
        description.add("provenance", "none recorded")
        return
    description.add("stage", provenance.stage)
    for base in provenance.base_models:
        description.add(f"from {base.role}", base.name + (f" ({base.revision})" if base.revision else ""))
    description.add("configuration", provenance.config_name)
    for name, digest in provenance.data.items():
        description.add("data", f"{name} (SHA-256 {digest[:12]}…)")
    for name, score in provenance.scores.items():
        description.add("score", f"{name}: {score:g}")
    description.add(
        "libraries", ", ".join(f"{name} {version}" for name, version in provenance.libraries.items())
    )
    description.add("created", provenance.created)


def _template(path: Path) -> str:
    jinja = path / "chat_template.jinja"
    if jinja.is_file():
        text = jinja.read_text(encoding="utf-8")
    else:
        tokenizer = path / "tokenizer_config.json"
        text = str(_json(tokenizer).get("chat_template") or "") if tokenizer.is_file() else ""
    if not text:
        return "none"
    return "ChatML" if "<|im_start|>" in text else "the tokenizer's own"


def _has_context(config: dict[str, Any]) -> bool:
    return bool(config.get("max_position_embeddings"))


def _layers(config: dict[str, Any]) -> str:
    heads = f"{config.get('num_attention_heads', '?')} heads"
    if config.get("num_key_value_heads") not in (None, config.get("num_attention_heads")):
        heads += f" ({config['num_key_value_heads']} key/value)"
    layers, hidden = config.get("num_hidden_layers", "?"), config.get("hidden_size", "?")
    return f"{config.get('model_type', 'unknown')}, {layers} layers, hidden {hidden}, {heads}"


def _parameters(tensors: dict[str, TensorInfo]) -> int:
    return sum(prod(info.shape) for info in tensors.values())


def _shares(parts: dict[str, int]) -> str:
    return ", ".join(f"{label} {_millions(count)}" for label, count in sorted(parts.items()))


def _millions(count: int) -> str:
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _bytes(path: Path) -> int:
    if path.is_dir():  # DeepSpeed saves a checkpoint as a directory
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def _json(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); export or download it again") from None
    return values
