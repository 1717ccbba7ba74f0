"""Where the app finds runs and models, and keeps votes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llava_tuning.errors import UserError

RUNS, MODELS, DATA = Path("work_dirs"), Path("models"), Path("data")


@dataclass(frozen=True)
class Folders:
    """Args:
    runs: holds the work directories of training runs; need not exist yet. None leaves their page out.
    models: holds model directories to choose from; need not exist either. None offers no others, and no
        page that compares them.
    feedback: directory for votes; None takes the one in the user's data directory.
    loaded_models: how many models are kept in memory at once, besides the one that the app was started on.
    data: holds the pictures of training runs, which the page of runs may show beside those within a run's own
        folder; need not exist.
    """

    runs: Path | None = RUNS
    models: Path | None = MODELS
    feedback: Path | None = None
    loaded_models: int = 2
    data: Path | None = DATA


def chosen_folders(
    runs: Path | None = None,
    models: Path | None = None,
    feedback: Path | None = None,
    loaded_models: int = 2,
    data: Path | None = None,
) -> Folders:
    """What the command line's options say; the usual places in the working directory where they say nothing.

    Raises:
        UserError: a folder that is named does not exist, or fewer than two models.
    """
    for option, folder in (("--runs", runs), ("--models", models), ("--data", data)):
        if folder is not None and not folder.is_dir():
            raise UserError(
                f"{option} {folder}: no such folder; name an existing one or leave the option out"
            )
    if loaded_models < 2:
        raise UserError(f"--loaded-models {loaded_models}: two are compared; give 2 or more")
    return Folders(runs or RUNS, models or MODELS, feedback, loaded_models, data or DATA)
