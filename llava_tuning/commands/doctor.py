"""`llava-tuning doctor`: is this machine ready, what fits on it, and what to do about each problem."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from llava_tuning.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from llava_tuning.doctor import Check, Diagnosis

_MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "stops": "[red]stops the app[/]"}


def register(app: typer.Typer) -> None:
    """Add this module's command to the command line."""
    app.command()(doctor)


def doctor(
    port: Annotated[int, typer.Option(help="Port that the web app is to listen at.")] = 7860,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at this machine: hardware, libraries, disk, what would fit, and what to do about problems.

    Exit status 1 where something would stop the web app. Memory figures are computed, not measured.
    """
    from llava_tuning.doctor import diagnose
    from llava_tuning.inference.machine import find_machine

    found = diagnose(find_machine(), _port(port))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1, ensure_ascii=False))
    else:
        _print(found)
    if not found.can_start:
        raise typer.Exit(1)


def _port(port: int) -> Check:
    from llava_tuning.address import check_address
    from llava_tuning.doctor import Check

    try:
        check_address("127.0.0.1", port)
    except UserError as error:
        found, _, remedy = str(error).partition("; ")
        return Check("port", found, "stops", remedy)
    return Check("port", f"{port} is free")


def _print(found: Diagnosis) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    checks = _table("This machine", "", "found", "", "what to do")
    for check in found.checks:
        checks.add_row(check.name, Text(check.found), _MARKS[check.state], Text(check.remedy))
    console.print(checks)
    modes = list(dict.fromkeys(fit.mode for fit in found.fits))
    fits = _table("What fits into the memory that is free (GiB needed, computed)", "model", "on", *modes)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for fit in found.fits:
        answer = "[dim]–[/]" if fit.problem else "[green]yes[/]" if fit.fits else "[red]no[/]"
        rows.setdefault((fit.model, fit.place), {})[fit.mode] = f"{fit.needed_gib:.1f} {answer}"
    for (model, place), cells in rows.items():
        fits.add_row(model, place, *(cells.get(mode, "") for mode in modes))
    console.print(fits)
    problems = {(fit.mode, fit.place): fit.problem for fit in found.fits if fit.problem}
    for (mode, where), problem in problems.items():
        console.print(Text(f"– {mode} on {where}: {problem}"))
    if found.can_start:
        console.print("Nothing stops the app: llava-tuning web")
    else:
        count = sum(check.state == "stops" for check in found.checks)
        console.print(f"{count} of these would stop the app; see what to do above.")


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD)
