"""A run that was interrupted goes on as if it had not been."""

from __future__ import annotations

import json
import math
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from llava_tuning.errors import UserError

pytestmark = pytest.mark.training


class Code:
    """What runs when a pickle is read."""

    def __reduce__(self) -> tuple:
        return (Path("pwned").touch, ())


@pytest.fixture(scope="module")
def changes(projector: Path) -> dict[str, object]:
    """The settings of `lora_run`."""
    return {"projector_checkpoint": projector, "max_steps": 10, "save_steps": 5}


@pytest.fixture(scope="module")
def resumed(lora_run: Path, start: Callable[..., int], runs: Path, changes: dict[str, object]) -> Path:
    """`lora_run`, interrupted in step 8 while it wrote a line, resumed from its checkpoint of step 5."""
    work_dir = runs / "resumed"
    work_dir.mkdir()
    shutil.copyfile(lora_run / "iter_5.pth", work_dir / "iter_5.pth")
    for name in ("loss.jsonl", "samples.jsonl"):
        lines = (lora_run / name).read_text(encoding="utf-8").split("\n")
        kept = [line for line in lines if line and json.loads(line)["step"] < 8]
        (work_dir / name).write_text("\n".join(kept) + '\n{"step": 8, "lo', encoding="utf-8")
    assert start("lora", work_dir, {"resume": "auto"}, **changes) == 0
    return work_dir


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_losses_and_rates_are_those_of_the_unbroken_run(lora_run: Path, resumed: Path) -> None:
    """Steps 6 to 10 cross the end of the first epoch."""
    expected = rows(lora_run / "loss.jsonl")
    found = rows(resumed / "loss.jsonl")
    assert [row["step"] for row in found] == list(range(1, 11))
    for name in ("loss", "lr"):
        assert [row[name] for row in found] == pytest.approx([row[name] for row in expected], rel=1e-6)


def test_the_log_of_a_resumed_run_names_only_weights_that_train(
    resumed: Path, build: Callable[..., Any]
) -> None:
    (log,) = resumed.glob("*/*.log")
    assert "do not match exactly" not in log.read_text(encoding="utf-8")
    model = build("lora")
    lacking = dict(model.state_dict())
    gone = next(iter(lacking))
    del lacking[gone]
    assert model.load_state_dict(lacking, strict=False).missing_keys == [gone]


def test_weights_and_optimizer_are_those_of_the_unbroken_run(lora_run: Path, resumed: Path) -> None:
    expected, found = (torch.load(run / "iter_10.pth", weights_only=True) for run in (lora_run, resumed))
    torch.testing.assert_close(found["state_dict"], expected["state_dict"], rtol=1e-5, atol=1e-7)
    for number, state in expected["optimizer"]["state"].items():
        torch.testing.assert_close(found["optimizer"]["state"][number], state, rtol=1e-5, atol=1e-9)


def test_answers_are_those_of_the_unbroken_run(lora_run: Path, resumed: Path) -> None:
    """The run answers once more where it resumes; no step is there twice."""
    found = rows(resumed / "samples.jsonl")
    assert [row["step"] for row in found] == [0, 2, 4, 5, 6, 8, 10]
    expected = {row["step"]: row["answer"] for row in rows(lora_run / "samples.jsonl")}
    assert all(row["answer"] == expected[row["step"]] for row in found if row["step"] != 5)


def test_dropout_goes_on_as_in_the_unbroken_run(
    start: Callable[..., int], changes: dict[str, object], tmp_path: Path
) -> None:
    changes = {**changes, "llm_lora.lora_dropout": 0.5, "max_steps": 4, "save_steps": 2}
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    assert start("lora", unbroken, {}, **changes) == 0
    resumed.mkdir()
    shutil.copyfile(unbroken / "iter_2.pth", resumed / "iter_2.pth")
    assert start("lora", resumed, {"resume": "auto"}, **changes) == 0
    expected = {row["step"]: row["loss"] for row in rows(unbroken / "loss.jsonl")}
    for row in rows(resumed / "loss.jsonl"):
        assert row["loss"] == pytest.approx(expected[row["step"]], rel=1e-6)
    assert [row["step"] for row in rows(resumed / "loss.jsonl")] == [3, 4]


def test_packed_rows_go_on_in_the_order_they_began_whatever_the_seed_is_now(
    start: Callable[..., int], changes: dict[str, object], tmp_path: Path
) -> None:
    """Steps 3 to 8 reach into further epochs."""
    changes = {**changes, "batch_tokens": 1024, "max_steps": 8, "save_steps": 2}
    unbroken, resumed = tmp_path / "unbroken", tmp_path / "resumed"
    assert start("lora", unbroken, {}, **changes, save_total_limit=4) == 0
    resumed.mkdir()
    shutil.copyfile(unbroken / "iter_2.pth", resumed / "iter_2.pth")
    assert start("lora", resumed, {"resume": "auto"}, **changes, seed=7) == 0
    expected = {row["step"]: row["loss"] for row in rows(unbroken / "loss.jsonl")}
    found = {row["step"]: row["loss"] for row in rows(resumed / "loss.jsonl")}
    assert found == pytest.approx({step: expected[step] for step in range(3, 9)}, rel=1e-6)


def test_a_place_in_other_data_is_refused(
    lora_run: Path, start: Callable[..., int], changes: dict[str, object], data: Path, tmp_path: Path
) -> None:
    shutil.copyfile(lora_run / "iter_5.pth", tmp_path / "iter_5.pth")
    fewer = json.loads((data / "mixed.json").read_text(encoding="utf-8"))[:-2]
    (tmp_path / "fewer.json").write_text(json.dumps(fewer), encoding="utf-8")
    with pytest.raises(UserError, match=r"iter_5\.pth: stopped in data of 14 records, .*fewer\.json has 12"):
        start("lora", tmp_path, {"resume": "auto"}, **{**changes, "data_path": tmp_path / "fewer.json"})


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(
    lora_run: Path,
    start: Callable[..., int],
    changes: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = torch.load(lora_run / "iter_5.pth", weights_only=True)
    torch.save({**checkpoint, "extra": Code()}, tmp_path / "iter_5.pth")
    with pytest.raises(UserError, match=r"iter_5\.pth: not readable as weights alone"):
        start("lora", tmp_path, {"resume": "auto"}, **changes)
    # The training process would not run it either.
    config = Config.fromfile(lora_run / "config.py")
    config.update(work_dir=str(tmp_path), resume=True, load_from=str(tmp_path / "iter_5.pth"))
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        Runner.from_cfg(config).train()
    assert not (tmp_path / "pwned").exists()


def test_nothing_to_resume_from_is_told(
    start: Callable[..., int], changes: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"holds no checkpoint .*; start without --resume"):
        start("lora", tmp_path, {"resume": "auto"}, **changes)
    with pytest.raises(UserError, match=r"--resume-from gone\.pth: no such checkpoint"):
        start("lora", tmp_path, {"resume": "gone.pth"}, **changes)
    (tmp_path / "iter_7.pth").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"iter_7\.pth: not readable"):
        start("lora", tmp_path, {"resume": "auto"}, **changes)


def test_a_longer_run_goes_on_at_its_own_rate(
    lora_run: Path, start: Callable[..., int], changes: dict[str, object], tmp_path: Path
) -> None:
    """Not at the end of the shorter run's schedule, where the rate is nearly zero."""
    shutil.copyfile(lora_run / "iter_10.pth", tmp_path / "iter_10.pth")
    assert start("lora", tmp_path, {"resume": "auto"}, **{**changes, "max_steps": 12, "lr": 1e-3}) == 0
    found = rows(tmp_path / "loss.jsonl")
    warmed, total = 2, 12
    expected = [1e-3 * (1 + math.cos(math.pi * (i - warmed) / (total - warmed))) / 2 for i in (10, 11)]
    assert [row["lr"] for row in found] == pytest.approx(expected, rel=1e-3)


def test_a_checkpoint_that_could_not_be_written_whole_is_none(
    start: Callable[..., int], projector: Path, tmp_path: Path
) -> None:
    """As on a full disk: after the first checkpoint no file may grow beyond half of one."""
    run = tmp_path / "run"
    steps = {"projector_checkpoint": projector, "save_steps": 1}
    assert start("full", run, max_steps=1, **steps) == 0
    size = (run / "iter_1.pth").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        assert start("full", run, {"resume": "auto"}, max_steps=2, **steps) != 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in run.glob("iter_*.pth")] == ["iter_1.pth"]
    assert start("full", run, {"resume": "auto"}, max_steps=2, **steps) == 0
