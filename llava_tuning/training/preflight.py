"""Everything that can be known to go wrong, said before a run starts."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from mmengine.config import Config
from transformers import CLIPVisionConfig, LlamaConfig

from llava_tuning.data.check import check_file
from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import Checkpoint, read_config
from llava_tuning.models.llava import load_image_processor, tokens_per_image
from llava_tuning.models.pictures import open_picture
from llava_tuning.models.prepare import check_llama_weights
from llava_tuning.models.tokenizer import check_chat_template, load_tokenizer
from llava_tuning.training.checkpoint import read_weights
from llava_tuning.training.config import TEXT_STAGE
from llava_tuning.training.float8 import has_float8
from llava_tuning.training.selection.questions import read_questions

PICTURES_CHECKED = 2_000  # decoding more would take longer than anybody waits before a run
FINDINGS_SHOWN = 5


def resolve_paths(config: Config) -> None:
    """Replace the names `smollm2` (language model) and `default` (vision tower) by their directories."""
    from llava_tuning.models.default import PARTS
    from llava_tuning.models.smollm2 import smollm2_directory

    if config.llm == "smollm2":
        config.llm = str(smollm2_directory())
    if config.vision_tower == "default":
        config.vision_tower = str(PARTS / "vision_tower")


def check(config: Config) -> int:
    """Check every path, record and shape that the config names; returns the number of records.

    Raises:
        UserError: names what is wrong and the remedy.
    """
    llm = _directory(config, "llm")
    vision = None if config.stage == TEXT_STAGE else _directory(config, "vision_tower")
    kind = read_config(llm).get("model_type")  # not by transformers, which would offer to run a model's code
    if kind != "llama":
        raise UserError(
            f"llm = {llm}: is a {kind} checkpoint; turn it into a Llama directory with "
            f"`llava-tuning prepare {quote(str(llm))} --out DIR` and name DIR"
        )
    check_llama_weights(llm)
    text = LlamaConfig.from_pretrained(llm)
    tokenizer = load_tokenizer(llm, name=f"llm = {llm}", remedy="prepare it again")
    check_chat_template(tokenizer, f"llm = {llm}")
    if config.load_in_4bit and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("load_in_4bit needs bitsandbytes: pip install -r requirements-train.txt")
    if vision is not None:
        return _check_data(config, tokenizer, _check_pictures(config, vision, text.hidden_size))
    if config.freeze_llm and config.llm_lora is None:
        raise UserError("nothing would be trained: set freeze_llm=False, or a rank with llm_lora.r")
    return _check_data(config, tokenizer, 0)


def _check_pictures(config: Config, vision: Path, text_hidden: int) -> int:
    """Check what LLaVA has besides the language model; returns the positions that a picture takes."""
    if config.image_folder is None or not Path(config.image_folder).is_dir():
        raise UserError(f"image_folder = {config.image_folder}: no such directory")
    read_config(vision)
    Checkpoint(vision)
    picture = CLIPVisionConfig.from_pretrained(vision)
    load_image_processor(vision)
    patches = tokens_per_image(picture)
    if config.max_length <= patches:
        raise UserError(
            f"max_length = {config.max_length}: one picture alone takes {patches} tokens; set it above that"
        )
    if config.projector_checkpoint:
        _check_projector(config.projector_checkpoint, picture.hidden_size, text_hidden)
    elif config.stage == "finetune":
        raise UserError(
            "projector_checkpoint is not set: a finetuning run starts from the projector of a pretraining "
            "run; set it to that run's iter_N.pth"
        )
    folder = Path(config.image_folder)
    for image in config.evaluation_images:
        if not (folder / image).is_file():
            raise UserError(f"evaluation_images: {folder / image} is missing; name a picture in image_folder")
        open_picture(folder / image)
    return patches


def check_machine(config: Config, lengths: Sequence[int], deepspeed: bool) -> None:
    """What only this machine and all of the data can tell.

    Raises:
        UserError: `frozen_fp8` without a GPU for it or under DeepSpeed; a sample exceeds `batch_tokens`.
    """
    asked = config.frozen_fp8 not in (False, "auto")
    if asked and deepspeed:
        raise UserError(
            "frozen_fp8 does not work with --deepspeed, which rounds all weights; set it to False"
        )
    if asked and not has_float8():
        raise UserError("frozen_fp8 needs an NVIDIA GPU from Hopper on (H100); set it to False")
    longest = max(map(abs, lengths), default=0)
    if config.batch_tokens is not None and config.batch_tokens < longest:
        raise UserError(
            f"batch_tokens = {config.batch_tokens}: the longest record takes {longest} tokens; "
            "set it to that or more"
        )


def check_selection(config: Config, deepspeed: str | None) -> None:
    """What is to be scored at checkpoints is there, and can be asked.

    Raises:
        UserError: as for `read_questions`, or the weights are spread over processes.
    """
    if deepspeed is not None and _is_zero3(deepspeed):
        raise UserError(
            "selection_sample does not work with ZeRO-3, where no process holds the whole model; set it to "
            "None and run `llava-tuning select` afterwards"
        )
    paths = (None if path is None else Path(path) for path in (config.held_out, config.general))
    read_questions(Path(config.data_path), *paths)


def _is_zero3(deepspeed: str) -> bool:
    """Whether one of XTuner's strategies, or a DeepSpeed JSON file, spreads the weights."""
    if not Path(deepspeed).is_file():
        return deepspeed.startswith("zero3")
    try:
        stage = json.loads(Path(deepspeed).read_text(encoding="utf-8"))["zero_optimization"]["stage"]
    except (ValueError, KeyError, TypeError):  # DeepSpeed says itself what is wrong with it
        return False
    return bool(stage == 3)


def check_start(config: Config, checkpoint: Path) -> None:
    """A run can begin with another's weights if they are of the same parts, and adapters of the same rank.

    Raises:
        UserError: they are not, or there is no such file.
    """
    if not checkpoint.is_file():
        raise UserError(
            f"--load-from {checkpoint}: no such file; name the iter_N.pth of a run without DeepSpeed, a "
            "folder that `export --parts` wrote, or default"
        )
    check_trained(config, checkpoint)
    for name, weight in read_weights(checkpoint).items():
        adapter = config.llm_lora if name.startswith("llm.") else config.visual_encoder_lora
        if ".lora_A." in name and len(weight) != adapter["r"]:
            raise UserError(
                f"--load-from {checkpoint}: an adapter in it has rank {len(weight)}, here it has "
                f"{adapter['r']}; set the same rank"
            )


def check_trained(config: Config, checkpoint: Path) -> None:
    """A run goes on only from a checkpoint that trained the same parts.

    Raises:
        UserError: it trained others, e.g. in the other stage.
    """
    names = list(read_weights(checkpoint))
    adapted = [name for name in names if "lora_" in name]
    found = {
        "the language model by LoRA": any(name.startswith("llm.") for name in adapted),
        "the language model in full": any(name.startswith("llm.") and "lora_" not in name for name in names),
        "the vision tower by LoRA": any(name.startswith("visual_encoder.") for name in adapted),
        "a projector": any(name.startswith("projector.") for name in names),
    }
    wanted = {
        "the language model by LoRA": config.llm_lora is not None,
        "the language model in full": not config.freeze_llm and config.llm_lora is None,
        "the vision tower by LoRA": config.visual_encoder_lora is not None,
        "a projector": config.stage != TEXT_STAGE,
    }
    for part, trains in wanted.items():
        if trains != found[part]:
            did = "trained" if found[part] else "did not train"
            raise UserError(
                f"{checkpoint}: {did} {part}, other than this config; name a checkpoint of a run with the "
                "same config"
            )


def _check_data(config: Config, tokenizer, patches: int) -> int:  # type: ignore[no-untyped-def]
    path, folder = Path(config.data_path), None
    if config.stage != TEXT_STAGE:
        folder = Path(config.image_folder)
    findings, records = check_file(
        path,
        folder,
        tokenizer=tokenizer,
        max_length=config.max_length,
        tokens_per_image=patches,
        max_pictures=PICTURES_CHECKED,
        text_only=folder is None,
    )
    duplicates = [finding for finding in findings if finding.kind == "duplicate"]
    findings = [finding for finding in findings if finding.kind != "duplicate"]
    if duplicates:  # repeating an example can be meant
        print(f"note        {len(duplicates):,} duplicate records, e.g. {duplicates[0]}")
    if findings:
        shown = "\n  ".join(str(finding) for finding in findings[:FINDINGS_SHOWN])
        more = len(findings) - FINDINGS_SHOWN
        kind = "--text" if folder is None else f"--images {quote(str(folder))}"
        raise UserError(
            f"{path}: {len(findings)} records cannot be trained on; "
            f"`llava-tuning data check {quote(str(path))} {kind}` lists them:\n  {shown}"
            + (f"\n  … and {more} more" if more > 0 else "")
        )
    return records


def _directory(config: Config, name: str) -> Path:
    value = config[name]
    if not value:
        raise UserError(f"{name} is not set: name a directory with `--set {name}=DIR` or in the config")
    path = Path(value)
    if not (path / "config.json").is_file():
        raise UserError(
            f"{name} = {path}: no such model directory (no config.json); see `llava-tuning prepare`"
        )
    return path


def _check_projector(checkpoint: str, vision_hidden: int, text_hidden: int) -> None:
    if not Path(checkpoint).exists():
        raise UserError(
            f"projector_checkpoint = {checkpoint}: no such file; name the iter_N.pth of a pretrain run"
        )
    if Path(checkpoint).is_dir() and not any(Path(checkpoint).glob("*model_states.pt")):  # not DeepSpeed's
        raise UserError(
            f"projector_checkpoint = {checkpoint}: is a directory; name the iter_N.pth of a pretrain run"
        )
    weight = read_weights(checkpoint).get("projector.model.0.weight")
    if weight is None or tuple(weight.shape) != (text_hidden, vision_hidden):
        found = "no projector" if weight is None else f"a projector {weight.shape[1]} → {weight.shape[0]}"
        raise UserError(
            f"projector_checkpoint = {checkpoint}: holds {found}, but these base models need "
            f"{vision_hidden} → {text_hidden}; pretrain with the same llm and vision_tower"
        )
