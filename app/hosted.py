"""Start the app as a platform does, by `python app.py` in a folder that `llava-tuning deploy` wrote."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Literal

from app.checks import check_writable, read_root_path
from app.feedback import feedback_directory
from app.folders import Folders
from app.server import serve
from llava_tuning.errors import UserError

STORAGE = Path("/data")  # where a Space's storage is mounted


def main(model: str | Path, hub: Literal["folder", "hub", "openxlab"] = "folder") -> None:
    """Serve a model; a UserError becomes one sentence and exit status 2.

    GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say where (every address and 7860, as platforms expect), and
    GRADIO_ROOT_PATH below which path.

    Args:
        model: its directory, or owner/name.
        hub: where `model` is: a folder here, Hugging Face's hub or OpenXLab.
    """
    try:
        host, port = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"), _port()
        root_path = read_root_path(os.environ.get("GRADIO_ROOT_PATH", ""), "GRADIO_ROOT_PATH")
        folders = Folders(runs=None, models=None, feedback=_votes())
        serve(str(_find(model, hub)), host, port, None, folders, root_path, Path(model).name)
    except UserError as error:
        print(f"app: {error}", file=sys.stderr)
        sys.exit(2)


def _port() -> int:
    given = os.environ.get("GRADIO_SERVER_PORT", "7860")
    if not given.isdecimal():
        raise UserError(f"GRADIO_SERVER_PORT is {given!r}; set it to a number such as 7860")
    return int(given)


def _find(model: str | Path, hub: str) -> Path:
    if hub == "hub":
        from llava_tuning.models.hub import download

        return download(str(model))[0]
    if hub == "openxlab":
        from llava_tuning.deployment.openxlab import fetch_model

        return fetch_model(str(model))
    return Path(model)


def _votes() -> Path:
    """Where votes stay longest: the platform's storage, the user's data directory, or until the app ends."""
    for directory in (STORAGE / "feedback", feedback_directory()):
        if directory.parent == STORAGE and not STORAGE.is_dir():
            continue
        try:
            check_writable(directory)
        except UserError:
            continue
        return directory
    return Path(tempfile.mkdtemp(prefix="llava-tuning-votes-"))
