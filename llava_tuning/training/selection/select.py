"""Score each kept checkpoint of a run beside its base model, and choose one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from xtuner.registry import BUILDER

from llava_tuning.errors import UserError
from llava_tuning.models.precision import fast_dtype
from llava_tuning.runs.files import SELECTION_FILE, STOP_FILE
from llava_tuning.runs.scores import Goals, Scores
from llava_tuning.training.checkpoint import check_readable
from llava_tuning.training.config import TEXT_STAGE
from llava_tuning.training.export import read_run
from llava_tuning.training.language_model import LanguageModelStep
from llava_tuning.training.launch import all_checkpoints, step_of
from llava_tuning.training.model import load_trained
from llava_tuning.training.selection.book import Book, write_json_file, write_scores
from llava_tuning.training.selection.plot import PLOT_FILE, draw
from llava_tuning.training.selection.questions import read_questions, sample_questions
from llava_tuning.training.selection.scores import choose, summarise
from llava_tuning.training.selection.scoring import score
from llava_tuning.training.serving import run_tokenizer

Progress = Callable[[str, int, int], None]  # what is asked, questions answered, questions to answer


@dataclass(frozen=True)
class Selection:
    """What `select` found: scores by step, the base model's first; what is chosen; a run's own stop."""

    scores: list[Scores]
    chosen: Scores
    checkpoint: Path
    meets_goals: bool
    adapter: bool  # whether the run trained an adapter that can be exported alone
    early_stop: dict[str, Any] | None


def select(
    work_dir: Path,
    held_out: Path | None = None,
    general: Path | None = None,
    data: Path | None = None,
    sample: int | None = None,
    goals: Goals | None = None,
    batch_size: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Selection:
    """Score the checkpoints of a run, without pictures.

    Writes answers, scores, plot and choice into its directory as it goes.

    Args:
        held_out: folder of `data identity`; where None the run's own setting, or that of its data.
        general: held-out general conversations; where None the run's own setting, or the project's.
        data: what the run trained on, where it has moved.
        sample: ask so many questions of each part; all when None.
        batch_size: questions at a time; 32, on a GPU 256, when None.

    Raises:
        UserError: this run trained no language model or has no checkpoint; held-out files are missing or were
            trained on.
    """
    config = read_run(work_dir)
    if config.stage == "pretrain":
        raise UserError(
            f"{work_dir}: a run of stage pretrain, which trains the projector alone; select among the "
            "checkpoints of a run that trains the language model"
        )
    checkpoints = all_checkpoints(work_dir)
    if not checkpoints:
        raise UserError(f"{work_dir}: no checkpoint (iter_N.pth) there; has the run saved one yet?")
    for checkpoint in checkpoints:
        check_readable(checkpoint)
    trained_on = data or Path(config.data_path)
    if not trained_on.is_file():
        raise UserError(
            f"{trained_on}: the run's data is gone, so what is held out cannot be told; name it with --data"
        )
    questions = read_questions(
        trained_on, held_out or _path(config, "held_out"), general or _path(config, "general")
    )
    if sample is not None:
        questions = sample_questions(questions, sample)
    goals = goals or Goals()
    book = Book(work_dir)
    model = _model(config)
    tokenizer = run_tokenizer(config)
    size = batch_size or (256 if torch.cuda.is_available() else 32)

    def ask(step: int, name: str) -> list[Any]:
        return score(
            model,
            tokenizer,
            questions,
            book,
            step,
            config.max_length,
            size,
            base=step == 0,
            progress=lambda done, total: progress(name, done, total),
        )

    base = ask(0, "base model")
    scores = [summarise(0, base, base)]
    for checkpoint in checkpoints:
        load_trained(model, checkpoint)
        scores.append(summarise(step_of(checkpoint), ask(step_of(checkpoint), checkpoint.name), base))
        write_scores(work_dir, scores)
        draw(scores, goals, work_dir / PLOT_FILE, work_dir.name)
    chosen, meets_goals = choose(scores, goals)
    draw(scores, goals, work_dir / PLOT_FILE, work_dir.name, chosen.step)
    stop = work_dir / STOP_FILE
    selection = Selection(
        scores,
        chosen,
        checkpoints[[step_of(checkpoint) for checkpoint in checkpoints].index(chosen.step)],
        meets_goals,
        config.stage == TEXT_STAGE and config.llm_lora is not None,
        json.loads(stop.read_text(encoding="utf-8")) if stop.is_file() else None,
    )
    write_json_file(work_dir / SELECTION_FILE, _as_json(selection, goals))
    return selection


def _path(config: Config, name: str) -> Path | None:
    """A setting that runs of older versions lack."""
    value = config.get(name)
    return None if value is None else Path(value)


def _model(config: Config) -> LanguageModelStep:
    """The run's model, untrained, computing on this machine as it would in training."""
    cuda = torch.cuda.is_available()
    half = str(fast_dtype("cuda" if cuda else "cpu")).removeprefix("torch.")
    full = not config.freeze_llm and config.llm_lora is None
    settings: dict[str, Any] = config.model.to_dict()
    four_bit = bool(config.load_in_4bit) and cuda
    settings["llm"].update(dtype="float32" if full else half, load_in_4bit=four_bit)
    settings.update(compute_dtype=half if cuda else None, compile_layers=False, frozen_fp8=False)
    settings.update(use_activation_checkpointing=False)
    if "projector_checkpoint" in settings:  # a checkpoint has its own
        settings.update(projector_checkpoint=None)
    model: LanguageModelStep = BUILDER.build(Config(settings)._cfg_dict)
    return model.to("cuda" if cuda else "cpu").eval()


def _as_json(selection: Selection, goals: Goals) -> dict[str, Any]:
    rows: Sequence[Scores] = selection.scores
    return {
        "chosen": selection.checkpoint.name,
        "step": selection.chosen.step,
        "meets_goals": selection.meets_goals,
        "goals": asdict(goals),
        "early_stop": selection.early_stop,
        "scores": [row.to_dict() for row in rows],
    }
