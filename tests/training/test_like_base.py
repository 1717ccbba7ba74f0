"""Records marked `like_base`: an adapter keeps to what the language model says there without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from exactness import assert_same, step_of
from torch.nn import functional
from xtuner.registry import BUILDER

from llava_tuning.training.dataset import collate, read_samples
from llava_tuning.training.plan import plan

Sample = dict[str, Any]
HEAD = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "lm_head"]}
OWN_HEAD = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}


@pytest.fixture(scope="module")
def samples(data: Path, load_config: Callable[..., Any]) -> list[Sample]:
    """A picture, a text that is marked, one that is not, and another that is."""
    rows = json.loads((data / "mixed.json").read_text(encoding="utf-8"))
    texts = [row for row in rows if row["image"] is None][:3]
    picture = next(row for row in rows if row["image"])
    marked = [texts[0] | {"like_base": True}, texts[1], texts[2] | {"like_base": True}]
    (data / "marked.json").write_text(json.dumps([picture, *marked]), encoding="utf-8")
    config = load_config("lora", data_path=data / "marked.json")
    dataset: Any = BUILDER.build(config.train_dataloader.dataset)
    return [dataset[i] for i in range(4)]


def test_a_dry_run_says_how_many_records_are_marked(
    load_config: Callable[..., Any], data: Path, samples: list[Sample]
) -> None:
    for file, said in (("marked.json", True), ("mixed.json", False)):
        config = load_config("lora", data_path=data / file)
        found = read_samples(config, only_some=True)
        told = plan(config, len(found.lengths), 1, found).describe(config)
        assert ("like base   50% of the records" in told) == said, told
        assert "like base" not in plan(config, 4, 1, found, deepspeed=True).describe(config)
        full = load_config("full", data_path=data / file)  # there is no adapter to leave out
        assert "like base" not in plan(full, len(found.lengths), 1, found).describe(full)


def by_hand(model: Any, samples: list[Sample]) -> torch.Tensor:
    """The loss from all logits of one sample after the other, with peft's own way to leave an adapter out."""
    total, count = torch.zeros(()), 0
    for sample in samples:
        data = collate([{**sample, "like_base": False}])["data"]
        own = model(data, mode="tensor")[0, data["supervised"]].log_softmax(-1)
        if sample.get("like_base"):
            with torch.no_grad(), model.llm.disable_adapter():
                base = model(data, mode="tensor")[0, data["supervised"]].log_softmax(-1)
            total = total + functional.kl_div(own, base, reduction="sum", log_target=True)
        else:
            total = total + functional.nll_loss(own, data["targets"], reduction="sum")
        count += len(data["targets"])
    return total / count


@pytest.mark.parametrize("of", [[0, 1, 2, 3], [1, 3], [3, 2]], ids=["all", "only marked", "texts"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"checkpointing": True}, {"llm_lora": HEAD}, {"llm_lora": OWN_HEAD}],
    ids=["layers", "checkpointed", "head", "own head"],
)
def test_loss_and_gradients_are_those_of_the_divergence(
    changes: dict[str, Any], of: list[int], build: Callable[..., Any], samples: list[Sample]
) -> None:
    chosen = [samples[i] for i in of]
    model = build("lora", **changes)
    for name, weight in model.llm.named_parameters():
        if ".modules_to_save." in name:  # a copy of the base's, until it is trained
            torch.nn.init.normal_(weight, std=0.1)
    found = step_of(model, model(collate(chosen)["data"])["loss"])
    expected = step_of(model, by_hand(model, chosen))
    assert_same(found, {name: expected[name] for name in found})
    assert not any(value.any() for name, value in expected.items() if name not in found)


def test_an_untouched_adapter_has_nothing_to_learn_from_them(
    build: Callable[..., Any], samples: list[Sample]
) -> None:
    model = build("lora")
    for name, weight in model.llm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(weight)
    step = step_of(model, model(collate([samples[1], samples[3]])["data"])["loss"])
    assert abs(step["loss"]) < 1e-6
    assert max(value.abs().max() for value in step.values()) < 1e-6
    unmarked = [{**samples[i], "like_base": False} for i in (1, 3)]
    assert model(collate(unmarked)["data"])["loss"] > 1


def test_without_an_adapter_they_are_learnt_by_their_tokens(
    build: Callable[..., Any], samples: list[Sample]
) -> None:
    model = build("full")
    unmarked = [{**sample, "like_base": False} for sample in samples]
    marked, plain = (step_of(model, model(collate(row)["data"])["loss"]) for row in (samples, unmarked))
    assert_same(marked, plain)


def test_a_run_on_them_alone_leaves_the_language_model_as_it_was(
    start: Callable[..., int], projector: Path, data: Path, runs: Path
) -> None:
    rows = json.loads((data / "texts.json").read_text(encoding="utf-8"))
    outcomes = {}
    for like_base in (True, False):
        path, run = data / f"like_base_{like_base}.json", runs / f"like_base_{like_base}"
        path.write_text(json.dumps([row | {"like_base": like_base} for row in rows]), encoding="utf-8")
        assert start("lora", run, data_path=path, projector_checkpoint=projector, max_steps=2, lr=1e-2) == 0
        state = torch.load(run / "iter_2.pth", weights_only=True, map_location="cpu")["state_dict"]
        outcomes[like_base] = max(
            v.abs().max().item() for k, v in state.items() if "lora_B" in k and k.startswith("llm.")
        )
    # Rounding alone moves it where it already agrees; AdamW makes whole steps of the tokens' gradients.
    assert outcomes[True] < outcomes[False] / 2
