"""What a run trains, what it leaves alone, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from xtuner.registry import BUILDER

from llava_tuning.runs.files import CONFIG_FILE, LOSS_FILE
from llava_tuning.runs.folder import RunFolder
from llava_tuning.runs.pictures import thumbnail
from llava_tuning.training.dataset import collate
from llava_tuning.training.hooks import loss_curve
from llava_tuning.training.launch import latest_checkpoint

pytestmark = pytest.mark.training
PROJECTOR = {f"projector.model.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")}


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    checkpoint = latest_checkpoint(work_dir)
    assert checkpoint is not None
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


def rows(work_dir: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (work_dir / name).read_text(encoding="utf-8").split("\n") if line]


def test_stage_1s_checkpoint_is_the_projector(pretrained: Path) -> None:
    assert set(weights(pretrained)) == PROJECTOR


def test_a_lora_checkpoint_is_adapter_and_projector(lora_run: Path, pretrained: Path) -> None:
    state = weights(lora_run)
    adapter = {name for name in state if name.startswith("llm.") and ".lora_" in name}
    assert adapter and set(state) == adapter | PROJECTOR
    assert len(adapter) == 2 * 2 * 7  # A and B, two layers, seven linear layers in each
    assert all(state[name].any() for name in adapter if ".lora_B." in name)
    before = weights(pretrained)
    assert all(not torch.equal(state[name], before[name]) for name in PROJECTOR)


def test_a_full_checkpoint_is_language_model_and_projector(full_run: Path) -> None:
    state = weights(full_run)
    model = {name for name in state if name.startswith("llm.") and "lora" not in name}
    assert {"llm.lm_head.weight", "llm.model.embed_tokens.weight", "llm.model.norm.weight"} <= model
    assert set(state) == model | PROJECTOR
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}  # the master copy


def test_two_processes_train_both_adapters_to_the_end(vision_lora_run: Path) -> None:
    state = weights(vision_lora_run)
    used = [name for name in state if name.startswith("visual_encoder.") and ".lora_B." in name]
    assert {name.split(".")[0] for name in state} == {"llm", "visual_encoder", "projector"}
    # The features are those of the second to last layer, so the last of three learns nothing.
    assert {name for name in used if state[name].any()} == {name for name in used if "layers.2." not in name}
    assert [row["step"] for row in rows(vision_lora_run, "loss.jsonl")] == [1, 2]


@pytest.mark.parametrize("kind", ["pretrain", "lora", "vision_lora"])
def test_frozen_weights_do_not_move(
    kind: str, load_config: Callable[..., Config], projector: Path, tmp_path: Path
) -> None:
    """XTuner's runner itself, in this process, so that the trained model can be looked at."""
    config = load_config(kind, max_steps=4, weight_decay=0.1, projector_checkpoint=projector)
    config.work_dir = str(tmp_path)
    runner = Runner.from_cfg(config)
    model = runner.model
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    runner.train()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in moved} == {
        "pretrain": {"projector"},
        "lora": {"projector", "llm"},
        "vision_lora": {"projector", "llm", "visual_encoder"},
    }[kind]
    assert moved <= trained
    assert all(name.startswith("projector.") or ".lora_" in name for name in trained)
    assert {name for name in trained if "layers.2." not in name or name.startswith("llm.")} <= moved
    assert set(weights(tmp_path)) == trained


def test_every_step_has_its_loss_and_its_own_rate(pretrained: Path, lora_run: Path) -> None:
    steps = rows(pretrained, "loss.jsonl")
    assert [row["step"] for row in steps] == [1, 2, 3]
    assert all(row["seconds"] > row["waited"] >= 0 for row in steps)
    assert [row["lr"] for row in steps] == pytest.approx([1e-8, 1e-3, 1e-3])  # one step of warm-up
    steps = rows(lora_run, "loss.jsonl")
    assert [row["step"] for row in steps] == list(range(1, 11))
    assert all(0 < row["loss"] < 10 for row in steps)
    assert steps[-1]["loss"] < steps[0]["loss"]


@pytest.mark.parametrize("run", ["pretrained", "lora_run"])
def test_a_run_leaves_curve_answers_and_tensorboard(run: str, request: pytest.FixtureRequest) -> None:
    work_dir: Path = request.getfixturevalue(run)
    with Image.open(work_dir / "loss.png") as picture:
        assert picture.format == "PNG" and len(picture.convert("L").getcolors() or []) > 10
    last = 3 if run == "pretrained" else 10
    answers = rows(work_dir, "samples.jsonl")
    assert [row["step"] for row in answers] == sorted({*range(0, last + 1, 2), last})
    assert {row["question"] for row in answers} == {"What is it?"}
    assert all(row["image"].endswith(".png") and row["answer"] for row in answers)
    events = list(work_dir.rglob("events.out.tfevents.*"))
    assert len(events) == 1 and b"loss" in events[0].read_bytes()


@pytest.mark.parametrize(("fixture", "stage"), [("pretrained", "pretrain"), ("lora_run", "finetune")])
def test_a_run_is_read_again_without_xtuner(
    fixture: str, stage: str, data: Path, request: pytest.FixtureRequest
) -> None:
    work_dir: Path = request.getfixturevalue(fixture)
    run = RunFolder(work_dir.parent, data).read(work_dir.name)
    total = 3 if fixture == "pretrained" else 10
    assert (run.stage, run.total_steps, run.state, run.problems) == (stage, total, "finished", ())
    assert [step.step for step in run.steps] == list(range(1, total + 1))
    assert all(step.samples == 2 and step.tokens and step.tokens > 2 * 16 for step in run.steps)
    assert all(0.1 < (step.memory_gib or 0) < 64 for step in run.steps)
    assert all(thumbnail(run, row.image) for row in run.answers) and run.answers
    speed = run.speed()
    assert speed.samples and speed.tokens and speed.tokens > speed.samples
    assert speed.waited is not None and 0 <= speed.waited < 1


def test_only_so_many_checkpoints_are_kept(lora_run: Path) -> None:
    assert sorted(path.name for path in lora_run.glob("iter_*.pth")) == ["iter_10.pth", "iter_5.pth"]


def test_the_fitted_config_builds_the_same_model_again(lora_run: Path) -> None:
    config = Config.fromfile(lora_run / CONFIG_FILE)
    assert config.train_cfg.max_iters == 10
    assert set(BUILDER.build(config.model).state_dict()) == set(weights(lora_run))


def test_rows_of_tokens_train_and_resume(start: Callable[..., int], projector: Path, tmp_path: Path) -> None:
    changes = {"projector_checkpoint": projector, "batch_tokens": 1000, "save_steps": 2}
    assert start("lora", tmp_path, {}, max_steps=2, **changes) == 0
    assert start("lora", tmp_path, {"resume": "auto"}, max_steps=6, **changes) == 0
    assert [row["step"] for row in rows(tmp_path, "loss.jsonl")] == [1, 2, 3, 4, 5, 6]
    sampler = Config.fromfile(tmp_path / CONFIG_FILE, import_custom_modules=False).train_dataloader
    assert sampler.batch_sampler.max_tokens == 1000


def test_a_cuda_graphs_memory_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    assert loss_curve._peak_memory(SimpleNamespace(hidden_bytes=2**30)) == 4.0
    assert loss_curve._peak_memory(SimpleNamespace()) == 3.0  # a model of text has no such graph


def test_memory_is_the_most_of_the_run_though_the_log_counts_anew(
    dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = iter([3.0, 1.0, 4.0])
    monkeypatch.setattr(loss_curve, "_peak_memory", lambda _: next(peaks))
    checkpoints = SimpleNamespace(checkpoint=SimpleNamespace(interval=100))
    runner: Any = SimpleNamespace(
        work_dir=str(tmp_path),
        cfg=SimpleNamespace(default_hooks=checkpoints),
        optim_wrapper=SimpleNamespace(get_lr=lambda: {"lr": [1e-3]}),
        message_hub=SimpleNamespace(get_info=lambda _: None),
        model=None,
        iter=0,
    )
    hook = loss_curve.LossCurveHook()
    hook.before_train(runner)
    for step in range(3):
        runner.iter = step
        hook.after_train_iter(runner, step, collate([dataset[0]]), {"loss": torch.tensor(1.0)})
    hook.file.close()
    assert [row["memory_gib"] for row in rows(tmp_path, LOSS_FILE)] == [3.0, 3.0, 4.0]
