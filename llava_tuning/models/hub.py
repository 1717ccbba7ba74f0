"""Fetch a checkpoint from the Hugging Face hub: weights, JSON and tokenizer files, never code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from llava_tuning.errors import UserError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_ADAPTER = "adapter_model.bin"  # peft's, before it wrote safetensors
_ALWAYS = ["*.json", "tokenizer.model", "*.jinja"]


def download(repo_id: str, revision: str | None = None) -> tuple[Path, str]:
    """Download a model repository into the hub's own cache.

    Returns:
        the local directory, and the commit that it holds.

    Raises:
        UserError: the hub cannot be reached, or has no such repository, revision or permission.
    """
    with _explained(repo_id, revision):
        return _download(repo_id, revision)


def check_hub_id(repo_id: str) -> None:
    """Find out without the network whether a name can be a repository's.

    Raises:
        UserError: it cannot; says what the hub's rules are.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"{repo_id}: not a valid hub id ({error}); give owner/name") from None


def check_model_repository(repo_id: str) -> None:
    """Ask the hub whether it has such a model, in the format that this project reads.

    Raises:
        UserError: it has not, or cannot be reached.
    """
    from huggingface_hub import HfApi

    with _explained(repo_id, None):
        info = HfApi().model_info(repo_id, timeout=15)
    files = {sibling.rfilename for sibling in info.siblings or []}
    if "config.json" not in files:
        raise UserError(f"{repo_id}: holds no config.json; give a repository that `export` has filled")


@contextmanager
def _explained(repo_id: str, revision: str | None) -> Iterator[None]:
    """Whatever the hub's library raises within becomes a UserError."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
        return
    except GatedRepoError:
        remedy = "is gated; ask for access on its page, then log in with `hf auth login`"
    except RepositoryNotFoundError:
        remedy = (
            "no such model on the hub, or a private one; check the spelling, or log in with `hf auth login`"
        )
    except RevisionNotFoundError:
        remedy = f"has no revision {revision}; give a branch, tag or commit"
    except HFValidationError as error:
        remedy = f"not a valid hub id ({error}); give owner/name"
    except Exception as error:  # whatever the HTTP library of this hub version raises
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        remedy = (
            f"no such local directory, and the hub could not be reached ({reason}); download the repository "
            "elsewhere, copy it here and give its directory, or set HF_ENDPOINT to a mirror"
        )
    raise UserError(f"{repo_id}: {remedy}")


def _download(repo_id: str, revision: str | None) -> tuple[Path, str]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().model_info(repo_id, revision=revision, timeout=15)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise
    except Exception as unreachable:
        try:  # an earlier download serves as well
            local = snapshot_download(
                repo_id, revision=revision, local_files_only=True, allow_patterns=_ALWAYS
            )
        except Exception:
            raise unreachable from None
        return Path(local), Path(local).name
    weights = _weights([sibling.rfilename for sibling in info.siblings or []])
    # By the name that was asked for, not by its commit: only so does the hub's cache find it again offline.
    local = snapshot_download(repo_id, revision=revision, allow_patterns=[*_ALWAYS, *weights])
    return Path(local), Path(local).name


def _weights(names: list[str]) -> list[str]:
    """The files with weights; where a folder has them in both formats, as old ones do, one is enough.

    Folder by folder: XTuner's projector and adapters lie in folders, and need not have the same format.
    """
    chosen = []
    for folder in {PurePosixPath(name).parent for name in names}:
        files = [path for path in map(PurePosixPath, names) if path.parent == folder]
        safe = [path for path in files if path.suffix == ".safetensors"]
        pickles = [path for path in files if path.match("pytorch_model*.bin") or path.name == _ADAPTER]
        chosen += [str(path) for path in safe or pickles]
    return chosen
