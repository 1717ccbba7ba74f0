"""An adapter and the language model that it was trained on, made one model again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import some_names
from llava_tuning.models.llama import (
    TOLERANCE,
    largest_difference,
    load_llama,
    probe_logits,
    round_parameters,
    save_llama,
)
from llava_tuning.models.provenance import (
    BaseModelSource,
    Provenance,
    hash_file,
    read_provenance,
    write_provenance,
)

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class MergeReport:
    """Largest logit differences: adapter on its base to merged model, and what rounding adds."""

    directory: Path
    merged_difference: float
    rounding_difference: float


def merge_adapter(base: Path, adapter: Path, out: Path, dtype: str = "bfloat16") -> MergeReport:
    """Write the language model in `base` with the LoRA adapter (peft's format) merged into it.

    Raises:
        UserError: the adapter is incomplete or belongs to another base, `out` is taken, or the merged model
            differs from adapter and base.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already and not empty; delete it or give another --out")
    for name in ("adapter_config.json", WEIGHTS):
        if not (adapter / name).is_file():
            raise UserError(f"{adapter}: holds no {name}; give the directory that export --adapter wrote")
    llm, tokenizer = load_llama(base, torch.float32)
    adapted = _adapted(llm, base, adapter)
    reference = probe_logits(adapted, tokenizer)
    merged: Any = adapted.merge_and_unload()
    merged_difference = largest_difference(probe_logits(merged, tokenizer), reference)
    if merged_difference > TOLERANCE:
        raise UserError(
            f"{adapter}: the merged model's logits differ by {merged_difference:.2e} (more than {TOLERANCE}) "
            "from those of adapter and base; nothing was written"
        )
    round_parameters(merged, getattr(torch, dtype))
    rounding_difference = largest_difference(probe_logits(merged, tokenizer), reference)
    save_llama(merged.to(getattr(torch, dtype)), tokenizer, out)
    write_provenance(out, _provenance(base, adapter, tokenizer.chat_template))
    return MergeReport(out, merged_difference, rounding_difference)


def _adapted(llm: Any, base: Path, adapter: Path) -> Any:
    """peft itself fills what an adapter lacks with an adapter that does nothing."""
    try:
        model: Any = PeftModel.from_pretrained(llm, str(adapter))
        with safe_open(adapter / WEIGHTS, framework="pt") as file:
            found = set(file.keys())
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{adapter}: does not fit {base} ({reason}); give the base model that it was trained on"
        ) from None
    wrong = found ^ set(get_peft_model_state_dict(model))
    if wrong:
        raise UserError(
            f"{adapter}: its weights are not those of its adapter_config.json on {base} "
            f"({some_names(wrong)}); give the base model that it was trained on, or export it again"
        )
    return model.eval()


def _provenance(base: Path, adapter: Path, template: Any) -> Provenance:
    """The adapter's own origin, where it says so, and the weights that were merged."""
    own = read_provenance(adapter) or Provenance(stage="merged", template=template)
    hashes = {file.name: hash_file(file) for file in sorted(base.glob("*.safetensors"))}
    sources = own.base_models or [
        BaseModelSource(role="language model", name=base.resolve().name, hashes=hashes)
    ]
    merged = BaseModelSource(
        role="adapter", name=adapter.resolve().name, hashes={WEIGHTS: hash_file(adapter / WEIGHTS)}
    )
    return own.model_copy(update={"base_models": [*sources, merged]})
