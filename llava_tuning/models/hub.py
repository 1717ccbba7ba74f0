"""Fetch a checkpoint from the Hugging Face hub: weights, JSON and tokenizer files, never code."""

from __future__ import annotations

import re
from pathlib import Path

from llava_tuning.errors import UserError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_ALWAYS = ["*.json", "tokenizer.model", "*.jinja"]


def download(repo_id: str, revision: str | None = None) -> tuple[Path, str]:
    """Download a model repository into the hub's own cache.

    Returns:
        the local directory, and the commit that it holds.

    Raises:
        UserError: the hub cannot be reached, or has no such repository, revision or permission.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(repo_id, revision=revision, timeout=15)
    except GatedRepoError:
        raise UserError(
            f"{repo_id}: access to this repository must be asked for on its page; then log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{repo_id}: the hub has no such model, or it is private; check the spelling"
        ) from None
    except RevisionNotFoundError:
        raise UserError(
            f"{repo_id}: has no revision {revision}; take a branch, tag or commit of it"
        ) from None
    except HFValidationError as error:
        raise UserError(f"{repo_id}: not a valid hub id ({error})") from None
    except Exception as error:  # whatever the HTTP library of this hub version raises
        try:
            local = Path(
                snapshot_download(repo_id, revision=revision, local_files_only=True, allow_patterns=_ALWAYS)
            )
        except (LocalEntryNotFoundError, OSError, ValueError):
            raise _unreachable(repo_id, error) from None
        return local, local.name
    names = [sibling.rfilename for sibling in info.siblings or []]
    # Old repositories hold the same weights in both formats; one is enough.
    weights = (
        "*.safetensors" if any(name.endswith(".safetensors") for name in names) else "pytorch_model*.bin"
    )
    commit = info.sha or revision or "main"
    try:
        local = Path(snapshot_download(repo_id, revision=commit, allow_patterns=[*_ALWAYS, weights]))
    except GatedRepoError:
        raise UserError(
            f"{repo_id}: access to this repository must be asked for on its page; then log in with `hf auth login`"
        ) from None
    except Exception as error:
        raise _unreachable(repo_id, error) from None
    return local, commit


def _unreachable(repo_id: str, error: Exception) -> UserError:
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return UserError(
        f"{repo_id}: the hub could not be reached ({reason}); if {repo_id} is meant as a local directory, it does not "
        "exist; otherwise download the repository elsewhere, copy it here and give its directory, or set HF_ENDPOINT "
        "to a mirror"
    )
