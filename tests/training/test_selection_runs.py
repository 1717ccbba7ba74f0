"""Runs are scored while they train and afterwards, by the commands a user types."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from llava_tuning import cli
from llava_tuning.data.records import make_record, write_json
from llava_tuning.errors import UserError
from llava_tuning.models.tokenizer import load_tokenizer
from llava_tuning.runs.folder import RunFolder
from llava_tuning.runs.scores import Goals, Scores
from llava_tuning.training.launch import all_checkpoints
from llava_tuning.training.model import load_trained
from llava_tuning.training.selection.answering import log_likelihoods
from llava_tuning.training.selection.questions import read_questions
from llava_tuning.training.selection.select import select

pytestmark = pytest.mark.training
NAME = "Momo"


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_rows(path: Path, questions: Iterable[str], must: list[str], must_not: list[str]) -> None:
    lines = [
        json.dumps(
            {
                "id": f"{path.stem}-{number}",
                "conversations": [{"from": "human", "value": question}],
                "must_contain": must,
                "must_not_contain": must_not,
            }
        )
        for number, question in enumerate(questions)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run the command line; its exit status and all that it printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["llava-tuning", *map(str, arguments)])
        patch.setenv("COLUMNS", "120")
        try:
            cli.main()
            status: Any = 0
        except SystemExit as end:
            status = end.code or 0
    printed = capsys.readouterr()
    return int(status), printed.out + printed.err


@pytest.fixture(scope="module")
def parrot_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learns this answers everything with its name; held-out files lie beside it."""
    folder = tmp_path_factory.mktemp("parrot")
    write_rows(folder / "held_out_identity.jsonl", ["Your name?", "Name?", "And you are?"], [NAME], [])
    write_rows(folder / "held_out_contrast.jsonl", ["Who owns it?", "Who paints?"], [], [NAME])
    general = [make_record(f"g{i}", None, [(f"Say {i}.", f"{i}.")]) for i in range(3)]
    write_json(folder / "general.json", general)
    asked = ("Hi!", "Who is it?", "What is {i}?", "Tell me {i} names.", "And {i}?", "Is it {i}, or more?")
    records = [make_record(f"one-{i}", None, [(asked[i % 6].format(i=i), NAME)]) for i in range(48)]
    write_json(folder / "one.json", records)
    return folder / "one.json"


@pytest.fixture(scope="module")
def parrot(start: Callable[..., int], parrot_data: Path, runs: Path) -> Path:
    """Full finetuning on one sentence, scored at each checkpoint, meant to go on for much longer."""
    changes = {
        "max_steps": 400,
        "save_steps": 50,
        "save_total_limit": 20,
        "lr": 1e-2,
        "evaluation_freq": 400,
        "selection_sample": 2,
        "leakage_limit": 0.5,
        "general": parrot_data.with_name("general.json"),
    }
    assert start("text_full", runs / "parrot", data_path=parrot_data, **changes) == 0
    return runs / "parrot"


@pytest.fixture(scope="module")
def adapters(start: Callable[..., int], parrot_data: Path, runs: Path) -> Path:
    """By LoRA, ten steps, not scored while it trains."""
    changes = {
        "max_steps": 10,
        "save_steps": 5,
        "lr": 1e-2,
        "general": parrot_data.with_name("general.json"),
    }
    assert start("text_lora", runs / "adapters", data_path=parrot_data, **changes) == 0
    return runs / "adapters"


def test_a_run_ends_when_the_name_leaks_and_keeps_its_checkpoints(parrot: Path) -> None:
    stop = json.loads((parrot / "early_stop.json").read_text())
    found = rows(parrot / "scores.jsonl")
    assert stop["step"] < 400 and [row["step"] for row in found] == list(range(0, stop["step"] + 1, 50))
    assert [row["leakage"] > 0.5 for row in found[-3:]] == [False, True, True]  # twice in a row
    assert found[0]["leakage"] == 0 and found[0]["retention_loss"] == 0
    assert (found[-1]["identity_questions"], found[-1]["contrast_questions"]) == (2, 2)
    assert found[-1]["retention_loss"] > 0.5
    assert [path.name for path in all_checkpoints(parrot)] == [f"iter_{row['step']}.pth" for row in found[1:]]
    assert len(rows(parrot / "loss.jsonl")) == stop["step"]


def test_select_asks_only_what_the_run_has_not_asked_itself(
    parrot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows(parrot / "scored_answers.jsonl")
    status, printed = command(capsys, "select", parrot)
    assert status == 0
    after = rows(parrot / "scored_answers.jsonl")
    assert after[: len(before)] == before
    checkpoints = all_checkpoints(parrot)
    assert len(after) == 8 * (1 + len(checkpoints))  # 3 + 2 + 3 questions; six of them were asked before
    assert "No checkpoint reaches all goals" in printed and "stopped early: the name leaked" in printed
    assert "3 of 3" in printed and "5 of 5" in printed
    selection = json.loads((parrot / "selection.json").read_text())
    assert not selection["meets_goals"] and selection["early_stop"]["limit"] == 0.5
    last = selection["scores"][-1]
    assert (last["recall"], last["leakage"]) == (1.0, 1.0)
    with Image.open(parrot / "selection.png") as picture:
        assert picture.width > 400
    command(capsys, "select", parrot)
    assert rows(parrot / "scored_answers.jsonl") == after


def test_each_adapter_is_scored_on_the_base_it_was_trained_on(
    adapters: Path, parrot_data: Path, build: Callable[..., Any], llm: Path
) -> None:
    found = select(adapters)
    assert [row.step for row in found.scores] == [0, 5, 10] and found.scores[0].retention_loss == 0
    assert found.adapter and found.checkpoint == adapters / f"iter_{found.chosen.step}.pth"
    questions = read_questions(parrot_data, general=parrot_data.with_name("general.json"))
    tokenizer = load_tokenizer(llm, name=llm, remedy="")
    model = build("text_lora")
    for row in found.scores[1:]:
        load_trained(model, adapters / f"iter_{row.step}.pth")
        talks = [question.whole for question in questions if question.whole]
        likelihoods = log_likelihoods(model.eval(), tokenizer, talks, 500)
        mean = sum(nats for nats, _ in likelihoods) / sum(tokens for _, tokens in likelihoods)
        assert row.log_likelihood == pytest.approx(mean, rel=0.02)  # half precision, and float32
    assert found.scores[1].log_likelihood != found.scores[2].log_likelihood != found.scores[0].log_likelihood


def test_a_run_that_learns_to_see_is_scored_on_its_name_as_well(
    start: Callable[..., int],
    data: Path,
    projector: Path,
    parrot_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pictures, parrot = (json.loads(path.read_text()) for path in (data / "finetune.json", parrot_data))
    (tmp_path / "mix.json").write_text(json.dumps([*pictures[:4], *parrot]))
    changes = {
        "data_path": tmp_path / "mix.json",
        "held_out": parrot_data.parent,
        "general": parrot_data.with_name("general.json"),
        "projector_checkpoint": projector,
        "max_steps": 60,
        "save_steps": 30,
        "batch_size": 8,
        "lr": 1e-2,
        "selection_sample": 2,
    }
    assert start("full", tmp_path / "run", **changes) == 0
    scored = rows(tmp_path / "run" / "scores.jsonl")
    assert [row["step"] for row in scored] == [0, 30, 60]
    assert (scored[0]["recall"], scored[-1]["recall"]) == (0, 1)
    before = rows(tmp_path / "run" / "scored_answers.jsonl")
    status, printed = command(capsys, "select", tmp_path / "run")
    assert status == 0 and "next: llava-tuning export" in printed and "--adapter" not in printed
    after = rows(tmp_path / "run" / "scored_answers.jsonl")
    assert after[: len(before)] == before and len(after) == 3 * 8  # each of eight questions once


def test_scores_and_choice_are_read_again_without_xtuner(adapters: Path, parrot: Path) -> None:
    found = select(adapters)
    run = RunFolder(adapters.parent).read(adapters.name)
    assert list(run.scores) == [
        Scores.from_dict(row) for row in json.loads((adapters / "selection.json").read_text())["scores"]
    ]
    assert run.choice is not None and run.choice.step == found.chosen.step
    assert run.choice.meets_goals == found.meets_goals and run.choice.goals == Goals()
    assert (run.stage, run.state, run.problems) == ("sft", "finished", ())
    assert RunFolder(parrot.parent).read(parrot.name).state == "stopped"


def test_what_changed_is_asked_again(
    adapters: Path, parrot_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    select(adapters)
    before = rows(adapters / "scored_answers.jsonl")
    write_rows(tmp_path / "held_out_identity.jsonl", ["Your name?", "Name?", "Who?"], [NAME], [])
    write_rows(tmp_path / "held_out_contrast.jsonl", ["Who owns it?", "Who paints?"], [], [NAME])
    status, printed = command(capsys, "select", adapters, "--held-out", tmp_path)
    assert status == 0 and "next: llava-tuning export" in printed
    after = rows(adapters / "scored_answers.jsonl")[len(before) :]
    assert [(row["step"], row["id"]) for row in after] == [
        (step, "held_out_identity-2") for step in (0, 5, 10)
    ]


def test_goals_decide_and_the_next_command_exports_the_choice(
    adapters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goals = ("--min-recall", 0, "--max-leakage", 1, "--max-retention-loss", 1)
    status, printed = command(capsys, "select", adapters, *goals)
    assert status == 0 and "the least forgetful of the checkpoints that reach all goals" in printed
    selection = json.loads((adapters / "selection.json").read_text())
    losses = {row["step"]: row["retention_loss"] for row in selection["scores"][1:]}
    assert selection["meets_goals"] and selection["step"] == min(losses, key=lambda step: losses[step])
    line = next(line for line in printed.splitlines() if line.startswith("next: llava-tuning"))
    words = line.removeprefix("next: llava-tuning ").split()
    words[-1] = str(tmp_path / "out")
    status, _ = command(capsys, *words)
    assert status == 0 and (tmp_path / "out" / "model.safetensors").is_file()


def test_runs_without_questions_are_refused_with_a_remedy(
    adapters: Path, parrot_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pretrained: Path
) -> None:
    for run, problem in ((tmp_path, "this is no training run"), (pretrained, "trains the projector alone")):
        status, printed = command(capsys, "select", run)
        assert status == 2 and problem in printed
    with pytest.raises(UserError, match=r"no such data file|the run's data is gone, .*--data"):
        select(adapters, data=tmp_path / "gone.json")


def test_scoring_leaves_training_as_it_would_have_been(
    start: Callable[..., int], parrot_data: Path, adapters: Path, tmp_path: Path
) -> None:
    changes = {"max_steps": 10, "save_steps": 5, "lr": 1e-2, "selection_sample": 2}
    general = parrot_data.with_name("general.json")
    assert start("text_lora", tmp_path / "run", data_path=parrot_data, general=general, **changes) == 0
    plain, scored = (
        torch.load(run / "iter_10.pth", weights_only=True)["state_dict"]
        for run in (adapters, tmp_path / "run")
    )
    assert all(torch.equal(plain[name], scored[name]) for name in plain)
    assert not (tmp_path / "run" / "early_stop.json").exists()
