"""`prepare`: any supported source of a base model → a native Llama directory."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
)

from llava_tuning.errors import UserError
from llava_tuning.models import hub, internlm2
from llava_tuning.models.checkpoints import (
    GIGABYTE,
    Checkpoint,
    ShardWriter,
    read_config,
    rewrite_json,
    some_names,
)
from llava_tuning.models.directory import complete_or_not_at_all
from llava_tuning.models.gguf_llama import convert_gguf
from llava_tuning.models.importing.lora import AdaptedCheckpoint, LoraAdapter
from llava_tuning.models.internlm2_tokenizer import convert_tokenizer
from llava_tuning.models.llama import flat_rope
from llava_tuning.models.provenance import BaseModelSource, Provenance, hash_file, write_provenance
from llava_tuning.models.smollm2 import prepare_smollm2
from llava_tuning.models.tokenizer import check_chat_template, load_tokenizer, name_tokenizer_class

SMOLLM2 = "smollm2"
MAX_SHARD_GB = 2.0
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model")
Progress = Callable[[int, int, str], None]


def prepare(
    source: str,
    out: str | Path,
    *,
    revision: str | None = None,
    max_shard_gb: float = MAX_SHARD_GB,
    progress: Progress | None = None,
    adapter: Path | None = None,
    chat_template: str | None = None,
) -> Path:
    """Write a base model as a Llama directory with tokenizer, chat template and `provenance.json`.

    Args:
        source: directory of an InternLM2 or Llama checkpoint, `smollm2`, a `.gguf` file, or a hub id.
        out: the directory to make; it appears only once it is complete.
        revision: branch, tag or commit, for a hub id.
        max_shard_gb: largest weight file to write, in GB; with one tensor more it bounds the memory used.
        progress: called with (tensors done, tensors in all, name).
        adapter: a LoRA adapter trained on the source's own layout, to be merged; for a directory or hub id.
        chat_template: in place of the tokenizer's own.

    Raises:
        UserError: the source is missing, unsupported, incomplete or of another shape than its config says, or
            `out` is not empty.
    """
    if not 0 < max_shard_gb < math.inf:  # written so that NaN fails too
        raise UserError(f"a largest shard of {max_shard_gb} GB makes no sense; give a number above 0")
    out = Path(out).expanduser()
    path = Path(source).expanduser()
    with complete_or_not_at_all(out) as building:
        if path.is_dir():
            origin = _Origin(path, path.name, revision, adapter, chat_template)
            _prepare_directory(origin, building, max_shard_gb, progress)
        elif (adapter or chat_template) and (source == SMOLLM2 or path.suffix == ".gguf"):
            raise UserError(f"{source}: an adapter needs the directory or hub id of its base model")
        elif source == SMOLLM2:
            prepare_smollm2(building)
        elif path.suffix == ".gguf":
            _prepare_gguf(path, building)
        elif hub.HUB_ID.fullmatch(source):
            local, commit = hub.download(source, revision)
            origin = _Origin(local, source, commit, adapter, chat_template)
            _prepare_directory(origin, building, max_shard_gb, progress)
        else:
            raise UserError(
                f"{source}: no such directory, nor '{SMOLLM2}', a .gguf file or a hub id (owner/name)"
            )
    return out


def _prepare_gguf(source: Path, out: Path) -> None:
    template = convert_gguf(source, out)
    base = BaseModelSource(role="language model", name=source.name, hashes={source.name: hash_file(source)})
    write_provenance(out, Provenance(stage="prepared", base_models=[base], template=template))


@dataclass(frozen=True)
class _Origin:
    """Where a checkpoint lies, what it is called, and what goes into it."""

    directory: Path
    name: str
    revision: str | None
    adapter: Path | None
    chat_template: str | None


def _prepare_directory(origin: _Origin, out: Path, max_shard_gb: float, progress: Progress | None) -> None:
    source = origin.directory
    config = read_config(source)
    kind = config.get("model_type")
    if kind not in ("internlm2", "llama"):
        raise UserError(f"{source}: is a {kind} model; prepare takes internlm2 and llama checkpoints")
    checkpoint = Checkpoint(source)
    if origin.adapter is not None:
        checkpoint = AdaptedCheckpoint(source, LoraAdapter(origin.adapter))
    free = shutil.disk_usage(out).free
    if checkpoint.bytes > free:
        raise UserError(
            f"{out.parent}: {free / GIGABYTE:.1f} GB are free, but the model needs "
            f"{checkpoint.bytes / GIGABYTE:.1f} GB; give an --out on a larger disk"
        )
    convert = _internlm2 if kind == "internlm2" else _llama
    rows, template = convert(source, out, config, checkpoint, origin.chat_template)
    writer = ShardWriter(out, int(max_shard_gb * GIGABYTE))
    total = len(checkpoint.tensors)
    for done, (tensor_name, converted) in enumerate(rows, 1):
        for new_name, tensor in converted:
            writer.add(new_name, tensor)
        if progress:
            progress(done, total, tensor_name)
    writer.close()
    check_llama_weights(out)
    hashes = {file.name: hash_file(file) for file in [source / "config.json", *checkpoint.shards]}
    base = BaseModelSource(role="language model", name=origin.name, revision=origin.revision, hashes=hashes)
    write_provenance(out, Provenance(stage="prepared", base_models=[base], template=template))


Converted = tuple[Iterator[tuple[str, list[tuple[str, torch.Tensor]]]], str]


def _internlm2(
    source: Path, out: Path, config: dict[str, Any], checkpoint: Checkpoint, chat_template: str | None
) -> Converted:
    """Write everything but the weights; returns those to write, tensor by tensor, and the chat template."""
    shape = internlm2.InternLM2Shape.from_config(config)
    for name in [name for name in checkpoint.tensors if name.endswith(internlm2.IGNORED_SUFFIX)]:
        del checkpoint.tensors[name]
    _check_tensors(source, checkpoint, shape.expected())
    llama_config = internlm2.llama_config(config, checkpoint.dtype)
    tokenizer = convert_tokenizer(source, llama_config.max_position_embeddings)
    if len(tokenizer) > shape.vocab:
        raise UserError(f"{source}: {len(tokenizer)} tokens do not fit an embedding of {shape.vocab} rows")
    _save_config(llama_config, out)
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(out)
    name_tokenizer_class(out)
    GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")],
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(out)
    weights = (
        (name, internlm2.convert_tensor(name, tensor, shape))
        for name, tensor in checkpoint
        if name in checkpoint.tensors
    )
    return weights, str(tokenizer.chat_template)


def _llama(
    source: Path, out: Path, config: dict[str, Any], checkpoint: Checkpoint, chat_template: str | None
) -> Converted:
    llama_config = LlamaConfig.from_dict(config)
    expected = _llama_shapes(llama_config)
    for name in list(checkpoint.tensors):
        tied = name == "lm_head.weight" and llama_config.tie_word_embeddings
        if tied or name.endswith(internlm2.IGNORED_SUFFIX):
            del checkpoint.tensors[name]
    _check_tensors(source, checkpoint, expected)
    llama_config.dtype = checkpoint.dtype
    llama_config.architectures = ["LlamaForCausalLM"]
    _save_config(llama_config, out)
    for file in (*_TOKENIZER_FILES, "generation_config.json", "chat_template.jinja"):
        if (source / file).is_file():
            shutil.copyfile(source / file, out / file)
    if chat_template is not None:
        (out / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    weights = ((name, [(name, tensor)]) for name, tensor in checkpoint if name in checkpoint.tensors)
    return weights, str(_load_tokenizer(source, out).chat_template)


def _load_tokenizer(source: Path, out: Path) -> PreTrainedTokenizerBase:
    if (out / "tokenizer_config.json").is_file():
        rewrite_json(out / "tokenizer_config.json", drop=("auto_map",))  # it would ask to run remote code
    tokenizer: PreTrainedTokenizerBase = load_tokenizer(
        out, name=source, remedy="take the complete repository"
    )
    check_chat_template(tokenizer, source)
    return tokenizer


def check_llama_weights(directory: str | Path) -> None:
    """Compare a Llama directory's weights with its config, by names and shapes alone.

    Raises:
        UserError: keys are missing, unknown or of another shape.
    """
    config = LlamaConfig.from_dict(read_config(directory))
    _check_tensors(Path(directory), Checkpoint(directory), _llama_shapes(config))


def _llama_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    return shapes


def _check_tensors(source: Path, checkpoint: Checkpoint, expected: dict[str, tuple[int, ...]]) -> None:
    unknown = set(checkpoint.tensors) - set(expected)
    if unknown:
        raise UserError(f"{source}: unknown keys {some_names(unknown)}; is config.json that of this model?")
    missing = set(expected) - set(checkpoint.tensors)
    if missing:
        raise UserError(f"{source}: missing keys {some_names(missing)}; download the checkpoint again")
    for name, shape in expected.items():
        found = checkpoint.tensors[name].shape
        if found != shape:
            raise UserError(f"{source}: {name} has shape {found}, but by config.json it has {shape}")


def _save_config(config: LlamaConfig, out: Path) -> None:
    config.save_pretrained(out)
    path = out / "config.json"
    rope = json.loads(path.read_text(encoding="utf-8"))["rope_parameters"]
    rewrite_json(path, drop=("auto_map",), **flat_rope(rope))
