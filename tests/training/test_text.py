"""A language model alone: the step, runs, checkpoints and export of LLaVA, without a picture anywhere."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config, ConfigDict
from peft import LoraConfig, PeftModel
from transformers import LlamaForCausalLM
from xtuner.model import SupervisedFinetune
from xtuner.registry import BUILDER

from llava_tuning import cli
from llava_tuning.data.records import make_record, write_json
from llava_tuning.errors import UserError
from llava_tuning.inference.backend import ChatMessage, GenerationSettings, load_backend
from llava_tuning.models.provenance import hash_file, read_provenance
from llava_tuning.training.config import config_path, load_settings, parse_settings
from llava_tuning.training.export import export_adapter, export_parts
from llava_tuning.training.hooks.answers import greedy_answer
from llava_tuning.training.launch import latest_checkpoint
from llava_tuning.training.model import load_trained

TOKENS = 12
RUNS = ["text_lora_run", "text_full_run"]
STEPS = {"lr": 1e-2, "max_steps": 10, "save_steps": 5}


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen short conversations, some of two questions, one with a system turn."""
    path = tmp_path_factory.mktemp("talk") / "talk.json"
    records = []
    for i in range(16):
        turns = [("Who are you?", "I am Momo."), (f"What is {i} and {i}?", str(2 * i))][: 1 + i % 2]
        records.append(make_record(f"talk-{i}", None, turns, system="Be brief." if i == 3 else None))
    write_json(path, records)
    return path


@pytest.fixture(scope="module")
def text_lora_run(start: Callable[..., int], talk: Path, runs: Path) -> Path:
    """By LoRA: ten steps."""
    assert start("text_lora", runs / "text_lora", data_path=talk, **STEPS) == 0
    return runs / "text_lora"


@pytest.fixture(scope="module")
def text_full_run(start: Callable[..., int], talk: Path, runs: Path) -> Path:
    """In full: two steps."""
    assert start("text_full", runs / "text_full", data_path=talk, max_steps=2) == 0
    return runs / "text_full"


@pytest.fixture
def samples(load_config: Callable[..., Config], talk: Path) -> Any:
    """`talk` as training reads it."""
    return BUILDER.build(load_config("text_lora", data_path=talk).train_dataloader.dataset)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    checkpoint = latest_checkpoint(work_dir)
    assert checkpoint is not None
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


def command(*arguments: object) -> None:
    """Run the command line; fails where it does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["llava-tuning", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert not end.value.code


def test_pictures_are_refused_by_the_model(build: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="takes no pictures"):
        build("text_lora").embed(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 3, 8, 8))


@pytest.mark.training
def test_a_run_learns_and_answers(text_lora_run: Path) -> None:
    losses = rows(text_lora_run / "loss.jsonl")
    assert [row["step"] for row in losses] == list(range(1, 11))
    assert losses[-1]["loss"] < losses[0]["loss"] - 0.1
    answers = rows(text_lora_run / "samples.jsonl")
    assert [row["step"] for row in answers] == [0, 2, 4, 6, 8, 10]
    assert {row["image"] for row in answers} == {None}


@pytest.mark.training
@pytest.mark.parametrize("run", RUNS)
def test_checkpoints_are_those_of_xtuners_own_finetuning(
    run: str, llm: Path, request: pytest.FixtureRequest
) -> None:
    state = weights(request.getfixturevalue(run))
    lora = LoraConfig(r=4, task_type="CAUSAL_LM") if run == "text_lora_run" else None
    base = {"type": LlamaForCausalLM.from_pretrained, "pretrained_model_name_or_path": str(llm)}
    theirs = SupervisedFinetune(ConfigDict(base), lora=lora, use_activation_checkpointing=False)
    assert {name: value.shape for name, value in state.items()} == {
        name: value.shape for name, value in theirs.state_dict().items()
    }
    assert all(name.startswith("llm.") for name in state)


@pytest.mark.training
def test_a_resumed_run_has_the_losses_of_the_unbroken_one(
    text_lora_run: Path, start: Callable[..., int], talk: Path, tmp_path: Path
) -> None:
    shutil.copyfile(text_lora_run / "iter_5.pth", tmp_path / "iter_5.pth")
    assert start("text_lora", tmp_path, {"resume": "auto"}, data_path=talk, **STEPS) == 0
    expected = rows(text_lora_run / "loss.jsonl")[5:]
    found = rows(tmp_path / "loss.jsonl")
    assert [row["step"] for row in found] == [6, 7, 8, 9, 10]
    assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in expected], rel=1e-6)


@pytest.mark.training
@pytest.mark.parametrize("run", RUNS)
def test_the_exported_model_answers_as_the_trained_one(
    run: str, samples: Any, talk: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    work_dir = request.getfixturevalue(run)
    command("export", work_dir, "--out", tmp_path / "out", "--dtype", "float32")
    backend = load_backend(str(tmp_path / "out"), device="cpu", load_in="float32")
    assert not backend.sees
    config = Config.fromfile(work_dir / "config.py")
    config.model.llm.dtype = "float32"
    model = BUILDER.build(config.model)
    load_trained(model, latest_checkpoint(work_dir) or "")
    settings = GenerationSettings(temperature=0, max_new_tokens=TOKENS)
    found = "".join(backend.stream([ChatMessage("user", "Who are you?")], settings))
    expected = greedy_answer(model.eval(), samples, "Who are you?", None, TOKENS)
    assert found and found.strip().rstrip("\ufffd") == expected.rstrip("\ufffd")
    provenance = read_provenance(tmp_path / "out")
    assert provenance is not None and provenance.stage == "sft"
    assert [source.role for source in provenance.base_models] == ["language model"]
    assert provenance.data["talk.json"] == hash_file(talk)


@pytest.mark.training
def test_adapter_on_base_merged_and_exported_are_one_model(
    text_lora_run: Path, llm: Path, tmp_path: Path, samples: Any
) -> None:
    command("export", text_lora_run, "--out", tmp_path / "adapter", "--adapter")
    command("export", text_lora_run, "--out", tmp_path / "whole", "--dtype", "float32")
    command("merge", llm, tmp_path / "adapter", "--out", tmp_path / "merged", "--dtype", "float32")
    adapted = PeftModel.from_pretrained(
        LlamaForCausalLM.from_pretrained(llm, dtype=torch.float32), tmp_path / "adapter"
    )
    ids = samples[1]["input_ids"][None]
    with torch.no_grad():
        merged, whole = (
            LlamaForCausalLM.from_pretrained(tmp_path / name, dtype=torch.float32)(input_ids=ids).logits
            for name in ("merged", "whole")
        )
        bare = LlamaForCausalLM.from_pretrained(llm, dtype=torch.float32)(input_ids=ids).logits
        expected = adapted(input_ids=ids).logits
    torch.testing.assert_close(merged, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(whole, expected, atol=0.02, rtol=0)  # the adapter was rounded to bfloat16
    assert (merged - bare).abs().max() > 0.1
    provenance = read_provenance(tmp_path / "merged")
    assert provenance is not None
    assert [source.role for source in provenance.base_models] == ["language model", "adapter"]


@pytest.mark.training
def test_an_adapter_is_merged_into_its_own_base_whole_or_not_at_all(
    text_lora_run: Path, llm: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    from llava_tuning.models.adapters import merge_adapter

    adapter = export_adapter(text_lora_run, tmp_path / "adapter")
    state = load_file(adapter / "adapter_model.safetensors")
    lost = sorted(state)[0]
    save_file({k: v for k, v in state.items() if k != lost}, adapter / "adapter_model.safetensors")
    with pytest.raises(UserError, match="its weights are not those of its adapter_config"):
        merge_adapter(llm, adapter, tmp_path / "out")
    save_file({**state, lost: state[lost][:, :5].contiguous()}, adapter / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"does not fit .*; give the base model that it was trained on"):
        merge_adapter(llm, adapter, tmp_path / "out")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds no adapter_model\.safetensors"):
        merge_adapter(llm, adapter, tmp_path / "out")
    with pytest.raises(UserError, match="is there already"):
        merge_adapter(llm, adapter, llm)
    assert not (tmp_path / "out").exists()


@pytest.mark.training
def test_what_does_not_exist_for_a_kind_of_run_is_told(
    text_lora_run: Path, text_full_run: Path, lora_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="export it with --adapter"):
        export_parts(text_lora_run, tmp_path / "out")
    with pytest.raises(UserError, match="export it without --adapter"):
        export_adapter(text_full_run, tmp_path / "out")
    with pytest.raises(UserError, match="export it with --parts"):
        export_adapter(lora_run, tmp_path / "out")


@pytest.mark.training
def test_a_text_run_does_not_go_on_from_a_llava_checkpoint(
    lora_run: Path, start: Callable[..., int], talk: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="trained a projector, other than this config"):
        start("text_lora", tmp_path, {"resume": str(lora_run / "iter_5.pth")}, data_path=talk)


def test_a_record_with_a_picture_is_named_with_its_remedy(
    start: Callable[..., int], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"data check .*mixed\.json --text`") as error:
        start("text_lora", tmp_path / "run", data_path=data / "mixed.json")
    assert "has a picture (images/train/" in str(error.value) and "LLaVA config" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_settings_of_pictures_are_refused(tmp_path: Path) -> None:
    path = config_path("smollm2_135m_lora_assistant_e3_sft")
    for setting in ("image_folder=data", "visual_encoder_lora.r=4", "evaluation_images=['a.png']"):
        with pytest.raises(UserError, match=f"language model alone, but has {setting.split('=')[0][:12]}"):
            load_settings(path, parse_settings([setting]))
    llava = config_path("llava_smollm2_135m_clip_small_p14_112_e1_pretrain")
    with pytest.raises(UserError, match="language model alone, but has vision_tower, image_folder set"):
        load_settings(llava, parse_settings(["stage=sft"]))


def test_a_run_that_trains_nothing_is_refused(start: Callable[..., int], talk: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing would be trained: set freeze_llm=False"):
        start("text_full", tmp_path, {}, data_path=talk, freeze_llm=True)


def test_the_plan_names_what_trains_and_starts_nothing(
    start: Callable[..., int], talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"dry_run": True, "card": "H100"}
    assert start("text_full", tmp_path / "run", options, data_path=talk) == 0
    plan = capsys.readouterr().out
    assert "sft: language model in full" in plan and "0.0 M frozen" in plan and "H100, 80 GiB: fits" in plan
    assert not (tmp_path / "run").exists()
