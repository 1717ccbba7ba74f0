"""From a training checkpoint to a model directory that needs nothing of XTuner, proved equal to it."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from transformers import LlavaForConditionalGeneration
from xtuner.registry import BUILDER
from xtuner.utils import IMAGE_TOKEN_INDEX

from llava_tuning.errors import UserError
from llava_tuning.models.conversation import Message, render_conversation
from llava_tuning.models.llava import (
    assemble,
    load_image_processor,
    load_llava,
    save_llava,
    square_pixels,
    tokens_per_image,
)
from llava_tuning.models.provenance import (
    BaseModelSource,
    Provenance,
    hash_file,
    read_provenance,
    write_provenance,
)
from llava_tuning.models.tokenizer import load_tokenizer
from llava_tuning.training.checkpoint import check_readable
from llava_tuning.training.dataset import collate
from llava_tuning.training.launch import FITTED_CONFIG, latest_checkpoint
from llava_tuning.training.model import LeanLLaVAModel, load_trained
from llava_tuning.training.places import check_place

TOLERANCE = 1e-3  # largest difference of a logit, in float32
PROBE_QUESTION = "What is in the picture?"
PROBE_SIZES = ((160, 60), (60, 160), (96, 96))  # width and height, pixels: a wide, a tall, a square picture


@dataclass(frozen=True)
class ExportReport:
    """Largest logit differences: training model to merged model, and what was saved to what was read back."""

    directory: Path
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
    model = _training_model(config, chosen)
    tokenizer = _tokenizer(config)
    image_processor = load_image_processor(config.vision_tower)
    probes = [_probe_picture(size) for size in PROBE_SIZES]
    vocabulary = model.language_model().config.vocab_size
    patches = tokens_per_image(model.visual_encoder.config)
    reference = [_training_logits(model, tokenizer, image_processor, picture, patches) for picture in probes]

    llm = model.llm.merge_and_unload() if model.use_llm_lora else model.llm
    vision: Any = (
        model.visual_encoder.merge_and_unload() if model.use_visual_encoder_lora else model.visual_encoder
    )
    projector = {k.removeprefix("model."): v for k, v in model.projector.state_dict().items()}
    merged, processor = assemble(llm, vision, projector, tokenizer, image_processor)
    del model, llm, vision
    merged_difference = _compare(merged, tokenizer, image_processor, probes, reference, vocabulary)
    if merged_difference > TOLERANCE:
        raise UserError(
            f"{chosen}: the merged model's logits differ from the trained ones by {merged_difference:.2e} "
            f"(more than {TOLERANCE}); nothing was written"
        )
    _round_parameters(merged, getattr(torch, dtype))  # the values that will be written, computed in float32
    rounded = [_serving_logits(merged, tokenizer, image_processor, picture) for picture in probes]
    rounding_difference = _largest_difference(rounded, reference, vocabulary)
    save_llava(merged.to(getattr(torch, dtype)), processor, out)
    del merged
    gc.collect()
    reloaded, own_tokenizer, own_processor = load_llava(out, dtype=torch.float32)
    reloaded_difference = _compare(reloaded, own_tokenizer, own_processor, probes, rounded, vocabulary)
    if reloaded_difference > TOLERANCE:
        raise UserError(
            f"{out}: reads back differently by {reloaded_difference:.2e}; delete it and export again"
        )
    write_provenance(out, _provenance(config, work_dir, chosen))
    return ExportReport(out, merged_difference, reloaded_difference, rounding_difference)


def _run_and_checkpoint(work_dir: Path, out: Path, checkpoint: str | Path | None) -> tuple[Config, Path]:
    if not (work_dir / FITTED_CONFIG).is_file():
        raise UserError(
            f"{work_dir}: no {FITTED_CONFIG}, so this is no training run; name a run's work directory"
        )
    check_place(out)
    if (out / "config.json").exists():
        raise UserError(f"{out}: holds a model already; choose another directory or delete it")
    chosen = Path(checkpoint) if checkpoint else latest_checkpoint(work_dir)
    if chosen is None or not chosen.exists():
        raise UserError(f"{chosen or work_dir}: no checkpoint (iter_N.pth) there; has the run saved one yet?")
    check_readable(chosen)
    try:
        config = Config.fromfile(work_dir / FITTED_CONFIG, import_custom_modules=False)
    except Exception as error:  # mmengine raises whatever the file's own code raises
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UserError(
            f"{work_dir / FITTED_CONFIG}: not readable ({reason}); restore the run's own"
        ) from None
    for name in ("llm", "vision_tower"):
        if not Path(config[name]).is_dir():
            raise UserError(
                f"{work_dir / FITTED_CONFIG}: {name} = {config[name]} is gone; put the base model back, or "
                "name its new place there"
            )
    return config, chosen


def _round_parameters(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Round weights but not buffers: `model.to(bfloat16)` would also round the rotary frequencies."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).to(parameter.dtype)


def _training_model(config: Config, checkpoint: Path) -> LeanLLaVAModel:
    """The run's model in float32 on the CPU with the checkpoint's weights; a 4-bit base is loaded in full."""
    settings: dict[str, Any] = config.model.to_dict()
    settings["llm"].update(dtype="float32", load_in_4bit=False)
    settings["visual_encoder"].update(dtype="float32")
    # Compared in float32, whatever the run computed in.
    settings.update(projector_checkpoint=None, use_activation_checkpointing=False)
    settings.update(compute_dtype=None, frozen_fp8=False, compile_layers=False)
    model: LeanLLaVAModel = BUILDER.build(Config(settings)._cfg_dict)
    load_trained(model, checkpoint)
    return model.float().eval()


@torch.no_grad()
def _training_logits(
    model: LeanLLaVAModel, tokenizer: Any, image_processor: Any, picture: Image.Image, patches: int
) -> torch.Tensor:
    rendered = render_conversation(
        tokenizer,
        [Message("user", PROBE_QUESTION, images=1)],
        image_token_id=IMAGE_TOKEN_INDEX,
        tokens_per_image=patches,
        generation_prompt=True,
    )
    sample = {
        "input_ids": rendered.input_ids,
        "labels": rendered.labels,
        "pixel_values": square_pixels(picture, image_processor),
    }
    return model(collate([sample])["data"], mode="tensor")[0]


@torch.no_grad()
def _serving_logits(
    model: LlavaForConditionalGeneration, tokenizer: Any, image_processor: Any, picture: Image.Image
) -> torch.Tensor:
    vision: Any = model.config.vision_config
    rendered = render_conversation(
        tokenizer,
        [Message("user", PROBE_QUESTION, images=1)],
        image_token_id=model.config.image_token_id,
        tokens_per_image=tokens_per_image(vision),
        generation_prompt=True,
    )
    pixels = image_processor(picture, return_tensors="pt")["pixel_values"]
    return model(input_ids=torch.tensor([rendered.input_ids]), pixel_values=pixels).logits[0]


def _compare(
    model: LlavaForConditionalGeneration,
    tokenizer: Any,
    image_processor: Any,
    probes: list[Image.Image],
    reference: list[torch.Tensor],
    vocabulary: int,
) -> float:
    found = [_serving_logits(model, tokenizer, image_processor, picture) for picture in probes]
    return _largest_difference(found, reference, vocabulary)


def _largest_difference(found: list[torch.Tensor], reference: list[torch.Tensor], vocabulary: int) -> float:
    """Over the original vocabulary: the rows added for the picture token exist on one side only."""
    return max(
        float((a[:, :vocabulary] - b[:, :vocabulary]).abs().max())
        for a, b in zip(found, reference, strict=True)
    )


def _probe_picture(size: tuple[int, int]) -> Image.Image:
    picture = Image.new("RGB", size, "#e8e4da")
    ImageDraw.Draw(picture).ellipse((5, 5, size[0] * 0.6, size[1] * 0.6), fill="#c03030")
    ImageDraw.Draw(picture).rectangle(
        (size[0] * 0.6, size[1] * 0.5, size[0] - 4, size[1] - 4), fill="#2050a0"
    )
    return picture


def _tokenizer(config: Config) -> Any:
    return load_tokenizer(Path(config.llm), name=f"llm = {config.llm}", remedy="prepare it again")


def _provenance(config: Config, work_dir: Path, checkpoint: Path) -> Provenance:
    tokenizer = _tokenizer(config)
    return Provenance(
        stage=config.stage,
        base_models=[_base("language model", config.llm), _base("vision tower", config.vision_tower)],
        config_name=work_dir.name,
        config_hash=hash_file(work_dir / FITTED_CONFIG),
        data={**_data_hash(Path(config.data_path)), **_checkpoint_hashes(checkpoint)},
        template=tokenizer.chat_template,
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
    model = _training_model(config, chosen)
    if not model.use_llm_lora or model.trains_vision:
        raise UserError(
            f"{work_dir}: parts need an adapter and a frozen vision tower; use export without --parts"
        )
    out.mkdir(parents=True, exist_ok=True)
    model.llm.to(torch.bfloat16).save_pretrained(str(out / "llm_adapter"))
    adapter_config = out / "llm_adapter" / "adapter_config.json"
    values = json.loads(adapter_config.read_text(encoding="utf-8"))
    values["base_model_name_or_path"] = None  # a path of this machine means nothing elsewhere
    adapter_config.write_text(json.dumps(values, indent=1, sort_keys=True), encoding="utf-8")
    (out / "llm_adapter" / "README.md").unlink(missing_ok=True)
    projector = {k.removeprefix("model."): v.bfloat16() for k, v in model.projector.state_dict().items()}
    save_file(projector, out / "projector.safetensors")
    model.visual_encoder.to(torch.bfloat16).save_pretrained(out / "vision_tower")
    load_image_processor(config.vision_tower).save_pretrained(out / "vision_tower")
    write_provenance(out, _provenance(config, work_dir, chosen))
    return out
