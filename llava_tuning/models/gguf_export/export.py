"""Write a model directory as GGUF: one file for the language model, one more for a model that sees."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, LlamaFileType
from gguf.quants import quantize

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import Checkpoint, TensorInfo, some_names
from llava_tuning.models.directory import complete_or_not_at_all
from llava_tuning.models.gguf_export.fields import add_language_model, add_vision, vision_layers
from llava_tuning.models.gguf_export.tensors import Place, expected, expected_to_see, interleave, place
from llava_tuning.models.provenance import FILE_NAME

# Name on the command line → tensor type, file type and what files are called by.
DTYPES = {
    "float32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32, "F32"),
    "float16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16, "F16"),
    "bfloat16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16, "BF16"),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0, "Q8_0"),
}
_ALWAYS_FLOAT32 = ("v.patch_embd.weight", "v.position_embd.weight", "v.class_embd")


@dataclass(frozen=True)
class GgufFiles:
    """What was written; `mmproj` is None for a text model."""

    model: Path
    mmproj: Path | None


@dataclass(frozen=True)
class _Tensor:
    source: str
    place: Place
    info: TensorInfo
    kind: GGMLQuantizationType


def export_gguf(directory: Path, out: Path, name: str, dtype: str = "bfloat16") -> GgufFiles:
    """Write `NAME-TYPE.gguf` and, for a LLaVA directory, `mmproj-NAME-TYPE.gguf` into a new directory.

    One tensor at a time is in memory. Vectors, and what llama.cpp wants so, are float32 whatever `dtype` is;
    with q8_0, rows that are no multiple of 32 long are float16.

    Args:
        directory: a LLaVA or Llama directory.
        out: must not hold anything; appears only once it is complete.
        name: of the model, in the files and their names.
        dtype: a key of `DTYPES`.

    Raises:
        UserError: llama.cpp cannot run such a model, the directory is damaged, or `out` is taken.
    """
    from transformers import AutoConfig

    from llava_tuning.models.kind import check_model_directory
    from llava_tuning.models.tokenizer import load_tokenizer

    sees = check_model_directory(directory) == "llava"
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    checkpoint = Checkpoint(directory)
    kind, file_type, label = DTYPES[dtype]
    layers = vision_layers(config, directory) if sees else 0
    tensors = _tensors(directory, checkpoint, kind, layers)
    _check_complete(directory, tensors, config, layers)
    tokenizer = load_tokenizer(directory, name=directory, remedy="export or download it again")
    rows = next(t.info.shape[0] for t in tensors if t.place.name == "token_embd.weight")
    with complete_or_not_at_all(out) as building:
        model, mmproj = building / f"{name}-{label}.gguf", building / f"mmproj-{name}-{label}.gguf"
        writers = [_writer(model, "llama", name, file_type)]
        if sees:  # all of it is checked before anything is written
            writers.append(_writer(mmproj, "clip", name, file_type))
            add_vision(writers[1], config, directory, layers)
        add_language_model(writers[0], config, tokenizer, rows, directory)
        for writer in writers:
            part = [tensor for tensor in tensors if tensor.place.sees == (writer is not writers[0])]
            _write(writer, checkpoint, part, _change_rows(config))
        if (directory / FILE_NAME).is_file():
            shutil.copyfile(directory / FILE_NAME, building / FILE_NAME)
    return GgufFiles(out / model.name, out / mmproj.name if sees else None)


def _writer(path: Path, architecture: str, name: str, file_type: LlamaFileType) -> GGUFWriter:
    writer = GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_file_type(file_type)
    return writer


def _tensors(
    directory: Path, checkpoint: Checkpoint, kind: GGMLQuantizationType, vision: int
) -> list[_Tensor]:
    """In the checkpoint's order, without the vision layers after the one that features come from."""
    tensors = []
    for name, info in checkpoint.tensors.items():
        try:
            to = place(name)
        except KeyError:
            raise UserError(
                f"{directory}: unknown weight {name}; is config.json that of this model?"
            ) from None
        if to is not None and not (to.sees and to.layer is not None and to.layer >= vision):
            tensors.append(_Tensor(name, to, info, _kind(to.name, info, kind)))
    return tensors


def _kind(name: str, info: TensorInfo, kind: GGMLQuantizationType) -> GGMLQuantizationType:
    if len(info.shape) == 1 or name in _ALWAYS_FLOAT32:
        return GGMLQuantizationType.F32
    if info.shape[-1] % GGML_QUANT_SIZES[kind][0]:
        return GGMLQuantizationType.F16
    return kind


def _check_complete(directory: Path, tensors: list[_Tensor], config: Any, vision: int) -> None:
    text = config.get_text_config()
    found = {tensor.place.name for tensor in tensors}
    wanted = expected(text.num_hidden_layers, tied=bool(config.tie_word_embeddings))
    if vision:
        wanted |= expected_to_see(vision)
    if missing := wanted - found:
        raise UserError(
            f"{directory}: weights are missing ({some_names(missing)} in GGUF's names); export or download "
            "it again"
        )


def _change_rows(config: Any) -> Callable[[Place, torch.Tensor], torch.Tensor]:
    text = config.get_text_config()
    heads = {"attn_q": text.num_attention_heads, "attn_k": text.num_key_value_heads}

    def change(place: Place, tensor: torch.Tensor) -> torch.Tensor:
        module = place.name.split(".")[-2]
        return interleave(tensor, heads[module]) if module in heads and not place.sees else tensor

    return change


def _write(
    writer: GGUFWriter,
    checkpoint: Checkpoint,
    tensors: list[_Tensor],
    change: Callable[[Place, torch.Tensor], torch.Tensor],
) -> None:
    """Header first, then each tensor as it is read."""
    for tensor in tensors:
        block, size = GGML_QUANT_SIZES[tensor.kind]
        shape = tensor.info.shape
        nbytes = int(np.prod(shape)) // block * size
        writer.add_tensor_info(tensor.place.name, shape, np.dtype(np.float32), nbytes, raw_dtype=tensor.kind)
    wanted = {tensor.source: tensor for tensor in tensors}
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, values in checkpoint:
            if name in wanted:
                to = wanted[name]
                changed = change(to.place, values).float().contiguous()
                writer.write_tensor_data(quantize(changed.numpy(), to.kind))
    finally:
        writer.close()
