"""Load a tokenizer, and check that it can lead a conversation; what fails is said in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llava_tuning.errors import UserError
from llava_tuning.models.checkpoints import rewrite_json
from llava_tuning.models.conversation import answer_end


def load_tokenizer(directory: Path, *, name: str | Path, remedy: str) -> Any:
    """The tokenizer in `directory`; nothing is asked of a hub.

    Args:
        name: what the message calls the directory.
        remedy: what the user is to do when it cannot be loaded.

    Raises:
        UserError: it cannot be loaded.
    """
    from transformers import AutoTokenizer  # takes seconds: callers check cheaper things first

    try:
        settings = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
        if "auto_map" in settings:
            raise UserError(f"{name}: its tokenizer asks for code of its own, which is never run; {remedy}")
        return AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except UserError:
        raise
    except Exception as error:  # each tokenizer class fails in its own way
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: its tokenizer cannot be loaded ({reason}); {remedy}") from None


def name_tokenizer_class(directory: Path) -> None:
    """Name a class of every version in `tokenizer_config.json`: transformers 4 has no `TokenizersBackend`."""
    path = directory / "tokenizer_config.json"
    if json.loads(path.read_text(encoding="utf-8")).get("tokenizer_class") == "TokenizersBackend":
        local = ("is_local", "local_files_only")  # how it was loaded here
        rewrite_json(path, drop=local, tokenizer_class="PreTrainedTokenizerFast")


def check_chat_template(tokenizer: Any, name: str | Path) -> None:
    """A base model must have a chat template, and a special token in it that ends an answer.

    Raises:
        UserError: it has not; `name` is what the message calls the model.
    """
    if not tokenizer.chat_template:
        raise UserError(f"{name}: its tokenizer has no chat template; take an instruction-tuned (chat) model")
    if answer_end(tokenizer) is None:
        raise UserError(
            f"{name}: its chat template ends an answer with no special token, so the model would never learn "
            "to stop; take a model whose template does, or mend its chat_template.jinja"
        )
