"""What XTuner writes as its LLaVA format becomes a model directory that computes the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from llava_tuning.errors import UserError
from llava_tuning.models.importing.run import import_model
from llava_tuning.models.llama import largest_difference
from llava_tuning.models.provenance import read_provenance
from llava_tuning.training.serving import serving

pytestmark = pytest.mark.training
BASES = {
    "vision_lora": {"llm", "vision_tower"},
    "full": {"vision_tower"},
    "pretrain": {"llm", "vision_tower"},
}


@pytest.fixture
def written(
    build: Callable[..., Any], load_config: Callable[..., Any], tmp_path: Path
) -> Callable[[str], tuple[Path, Any]]:
    """A model's parts by XTuner's own writer, and the logits that it computes with them."""

    def write(kind: str) -> tuple[Path, Any]:
        config, model, out = load_config(kind), build(kind).eval(), tmp_path / "xtuner"
        logits = serving(config).trained_logits(model)
        # As XTuner's own configs have it.
        config.tokenizer = {
            "type": AutoTokenizer.from_pretrained,
            "pretrained_model_name_or_path": config.llm,
        }
        model.to_xtuner_llava(config, str(out), fp32=True, save_pretrained_kwargs={})
        return out, logits

    return write


@pytest.mark.parametrize("kind", list(BASES))
def test_imported_model_computes_what_xtuner_trained(
    written: Callable[[str], tuple[Path, Any]],
    load_config: Callable[..., Any],
    kind: str,
    llm: Path,
    vision_tower: Path,
    tmp_path: Path,
) -> None:
    source, logits = written(kind)
    folders = {path.name for path in source.iterdir() if path.is_dir()}
    adapters = {"llm_adapter", "visual_encoder_adapter"} if kind == "vision_lora" else set()
    assert folders == {"projector", *adapters}
    bases = {"llm": str(llm), "vision_tower": str(vision_tower)}
    out = tmp_path / "model"
    import_model(str(source), out, **{name: bases[name] for name in BASES[kind]})
    found = serving(load_config(kind)).saved_logits(out)
    # An adapter within the weights is rounded otherwise than beside them.
    assert largest_difference(found, logits, logits[0].shape[1]) < (1e-4 if adapters else 1e-5)
    provenance = read_provenance(out)
    assert provenance is not None and provenance.stage == "imported"
    roles = [base.role for base in provenance.base_models]
    assert roles == ["language model", "vision tower", "projector", *["adapter"] * len(adapters)]
    names = [base.name for base in provenance.base_models[2:]]
    assert names == [f"{source.name}/{part}" for part in ("projector", *sorted(adapters))]


def test_published_files_of_torch_are_read_as_weights_alone(
    written: Callable[[str], tuple[Path, Any]], llm: Path, vision_tower: Path, tmp_path: Path
) -> None:
    """Older repositories hold `.bin` files and Python code; neither is run."""
    source, _ = written("vision_lora")
    parts = {"projector": ("model", "pytorch_model"), "llm_adapter": ("adapter_model",) * 2}
    bases = {"llm": str(llm), "vision_tower": str(vision_tower)}
    import_model(str(source), tmp_path / "from_safetensors", **bases)
    for part, (old, new) in parts.items():
        torch.save(load_file(source / part / f"{old}.safetensors"), source / part / f"{new}.bin")
        (source / part / f"{old}.safetensors").unlink()
        (source / part / "modeling_projector.py").write_text("raise SystemExit('this code was run')")
    import_model(str(source), tmp_path / "from_bin", **bases)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("from_safetensors", "from_bin")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    torch.save({"model.0.weight": print}, source / "projector" / "pytorch_model.bin")
    with pytest.raises(UserError, match="not readable as weights alone"):
        import_model(str(source), tmp_path / "out", **bases)


def test_wrong_or_missing_parts_are_named(
    written: Callable[[str], tuple[Path, Any]], llm: Path, vision_tower: Path, tmp_path: Path
) -> None:
    source, _ = written("vision_lora")
    out, bases = tmp_path / "out", {"llm": str(llm), "vision_tower": str(vision_tower)}
    with pytest.raises(
        UserError, match=r"no language model, and its adapter was trained on .*; give it with --llm"
    ):
        import_model(str(source), out, vision_tower=str(vision_tower))
    with pytest.raises(UserError, match="give it with --vision-tower"):
        import_model(str(source), out, llm=str(llm))
    with pytest.raises(UserError, match="no preprocessor_config"):
        import_model(
            str(source), out, llm=str(llm), vision_tower=str(shutil.copytree(llm, tmp_path / "no_tower"))
        )
    adapter = source / "llm_adapter" / "adapter_config.json"
    plain = adapter.read_text()
    adapter.write_text(plain.replace('"use_dora": false', '"use_dora": true'))
    with pytest.raises(UserError, match="use_dora is True; only plain LoRA"):
        import_model(str(source), out, **bases)
    adapter.write_text(plain)
    shutil.copytree(source / "visual_encoder_adapter", source / "llm_adapter", dirs_exist_ok=True)
    with pytest.raises(UserError, match="the base model has no encoder"):
        import_model(str(source), out, **bases)
    assert not out.exists() and not list(tmp_path.glob(".out*"))
