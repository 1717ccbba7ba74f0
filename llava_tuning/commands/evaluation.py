"""Subcommands of `llava-tuning`: evaluation."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llava_tuning.commands.options import Device, LoadInOption, say
from llava_tuning.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    group = typer.Typer(help="Measure a model on a benchmark.", no_args_is_help=True)
    group.callback()(_group)
    group.command("easy-vqa")(easy_vqa)
    group.command("demo")(demo)
    app.add_typer(group, name="eval")


def _group() -> None:
    """Measure a model on a benchmark."""


def easy_vqa(
    models: Annotated[
        list[str], typer.Argument(help="Model directories, or 'default'; several share one table.")
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="A random sample of so many questions.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses the sample.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write scores and answers as JSON.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Write a contact sheet of the first model's answers as PNG.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at a time.")] = 32,
    device: Device = "auto",
    load_in: LoadInOption = "auto",
) -> None:
    """Accuracy on easy-VQA's official test questions, beside controls that do not see."""
    import json

    from rich.console import Console
    from rich.progress import Progress

    from llava_tuning.evaluation.contact_sheet import contact_sheet, sheet_rows
    from llava_tuning.evaluation.easy_vqa import EasyVqaReport, evaluate_easy_vqa
    from llava_tuning.evaluation.table import accuracy_table
    from llava_tuning.inference.backend import load_backend
    from llava_tuning.inference.loading import choose_for, require_eyes
    from llava_tuning.models.default import resolve_model

    for file in (out, sheet):
        _check_writable(file)
    names = _distinct_names(models)
    for model in models:
        require_eyes(resolve_model(model))
    reports: dict[str, EasyVqaReport] = {}
    modes: dict[str, str] = {}
    with Progress(console=Console(stderr=True)) as progress:
        for name, model in zip(names, models, strict=True):
            choice = choose_for(resolve_model(model), device, load_in)
            say(choice.line)
            backend = load_backend(model, device, choice.mode)
            task = progress.add_task(f"asking {name}", total=None)
            reports[name] = evaluate_easy_vqa(
                backend,
                limit,
                seed,
                batch_size=batch_size,
                progress=partial(_advance, progress, task),
            )
            del backend  # before the next model is loaded
            modes[name] = choice.mode
            if out is not None:  # what is there already, should the next model fail
                results = [{**report.to_dict(), "load_in": modes[n]} for n, report in reports.items()]
                value = results[0] if len(models) == 1 else results
                out.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    Console().print(accuracy_table(reports))
    for name, report in reports.items():
        if report.unparseable:
            typer.echo(f"{report.unparseable} of {name}'s answers were none of the 13 possible ones.")
    if out is not None:
        typer.echo(f"{out}: scores and answers")
    if sheet is not None:
        contact_sheet(sheet_rows(reports[names[0]]), sheet)
        typer.echo(f"{sheet}: contact sheet")


def demo(
    model: Annotated[str, typer.Argument(help="Model directory, or 'default'.")],
    everyday: Annotated[
        Path | None, typer.Option(help="Folder of everyday pictures and their table.")
    ] = None,
    photographs: Annotated[
        Path | None, typer.Option(help="Folder of photographs, none of which was trained on.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many questions of each suite.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses samples, grounds and places.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Write scores as JSON; the same command continues what is there.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table in Markdown, for a model card.")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet of wrong answers as PNG.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at a time.")] = 32,
    device: Device = "auto",
    load_in: LoadInOption = "auto",
) -> None:
    """All that the bundled model claims, in English and Chinese, beside controls that do not see."""
    from rich.console import Console
    from rich.progress import Progress

    from llava_tuning.data.everyday.table import TABLE
    from llava_tuning.evaluation.contact_sheet import contact_sheet
    from llava_tuning.evaluation.demo.plan import plan
    from llava_tuning.evaluation.demo.run import evaluate_demo, failures
    from llava_tuning.evaluation.demo.table import demo_table, markdown_table
    from llava_tuning.inference.answer_file import fingerprint
    from llava_tuning.inference.loading import load_model, require_eyes
    from llava_tuning.models.default import resolve_model
    from llava_tuning.models.provenance import hash_file
    from llava_tuning.models.smollm2 import smollm2_directory

    for file in (out, markdown, sheet):
        _check_writable(file)
    directory = resolve_model(model)
    require_eyes(directory)
    suites, left_out = plan(everyday, photographs, limit, seed)
    loaded = load_model(directory, device, load_in, say)
    from llava_tuning.inference.transformers_backend import TransformersBackend

    backend = TransformersBackend(loaded, Path(model).name)
    meta = {
        "model": model,
        "fingerprint": fingerprint(directory),
        "settings": {"seed": seed, "load_in": loaded.mode},
    }
    if everyday is not None:  # its pictures are composed by their place in the table
        meta["table"] = hash_file(everyday / TABLE)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("asking", total=None)
        report = evaluate_demo(
            loaded,
            backend,
            lambda: load_model(smollm2_directory(), device, load_in),
            suites,
            left_out,
            seed=seed,
            limit=limit,
            batch_size=batch_size,
            out=out,
            meta=meta,
            progress=lambda name, done, total: bar.update(
                task, description=name, completed=done, total=total
            ),
        )
    Console().print(demo_table(report))
    for suite in report.left_out:
        typer.echo(f"left out: {suite.name}; {suite.remedy}")
    if out is not None:
        typer.echo(f"{out}: scores, and all wrong answers")
    if markdown is not None:
        markdown.write_text(markdown_table(report), encoding="utf-8")
        typer.echo(f"{markdown}: the table in Markdown")
    if sheet is not None:
        if wrong := failures(report):
            contact_sheet(wrong, sheet, title="Wrong answers, of each kind of question in turn")
            typer.echo(f"{sheet}: contact sheet of wrong answers")
        else:
            typer.echo(f"{sheet}: not written; no English answer about a picture was wrong")


def _check_writable(file: Path | None) -> None:
    """Before anything slow.

    Raises:
        UserError: no file of this name can be written.
    """
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.is_dir():
            raise UserError(f"{file}: a folder; give a file's name")
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror}); choose another file") from None


def _advance(progress: Progress, task: TaskID, done: int, total: int) -> None:
    progress.update(task, completed=done, total=total)


def _distinct_names(models: list[str]) -> list[str]:
    """What each model is called in the table: its directory's name, or the whole path where names repeat.

    Raises:
        UserError: a model is named twice.
    """
    if len(set(models)) < len(models):
        raise UserError("a model is named twice; name each once")
    short = [Path(model).name for model in models]
    return short if len(set(short)) == len(short) else models
