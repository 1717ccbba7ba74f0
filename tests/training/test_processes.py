"""Two processes train what one process with twice the batch trains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from llava_tuning.training.config import fit_to_machine
from llava_tuning.training.dataset import collate
from llava_tuning.training.packing import TokenBudgetBatchSampler

pytestmark = pytest.mark.training
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
        [sys.executable, *torchrun, *command],
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
def texts_and_pictures(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 records, ten of them of text only and of very different lengths, so many rows hold no picture."""
    pictures = json.loads((data / "finetune.json").read_text(encoding="utf-8"))[:4]
    texts = json.loads((data / "texts.json").read_text(encoding="utf-8"))
    rows = []
    for i in range(10):
        turns = [
            {"from": "human", "value": f"Count to {i}."},
            {"from": "gpt", "value": f"{i}, " * 12 * i + "."},
        ]
        rows.append({**texts[0], "id": f"count-{i}", "conversations": turns})
    path = tmp_path_factory.mktemp("processes") / "data.json"
    path.write_text(json.dumps([*rows, *pictures]), encoding="utf-8")
    return path


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


def weights(work_dir: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(work_dir / f"iter_{STEPS}.pth", weights_only=True)[
        "state_dict"
    ]
    return state


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
    assert losses(two_processes / name) == pytest.approx(losses(tmp_path), rel=2e-5)
    expected, found = weights(tmp_path), weights(two_processes / name)
    assert set(found) == set(expected) == set(start)
    for key, value in expected.items():
        moved = (value - start[key]).abs().max()
        assert (found[key] - value).abs().max() <= 1e-2 * moved, key


def test_processes_without_a_picture_do_not_hang(two_processes: Path) -> None:
    """The run came to its end though the vision tower's adapters had work in one process alone."""
    for name in CASES:
        first, second = (
            json.loads((two_processes / name / f"pictures_{rank}.json").read_text()) for rank in (0, 1)
        )
        assert len(first) == len(second) == STEPS
        assert any(one != other for one, other in zip(first, second, strict=True)), name
