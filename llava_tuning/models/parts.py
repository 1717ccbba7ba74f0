"""Parts of LLaVA models on one language model: put together with it, or averaged over several runs.

A folder of parts is what `export --parts` writes: `llm_adapter/`, `projector.safetensors`, `vision_tower/`.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from llava_tuning.errors import UserError
from llava_tuning.models.directory import complete_or_not_at_all, let_others_read
from llava_tuning.models.provenance import FILE_NAME, Provenance, hash_file, read_provenance, write_provenance

ADAPTER, ADAPTER_CONFIG = (
    Path("llm_adapter/adapter_model.safetensors"),
    Path("llm_adapter/adapter_config.json"),
)
PROJECTOR, TOWER = Path("projector.safetensors"), Path("vision_tower/model.safetensors")
_A, _B = ".lora_A.weight", ".lora_B.weight"
# What of two adapters has to be the same for their products to be added.
_SAME = ("peft_type", "r", "lora_alpha", "use_rslora")
# What an adapter may not have: more than two matrices a layer, or layers of different ranks.
_PLAIN = {"use_dora": False, "bias": "none", "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None}

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Average:
    """Where the averaged parts are, and the share of the mean adapter's square that its rank lacks."""

    directory: Path
    lost: float


def assemble_parts(parts: Path, base: Path, out: Path) -> None:
    """Write the model directory, in bfloat16, of parts and the language model that they were trained on."""
    # peft imports it where it is installed; it says on a CPU which package would make 4-bit products faster.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel

    from llava_tuning.models.llava import assemble, load_image_processor, save_llava

    llm = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of how peft asks transformers
        llm = PeftModel.from_pretrained(llm, parts / ADAPTER.parent).merge_and_unload()
    vision = CLIPVisionModel.from_pretrained(parts / TOWER.parent, dtype=torch.float32)
    model, processor = assemble(
        llm,
        vision,
        load_file(parts / PROJECTOR),
        AutoTokenizer.from_pretrained(base),
        load_image_processor(parts / TOWER.parent),
    )
    model.to(torch.bfloat16)  # type: ignore[arg-type]  # transformers' wrapper hides `self`
    save_llava(model, processor, out)
    shutil.copyfile(parts / FILE_NAME, out / FILE_NAME)


def average_parts(sources: Sequence[tuple[Path, float]], out: Path, base: Path | None = None) -> Average:
    """Write the weighted mean of several runs' parts, all trained on the same two base models.

    Vision towers and projectors are averaged weight by weight, adapters by their products: the adapter that
    is written is the one of the same rank nearest to the mean product (whole models: arXiv:2203.05482).

    Args:
        sources: folders of parts with their weights, which are relative.
        out: folder to make.
        base: a language model directory that has to be the one that they were trained on.

    Raises:
        UserError: fewer than two sources, `out` is taken, a folder is incomplete, or two do not fit together.
    """
    if len(sources) < 2:
        raise UserError("an average needs two folders of parts or more, as `export --parts` writes them")
    provenance = _provenance([folder for folder, _ in sources])
    if base is not None:
        check_base(provenance, base, sources[0][0])
    total = sum(weight for _, weight in sources)
    shares = [weight / total for _, weight in sources]
    tower, projector, adapters = (
        [_read(folder, name) for folder, _ in sources] for name in (TOWER, PROJECTOR, ADAPTER)
    )
    rank = json.loads((sources[0][0] / ADAPTER_CONFIG).read_text(encoding="utf-8"))["r"]
    adapter, lost = _mean_adapter(adapters, shares, rank)
    mean_tower, mean_projector = _mean(tower, shares), _mean(projector, shares)
    with complete_or_not_at_all(out) as building:
        for folder in (ADAPTER.parent, TOWER.parent):
            unlike = shutil.ignore_patterns("*.safetensors")
            shutil.copytree(sources[0][0] / folder, building / folder, ignore=unlike)
        for name, weights in ((ADAPTER, adapter), (TOWER, mean_tower), (PROJECTOR, mean_projector)):
            save_file(weights, building / name, metadata={"format": "pt"})
            let_others_read((building / name).parent)
        write_provenance(building, provenance)
    return Average(out, lost)


def _provenance(folders: Sequence[Path]) -> Provenance:
    """Of the mean: the first one's, with the data of all; checks that they fit together."""
    found = []
    for folder in folders:
        one = read_provenance(folder) if folder.is_dir() else None
        if one is None or not all((folder / name).is_file() for name in (ADAPTER, PROJECTOR, TOWER)):
            raise UserError(f"{folder}: is no folder of parts; name one that `export --parts` wrote")
        found.append(one)
    first = found[0]
    settings = [json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")) for folder in folders]
    for folder, one, setting in zip(folders, found, settings, strict=True):
        if one.base_models != first.base_models:
            raise UserError(f"{folder}: was trained on other base models than {folders[0]}; leave one out")
        for key in _SAME:
            if setting.get(key) != settings[0].get(key):
                raise UserError(
                    f"{folder}: its adapter has {key} = {setting.get(key)}, that of {folders[0]} "
                    f"{settings[0].get(key)}; average adapters of one kind"
                )
        check_plain(folder, "averaged")
    data = {f"{number}/{name}": value for number, one in enumerate(found) for name, value in one.data.items()}
    return first.model_copy(update={"data": data, "config_hash": None, "scores": {}})


def check_plain(folder: Path, done: str) -> None:
    """The adapter of a folder of parts is plain LoRA of one rank.

    Args:
        done: what only such an adapter can be, for the error.

    Raises:
        UserError: it is not, or its config is damaged.
    """
    try:
        setting = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{folder / ADAPTER_CONFIG}: is no JSON; export the parts again") from None
    for key, plain in _PLAIN.items():
        if setting.get(key, plain) != plain:
            raise UserError(
                f"{folder}: its adapter has {key} = {setting[key]}; only plain LoRA of one rank can be {done}"
            )


def check_base(provenance: Provenance, base: Path, folder: Path) -> None:
    """The language model in provenance is the one of a directory, by the hash of its weights."""
    trained = next((one for one in provenance.base_models if one.role == "language model"), None)
    wanted = set(trained.hashes.values()) if trained is not None else set()
    if wanted and not wanted & {hash_file(file) for file in base.glob("*.safetensors")}:
        raise UserError(f"{base}: is not the language model that {folder} was trained on; name that one")


def _read(folder: Path, name: Path) -> Weights:
    return load_file(folder / name)


def _mean(weights: Sequence[Weights], shares: Sequence[float]) -> Weights:
    _check_alike(weights)
    return {
        name: torch.stack([share * one[name].float() for one, share in zip(weights, shares, strict=True)])
        .sum(0)
        .to(value.dtype)
        for name, value in weights[0].items()
    }


def _mean_adapter(weights: Sequence[Weights], shares: Sequence[float], rank: int) -> tuple[Weights, float]:
    """The best approximation in `rank` of the mean product, and the share of its square that it lacks."""
    _check_alike(weights)
    out: Weights = {}
    square = kept = 0.0
    for name, value in weights[0].items():
        if not name.endswith(_A):
            continue
        other = name.removesuffix(_A) + _B
        # The mean product is that of all narrow matrices side by side; its singular values are those of R R'.
        wide = torch.cat([share * one[other].float() for one, share in zip(weights, shares, strict=True)], 1)
        narrow = torch.cat([one[name].float() for one in weights])
        (left, tall), (right, flat) = torch.linalg.qr(wide), torch.linalg.qr(narrow.T)
        inner, sizes, outer = torch.linalg.svd(tall @ flat.T, full_matrices=False)
        root, lacking = sizes[:rank].sqrt(), max(0, rank - len(sizes))
        a, b = (right @ outer.T)[:, :rank] * root, (left @ inner)[:, :rank] * root
        out[name] = functional.pad(a, (0, lacking)).T.to(value.dtype).contiguous()
        out[other] = functional.pad(b, (0, lacking)).to(value.dtype).contiguous()
        square += float((sizes**2).sum())
        kept += float((sizes[:rank] ** 2).sum())
    return out, 1 - kept / square if square else 0.0


def _check_alike(weights: Sequence[Weights]) -> None:
    def shapes(one: Weights) -> dict[str, Any]:
        return {name: value.shape for name, value in one.items()}

    if any(shapes(one) != shapes(weights[0]) for one in weights):
        raise UserError("the folders' weights differ in names or shapes; average runs of one configuration")
