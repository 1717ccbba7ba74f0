"""What model a deployed app runs: files that go with it, or a repository that it fetches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llava_tuning.models.hub import HUB_ID

OWN_FOLDERS = ("models", "work_dirs", "data")  # where the guides put things


@dataclass(frozen=True)
class ModelSource:
    """A model `directory` to copy, or a `repository` (owner/name) of the platform's hub: one of them.

    `name` is what the page calls it. `sees`: it is not known to be a text model.
    """

    name: str
    directory: Path | None = None
    repository: str | None = None
    sees: bool = True


def find_source(model: str) -> ModelSource:
    """Tell a model directory (or "default") from a repository; a repository is not looked at.

    Raises:
        UserError: no model directory, or a damaged one, and nothing that can be meant as a repository.
    """
    from llava_tuning.models.checkpoints import Checkpoint
    from llava_tuning.models.default import DEFAULT_NAME, resolve_model
    from llava_tuning.models.kind import check_model_directory

    path = Path(model).expanduser()
    # Below a folder that is there, or that this project makes, a mistyped path is likelier than an owner of
    # the same name.
    local = path.exists() or path.parent.is_dir() or path.parts[0] in OWN_FOLDERS
    if HUB_ID.fullmatch(model) and not local:
        return ModelSource(path.name, repository=model)
    directory = resolve_model(model)
    sees = check_model_directory(directory) == "llava"
    Checkpoint(directory)  # what is cut off or missing is named here, not when the platform starts the app
    name = DEFAULT_NAME if model == DEFAULT_NAME else directory.resolve().name
    return ModelSource(name, directory, sees=sees)


def introduction(source: ModelSource) -> dict[str, str]:
    """What a folder's README says of it first, in English (`what`) and Chinese (`what_zh`)."""
    if source.sees:
        return {"what": "Ask about pictures", "what_zh": "可以就图片提问的助手"}
    return {"what": "Chat", "what_zh": "可以聊天的助手"}
