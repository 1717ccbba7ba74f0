"""From a training checkpoint to a model directory that needs nothing of XTuner, proved equal to it."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors.torch import save_file
from xtuner.registry import BUILDER

from llava_tuning.errors import UserError
from llava_tuning.models.directory import let_others_read
from llava_tuning.models.llama import TOLERANCE, largest_difference, round_parameters
from llava_tuning.models.llava import load_image_processor
from llava_tuning.models.provenance import (
    BaseModelSource,
    Provenance,
    hash_file,
    read_provenance,
    write_provenance,
)
from llava_tuning.runs.files import CONFIG_FILE
from llava_tuning.training.checkpoint import check_readable
from llava_tuning.training.config import TEXT_STAGE
from llava_tuning.training.language_model import LanguageModelStep
from llava_tuning.training.launch import latest_checkpoint
from llava_tuning.training.model import load_trained
from llava_tuning.training.places import check_place
from llava_tuning.training.serving import run_tokenizer, serving
from llava_tuning.training.start import START


@dataclass(frozen=True)
class ExportReport:
    """Largest logit differences: training model to merged model, and what was saved to what was read back."""

    directory: Path
    probes: str  # what both were asked
    merged_difference: float
    reloaded_difference: float
    rounding_difference: float


def export(
    work_dir: str | Path, out: str | Path, checkpoint: str | Path | None = None, dtype: str = "bfloat16"
) -> ExportReport:
    """Merge a checkpoint into its base models and write a model directory.

    Args:
        work_dir: the directory of a training run.
        out: where the model goes; must not hold a model yet.
        checkpoint: an `iter_N.pth`, which is a directory where DeepSpeed wrote it; the newest when None.
        dtype: of the written weights.

    Raises:
        UserError: the run or checkpoint is incomplete, `out` is taken, or the exported model differs from the
            trained one.
    """
    work_dir, out = Path(work_dir), Path(out)
    config, chosen = _run_and_checkpoint(work_dir, out, checkpoint)
    served = serving(config)
    model = _training_model(config, chosen)
    vocabulary = model.language_model().config.vocab_size  # LLaVA's is larger by the picture token
    reference = served.trained_logits(model)
    merged = served.merge(model)
    del model
    merged_difference = largest_difference(served.logits(merged), reference, vocabulary)
    if merged_difference > TOLERANCE:
        raise UserError(
            f"{chosen}: the merged model's logits differ from the trained ones by {merged_difference:.2e} "
            f"(more than {TOLERANCE}); nothing was written"
        )
    round_parameters(merged, getattr(torch, dtype))  # the values that will be written, computed in float32
    rounded = served.logits(merged)
    rounding_difference = largest_difference(rounded, reference, vocabulary)
    served.save(merged.to(getattr(torch, dtype)), out)
    del merged
    gc.collect()
    reloaded_difference = largest_difference(served.saved_logits(out), rounded, vocabulary)
    if reloaded_difference > TOLERANCE:
        raise UserError(
            f"{out}: reads back differently by {reloaded_difference:.2e}; delete it and export again"
        )
    write_provenance(out, _provenance(config, work_dir, chosen))
    return ExportReport(out, served.probes, merged_difference, reloaded_difference, rounding_difference)


def read_run(work_dir: Path) -> Config:
    """The config that a run was trained by.

    Raises:
        UserError: the directory is none of a run, its config is damaged, or its base models are gone.
    """
    _check_run(work_dir)
    try:
        config = Config.fromfile(work_dir / CONFIG_FILE, import_custom_modules=False)
    except Exception as error:  # mmengine raises whatever the file's own code raises
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UserError(f"{work_dir / CONFIG_FILE}: not readable ({reason}); restore the run's own") from None
    if "stage" not in config:
        raise UserError(f"{work_dir / CONFIG_FILE}: not a run's config (no stage); restore the run's own")
    for name in ("llm",) if config.stage == TEXT_STAGE else ("llm", "vision_tower"):
        if not Path(config[name]).is_dir():
            raise UserError(
                f"{work_dir / CONFIG_FILE}: {name} = {config[name]} is gone; put the base model back, or "
                "name its new place there"
            )
    return config


def _check_run(work_dir: Path) -> None:
    if not work_dir.is_dir():
        raise UserError(f"{work_dir}: no such directory; name a run's work directory")
    if not (work_dir / CONFIG_FILE).is_file():
        raise UserError(
            f"{work_dir}: no {CONFIG_FILE}, so this is no training run; name a run's work directory"
        )


def _run_and_checkpoint(work_dir: Path, out: Path, checkpoint: str | Path | None) -> tuple[Config, Path]:
    _check_run(work_dir)
    check_place(out)
    if (out / "config.json").exists():
        raise UserError(f"{out}: holds a model already; choose another directory or delete it")
    chosen = Path(checkpoint) if checkpoint else latest_checkpoint(work_dir)
    if chosen is None or not chosen.exists():
        raise UserError(f"{chosen or work_dir}: no checkpoint (iter_N.pth) there; has the run saved one yet?")
    check_readable(chosen)
    return read_run(work_dir), chosen


def _training_model(config: Config, checkpoint: Path) -> LanguageModelStep:
    """The run's model in float32 on the CPU with the checkpoint's weights; a 4-bit base is loaded in full."""
    settings: dict[str, Any] = config.model.to_dict()
    settings["llm"].update(dtype="float32", load_in_4bit=False)
    if config.stage != TEXT_STAGE:
        settings["visual_encoder"].update(dtype="float32")
        settings.update(projector_checkpoint=None)
    # Compared in float32, whatever the run computed in.
    settings.update(use_activation_checkpointing=False)
    settings.update(compute_dtype=None, frozen_fp8=False, compile_layers=False)
    model: LanguageModelStep = BUILDER.build(Config(settings)._cfg_dict)
    load_trained(model, checkpoint)
    return model.float().eval()


def _provenance(config: Config, work_dir: Path, checkpoint: Path) -> Provenance:
    base_models = [_base("language model", config.llm)]
    if config.stage != TEXT_STAGE:
        base_models.append(_base("vision tower", config.vision_tower))
    return Provenance(
        stage=config.stage,
        base_models=base_models,
        config_name=work_dir.name,
        config_hash=hash_file(work_dir / CONFIG_FILE),
        data={
            **_data_hash(Path(config.data_path)),
            **_data_hash(work_dir / START),  # of a run that went on with a model's parts
            **_checkpoint_hashes(checkpoint),
        },
        template=run_tokenizer(config).chat_template,
    )


def _data_hash(path: Path) -> dict[str, str]:
    """Nothing where the data is gone, or was named relative to another folder: exporting does not need it."""
    return {path.name: hash_file(path)} if path.is_file() else {}


def _checkpoint_hashes(checkpoint: Path) -> dict[str, str]:
    if checkpoint.is_file():
        return {checkpoint.name: hash_file(checkpoint)}
    files = sorted(path for path in checkpoint.iterdir() if path.is_file())
    return {f"{checkpoint.name}/{file.name}": hash_file(file) for file in files}


def _base(role: str, directory: str) -> BaseModelSource:
    """What the directory was prepared from, where its own provenance says so, and its weights."""
    weights = {file.name: hash_file(file) for file in sorted(Path(directory).glob("*.safetensors"))}
    provenance = read_provenance(directory)
    for source in provenance.base_models if provenance is not None else ():
        if source.role == role:
            prepared = {f"prepared/{name}": value for name, value in weights.items()}
            return source.model_copy(update={"hashes": {**source.hashes, **prepared}})
    return BaseModelSource(role=role, name=Path(directory).resolve().name, hashes=weights)


def export_parts(work_dir: str | Path, out: str | Path, checkpoint: str | Path | None = None) -> Path:
    """Write what a LoRA run made without its language model: vision tower, projector, adapter, in bfloat16.

    The parts are some megabytes and become a model directory again with the same base model
    (`llava_tuning.models.default` does it for the embedded default).

    Raises:
        UserError: the run is incomplete or did not train an adapter.
    """
    work_dir, out = Path(work_dir), Path(out)
    config, chosen = _run_and_checkpoint(work_dir, out, checkpoint)
    if config.stage == TEXT_STAGE:
        raise UserError(f"{work_dir}: a text run has no parts but its adapter; export it with --adapter")
    model: Any = _training_model(config, chosen)
    if not model.use_llm_lora:
        raise UserError(
            f"{work_dir}: parts need an adapter on the language model; use export without --parts"
        )
    out.mkdir(parents=True, exist_ok=True)
    _save_adapter(model.llm, out / "llm_adapter")
    projector = {k.removeprefix("model."): v.bfloat16() for k, v in model.projector.state_dict().items()}
    save_file(projector, out / "projector.safetensors")
    vision = (
        model.visual_encoder.merge_and_unload() if model.use_visual_encoder_lora else model.visual_encoder
    )
    vision.to(torch.bfloat16).save_pretrained(out / "vision_tower")
    load_image_processor(config.vision_tower).save_pretrained(out / "vision_tower")
    for folder in (out, out / "vision_tower"):
        let_others_read(folder)
    write_provenance(out, _provenance(config, work_dir, chosen))
    return out


def export_adapter(work_dir: str | Path, out: str | Path, checkpoint: str | Path | None = None) -> Path:
    """Write the adapter of a text run in peft's format, in bfloat16; `merge` makes it a model with its base.

    Raises:
        UserError: the run is incomplete, did not train an adapter, or is one of LLaVA.
    """
    work_dir, out = Path(work_dir), Path(out)
    config, chosen = _run_and_checkpoint(work_dir, out, checkpoint)
    if config.stage != TEXT_STAGE:
        raise UserError(f"{work_dir}: a LLaVA run trains more than an adapter; export it with --parts")
    if config.llm_lora is None:
        raise UserError(f"{work_dir}: trained the whole model and no adapter; export it without --adapter")
    _save_adapter(_training_model(config, chosen).llm, out)
    write_provenance(out, _provenance(config, work_dir, chosen))
    return out


def _save_adapter(llm: Any, out: Path) -> None:
    llm.to(torch.bfloat16).save_pretrained(str(out))
    let_others_read(out)
    adapter_config = out / "adapter_config.json"
    values = json.loads(adapter_config.read_text(encoding="utf-8"))
    values["base_model_name_or_path"] = None  # a path of this machine means nothing elsewhere
    adapter_config.write_text(json.dumps(values, indent=1, sort_keys=True), encoding="utf-8")
    (out / "README.md").unlink(missing_ok=True)
