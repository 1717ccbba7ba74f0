"""Two processes train what one process with twice the batch trains."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exactness import TOLERANCE, assert_same, relative_error
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.runner import Runner
from torch.utils.data import DataLoader
from xtuner.registry import BUILDER

from llava_tuning.training.dataset import RecordsDataset, collate
from llava_tuning.training.fitting import fit_to_machine
from llava_tuning.training.packing import TokenBudgetBatchSampler
from llava_tuning.training.sampler import ShuffledLengthGroupedSampler

pytestmark = [pytest.mark.training, pytest.mark.slow]
FULL = "llava_internlm2_chat_1_8b_clip_vit_large_p14_336_e1_gpu8_finetune"
PATIENCE = 240  # seconds; processes that wait for each other for ever are killed
STEPS = 6  # of four records; the 14 records end in step 4
ROW = 1000  # tokens of a packed row
LORA = {"llm_lora.lora_dropout": 0.0}
# case -> kind of run and settings
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "pretrain": ("pretrain", {}),
    "lora": ("lora", LORA),
    "vision_lora": ("vision_lora", {**LORA, "visual_encoder_lora.lora_dropout": 0.0}),
    "full": ("full", {}),
    "accumulated": ("lora", {**LORA, "accumulative_counts": 4}),  # the last update has two steps
    "packed": ("lora", {**LORA, "batch_tokens": ROW}),
}


def run_processes(command: list[str], processes: int = 2) -> None:
    """Run a command under torchrun to its end; kill all processes when they hang."""
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        [*torchrun, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = started.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        pytest.fail(f"hangs:\n{started.communicate()[0][-4000:]}")
    assert started.returncode == 0, output[-4000:]


@pytest.fixture(scope="module")
def case(load_config: Callable[..., Config], texts_and_pictures: Path) -> Callable[..., Config]:
    """The config of a case for one process or two, with the same records in a step."""

    def make(name: str, processes: int) -> Config:
        kind, changes = CASES[name]
        plain = {"data_path": texts_and_pictures, "max_steps": STEPS, "evaluation_freq": 100, "max_norm": 0.5}
        # Far enough from Adam's division of almost nothing by almost nothing.
        config = load_config(kind, batch_size=4 // processes, **plain, **changes)
        fit_to_machine(config, [100] * 14, world_size=processes)
        config.model.llm.dtype = "float32"
        config.optim_wrapper.optimizer.eps = 1e-4
        return config

    return make


@pytest.fixture(scope="module")
def two_processes(case: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all cases' runs on two processes."""
    folder = tmp_path_factory.mktemp("two")
    for name in CASES:
        case(name, 2).dump(folder / f"{name}.config.py")
    run_processes([str(Path(__file__).with_name("train_cases.py")), str(folder)])
    return folder


def losses(work_dir: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (work_dir / "loss.jsonl").read_text().splitlines()]


def end(work_dir: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The trained weights, and the running mean that AdamW keeps of each one's gradients."""
    checkpoint = torch.load(work_dir / f"iter_{STEPS}.pth", weights_only=True)
    states = checkpoint["optimizer"]["state"]
    return checkpoint["state_dict"], {str(number): state["exp_avg"] for number, state in states.items()}


class Rows(list[list[int]]):
    """Batches that mmengine takes for those of a sampler."""

    sampler = None


def rows_of_both(dataset: Any, seed: int) -> Rows:
    """Each step's two packed rows as one."""
    ranks = []
    for rank in range(2):
        sampler = DefaultSampler(dataset, seed=seed)
        sampler.rank, sampler.world_size, sampler.num_samples = rank, 2, 7
        batches = TokenBudgetBatchSampler(sampler, batch_size=1, max_tokens=ROW, seed=seed)
        rows: list[list[int]] = []
        for epoch in range(STEPS):
            sampler.set_epoch(epoch)
            rows += batches
        ranks.append(rows)
    return Rows([first + second for first, second in zip(*ranks, strict=False)][:STEPS])


@pytest.mark.parametrize("name", CASES)
def test_losses_and_weights_are_those_of_one_process(
    name: str, two_processes: Path, case: Callable[..., Config], tmp_path: Path
) -> None:
    config = case(name, 1)
    config.work_dir, config.experiment_name = str(tmp_path), f"one_{name}"
    runner = Runner.from_cfg(config)
    start = {key: value.clone() for key, value in runner.model.state_dict().items()}
    if name == "packed":
        dataset = runner.build_dataloader(config.train_dataloader).dataset
        joint: Any = rows_of_both(dataset, config.seed)
        runner._train_dataloader = DataLoader(dataset, batch_sampler=joint, collate_fn=collate)
    runner.train()
    assert losses(two_processes / name) == pytest.approx(losses(tmp_path), rel=TOLERANCE)
    (expected, gradients), (found, others) = end(tmp_path), end(two_processes / name)
    assert_same(others, gradients)
    assert set(found) == set(expected) == set(start)
    for key, value in expected.items():  # a small gradient moves a weight as far as a large one
        assert relative_error(found[key] - start[key], value - start[key]) < 1e-3, key


def test_processes_without_a_picture_do_not_hang(two_processes: Path) -> None:
    """The run came to its end though the vision tower's adapters had work in one process alone."""
    for name in CASES:
        first, second = (
            json.loads((two_processes / name / f"pictures_{rank}.json").read_text()) for rank in (0, 1)
        )
        assert len(first) == len(second) == STEPS
        assert any(one != other for one, other in zip(first, second, strict=True)), name


def test_one_process_goes_on_where_two_stopped(
    two_processes: Path, case: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes made six steps of four records; three of two are left of the second epoch's 14."""
    config = case("lora", 1)
    dataset: Any = BUILDER.build(config.train_dataloader.dataset)
    sampler = ShuffledLengthGroupedSampler(dataset, 4, length_property="modality_length", seed=config.seed)
    sampler.set_epoch(1)
    trained = {*list(sampler)[: 2 * 4]}
    config.train_dataloader.batch_size = config.batch_size = 2
    config.train_dataloader.sampler.per_device_batch_size = 2
    config.train_cfg.max_iters = STEPS + 3
    config.work_dir, config.experiment_name = str(tmp_path), "go_on"
    config.resume, config.load_from = True, str(two_processes / "lora" / f"iter_{STEPS}.pth")
    read: list[int] = []
    item = RecordsDataset.__getitem__

    def noting(self: RecordsDataset, index: int) -> dict[str, Any]:
        read.append(index)
        return item(self, index)

    monkeypatch.setattr(RecordsDataset, "__getitem__", noting)
    Runner.from_cfg(config).train()
    assert sorted(read) == sorted(set(range(len(dataset))) - trained)


def test_two_processes_go_on_where_one_stopped(
    lora_run: Path,
    start: Callable[..., int],
    projector: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Five steps of two records are made: four of 14 are left of the first epoch, and all of the second."""
    shutil.copyfile(lora_run / "iter_5.pth", tmp_path / "iter_5.pth")
    options = {"resume": "auto", "nproc_per_node": 2}
    assert start("lora", tmp_path, options, projector_checkpoint=projector, max_steps=None, max_epochs=2) == 0
    said = capsys.readouterr().out
    assert (
        "after step 5 of 1 process × 2 records, now 2 processes × 2 records: 4 of 14 records of epoch 1"
        in said
    )
    rows = [json.loads(line) for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [6, 7, 8, 9, 10]
    # The rate is that of a run that has made three of eight steps when step 6 begins, two of them to warm up.
    expected = [1e-3 * (1 + math.cos(math.pi * (step - 2) / 6)) / 2 for step in range(3, 8)]
    assert [row["lr"] for row in rows] == pytest.approx(expected, rel=1e-3)


def test_zero3_takes_text_on_one_process_beside_pictures_on_another(
    load_config: Callable[..., Config], build: Callable[..., Any], texts_and_pictures: Path, tmp_path: Path
) -> None:
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed (pip install deepspeed)")
    config = load_config("full")
    projector = {f"projector.{n}": w for n, w in build("full").projector.state_dict().items()}
    torch.save({"state_dict": projector}, tmp_path / "projector.pth")
    settings = {
        "llm": config.llm,
        "vision_tower": config.vision_tower,
        "data_path": texts_and_pictures,
        "image_folder": config.image_folder,
        "projector_checkpoint": tmp_path / "projector.pth",
        "batch_size": 1,
        "accumulative_counts": 1,
        "max_steps": STEPS,
        "save_steps": STEPS,
        "dataloader_num_workers": 0,
        "evaluation_images": [],
        "evaluation_inputs": ["what is it?"],
    }
    made = {}
    for strategy in ("zero2", "zero3"):
        command = [sys.executable, "-m", "llava_tuning", "train", FULL, "--nproc-per-node", "2"]
        command += ["--deepspeed", strategy, "--work-dir", str(tmp_path / strategy)]
        command += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        command += ["--", "--standalone"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert ended.returncode == 0, ended.stderr[-4000:]
        made[strategy] = losses(tmp_path / strategy)
    assert len(made["zero3"]) == STEPS
    assert made["zero3"] == pytest.approx(made["zero2"], rel=1e-2)
