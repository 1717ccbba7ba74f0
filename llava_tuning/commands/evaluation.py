"""Subcommands of `llava-tuning`: evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's commands to the command line."""
    group = typer.Typer(help="Measure a model on a benchmark.", no_args_is_help=True)
    group.callback()(_group)
    group.command("easy-vqa")(easy_vqa)
    app.add_typer(group, name="eval")


def _group() -> None:
    """Measure a model on a benchmark."""


def easy_vqa(
    model: Annotated[str, typer.Argument(help="A model directory, or 'default' for the embedded model.")],
    limit: Annotated[int | None, typer.Option(min=1, help="A random sample of so many questions.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses the sample.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write scores and answers as JSON.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write a contact sheet of answers as PNG.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at a time.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Accuracy on easy-VQA's official test questions, beside controls that do not see."""
    import json

    from rich.console import Console
    from rich.progress import Progress

    from llava_tuning.errors import UserError
    from llava_tuning.evaluation.contact_sheet import contact_sheet, sheet_rows
    from llava_tuning.evaluation.easy_vqa import evaluate_easy_vqa
    from llava_tuning.evaluation.table import accuracy_table
    from llava_tuning.inference.backend import load_backend
    from llava_tuning.inference.loading import require_eyes
    from llava_tuning.models.default import resolve_model

    for file in (out, sheet):
        if file is not None:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                if file.is_dir():
                    raise UserError(f"{file}: a folder; give a file's name")
            except OSError as error:
                raise UserError(
                    f"{file}: cannot be written ({error.strerror}); choose another file"
                ) from None
    require_eyes(resolve_model(model))
    backend = load_backend(model, device)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("asking", total=None)
        report = evaluate_easy_vqa(
            backend,
            limit,
            seed,
            batch_size=batch_size,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    Console().print(accuracy_table({backend.name: report}))
    if report.unparseable:
        typer.echo(f"{report.unparseable} of the model's answers were none of the 13 possible ones.")
    if out is not None:
        out.write_text(json.dumps(report.to_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        typer.echo(f"{out}: scores and answers")
    if sheet is not None:
        contact_sheet(sheet_rows(report), sheet)
        typer.echo(f"{sheet}: contact sheet")
