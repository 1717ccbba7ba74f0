"""The lean forward pass computes what transformers' own LLaVA does, and gradients only where they are due."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from exactness import TOLERANCE, Named, assert_same, step_of
from mmengine.config import Config
from peft.tuners.lora import LoraLayer
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, LlavaForConditionalGeneration
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from xtuner.registry import BUILDER
from xtuner.utils import IGNORE_INDEX, IMAGE_TOKEN_INDEX

from llava_tuning.errors import UserError
from llava_tuning.models.llava import assemble, load_image_processor
from llava_tuning.training.dataset import collate
from llava_tuning.training.model import LeanLLaVAModel, load_trained

Batch = dict[str, Any]
KINDS = ["pretrain", "lora", "full", "vision_lora"]


@pytest.fixture(scope="module")
def text_batch(dataset: Any) -> Batch:
    data: Batch = collate([dataset[0], dataset[11]])["data"]
    return data


def labels_of(batch: Batch) -> torch.Tensor:
    """(1, tokens): the token where it is trained on, else IGNORE_INDEX."""
    labels = torch.full_like(batch["input_ids"], IGNORE_INDEX)
    labels[0, batch["supervised"] + 1] = batch["targets"]
    return labels


def reference(model: LeanLLaVAModel, load_config: Callable[..., Config]) -> LlavaForConditionalGeneration:
    """The same parts put together as transformers' own model, adapters inside it and not merged."""
    config = load_config("pretrain")
    parts = copy.deepcopy(model)
    llm = parts.language_model()
    vision = parts.visual_encoder.get_base_model() if parts.use_visual_encoder_lora else parts.visual_encoder
    for layer in chain(llm.modules(), vision.modules()):
        if isinstance(layer, LoraLayer):  # computes as peft has it, not as this project does
            layer.__class__ = next(
                kind for kind in type(layer).__mro__ if kind.__module__.startswith("peft.")
            )
    projector = {name.removeprefix("model."): value for name, value in parts.projector.state_dict().items()}
    tokenizer = AutoTokenizer.from_pretrained(config.llm)
    return assemble(llm, vision, projector, tokenizer, load_image_processor(config.vision_tower))[0]


def normalised(batch: Batch) -> torch.Tensor | None:
    """The pictures as transformers' processor gives them."""
    if "pixel_values" not in batch:
        return None
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    pixels: torch.Tensor = (batch["pixel_values"] / 255 - mean) / std
    return pixels


def renamed(theirs: Named, ours: Named) -> Named:
    """What a step of transformers' model gave, under our names; without its rows for the picture token."""
    adapted = any("lora_" in name for name in ours)
    names = {
        "model.multi_modal_projector.linear_1.": "projector.model.0.",
        "model.multi_modal_projector.linear_2.": "projector.model.2.",
        "model.vision_tower.": "visual_encoder.base_model.model.",
        "model.language_model.": "llm.base_model.model.model." if adapted else "llm.model.",
        "lm_head.": "llm.lm_head.",
    }
    found = {}
    for name, grad in theirs.items():
        old, new = next(((old, new) for old, new in names.items() if name.startswith(old)), ("", ""))
        name = new + name.removeprefix(old)
        found[name] = grad[: len(ours[name])] if grad.dim() else grad
    return found


def reference_loss(model: LlavaForConditionalGeneration, batch: Batch, vocabulary: int) -> torch.Tensor:
    """transformers' own loss, padded, over words alone: rows for the picture token would take probability."""
    lengths = batch["cu_seqlens"].diff().tolist()
    rows = [row[0].split(lengths) for row in (batch["input_ids"], labels_of(batch))]
    ids = pad_sequence(rows[0], batch_first=True)
    labels = pad_sequence(rows[1], batch_first=True, padding_value=IGNORE_INDEX)
    mask = pad_sequence([torch.ones(len(row)) for row in rows[0]], batch_first=True)
    ids = ids.masked_fill(ids == IMAGE_TOKEN_INDEX, model.config.image_token_id)
    logits = model(input_ids=ids, attention_mask=mask, pixel_values=normalised(batch)).logits
    loss: torch.Tensor = model.loss_function(
        logits=logits[..., :vocabulary], labels=labels, vocab_size=vocabulary
    )
    return loss


@pytest.mark.parametrize("kind", KINDS)
def test_loss_over_supervised_positions_is_that_of_all_logits(
    kind: str, build: Callable[..., LeanLLaVAModel], batch: Batch
) -> None:
    model = build(kind)
    logits = model(batch, mode="tensor")
    assert logits.shape == (*batch["input_ids"].shape, model.language_model().config.vocab_size)
    expected = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels_of(batch)[:, 1:].flatten())
    assert_same(step_of(model, model(batch)["loss"]), step_of(model, expected))
    embeds = model.embed(batch["input_ids"], batch["pixel_values"])
    some = model.language_model().lm_head(model._hidden(embeds, batch, batch["supervised"]))
    assert_same({"logits": some}, {"logits": logits[0, batch["supervised"]]})
    with pytest.raises(ValueError, match="choose 'loss' or 'tensor'"):
        model(batch, mode="predict")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_does_not_see_those_packed_beside_it(
    kind: str, build: Callable[..., LeanLLaVAModel], dataset: Any, batch: Batch
) -> None:
    model = build(kind)
    together = model(batch, mode="tensor")[0].split(batch["cu_seqlens"].diff().tolist())
    for index, logits in zip((1, 0, 2), together, strict=True):
        alone = model(collate([dataset[index]])["data"], mode="tensor")[0]
        assert_same({"logits": logits}, {"logits": alone})


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_transformers(
    kind: str,
    checkpointing: bool,
    build: Callable[..., LeanLLaVAModel],
    load_config: Callable[..., Config],
    batch: Batch,
) -> None:
    model = build(kind, checkpointing)
    theirs = reference(model, load_config)
    words = len(model.language_model().lm_head.weight)
    expected = reference_loss(theirs, batch, words)
    found = step_of(model, model(batch)["loss"])
    assert model._text_memory.recomputed == int(checkpointing)  # of two layers, the last counts apart
    assert_same(found, renamed(step_of(theirs, expected), found))


@pytest.mark.parametrize("kind", KINDS)
def test_text_alone_gives_the_language_models_loss_and_moves_no_projector(
    kind: str, build: Callable[..., LeanLLaVAModel], load_config: Callable[..., Config], text_batch: Batch
) -> None:
    model = build(kind)
    loss = model(text_batch)["loss"]
    words = len(model.language_model().lm_head.weight)
    expected = reference_loss(reference(model, load_config), text_batch, words)
    assert loss.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    loss.backward()
    for parameter in model.projector.parameters():
        assert parameter.grad is not None and not parameter.grad.any()
    if kind != "pretrain":
        trained = [p for p in model.llm.parameters() if p.requires_grad]
        assert trained and all(p.grad is not None for p in trained)
        assert any(p.grad.any() for p in trained if p.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_vision_tower_is_differentiated_only_where_it_is_trained(
    kind: str, build: Callable[..., LeanLLaVAModel], batch: Batch
) -> None:
    model = build(kind)
    enabled = []
    for name, module in model.visual_encoder.named_modules():
        if name.endswith("layer_norm1"):
            module.register_forward_hook(lambda *_: enabled.append(torch.is_grad_enabled()))
    model(batch)["loss"].backward()
    assert enabled == [kind == "vision_lora"] * 2  # of three layers, the last is not needed
    moved = {
        name for name, p in model.visual_encoder.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert all("lora_" in name for name in moved)
    assert bool(moved) == (kind == "vision_lora")


def test_a_lora_base_keeps_bfloat16_and_what_trains_is_float32(
    build: Callable[..., LeanLLaVAModel], load_config: Callable[..., Config], batch: Batch
) -> None:
    expected = build("lora")(batch)["loss"].item()
    config = load_config("lora")
    config.model.llm.dtype = "bfloat16"
    model: LeanLLaVAModel = BUILDER.build(config.model)
    for parameter in model.llm.parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16)
    assert {parameter.dtype for parameter in model.projector.parameters()} == {torch.float32}
    loss = model(batch)["loss"]
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(expected, rel=0.05)


def test_pictures_and_their_positions_must_agree(build: Callable[..., LeanLLaVAModel], batch: Batch) -> None:
    with pytest.raises(ValueError, match=r"32 picture positions, but \(1, 16\) features"):
        build("pretrain")({**batch, "pixel_values": batch["pixel_values"][:1]})


@pytest.mark.training
def test_stage_2_starts_from_stage_1s_projector(build: Callable[..., LeanLLaVAModel], projector: Any) -> None:
    state = torch.load(projector, weights_only=True)["state_dict"]
    model = build("lora", projector_checkpoint=projector)
    for name, value in model.projector.state_dict().items():
        assert torch.equal(value, state[f"projector.{name}"])


@pytest.mark.training
def test_half_a_projector_is_refused(
    build: Callable[..., LeanLLaVAModel], projector: Any, tmp_path: Any
) -> None:
    state = torch.load(projector, weights_only=True)["state_dict"]
    del state["projector.model.2.bias"]
    torch.save({"state_dict": state}, tmp_path / "half.pth")
    with pytest.raises(UserError, match=r"does not fit these base models .*model\.2\.bias"):
        build("lora", projector_checkpoint=tmp_path / "half.pth")


def test_a_checkpoint_is_loaded_whole_or_not_at_all(
    build: Callable[..., LeanLLaVAModel], tmp_path: Any
) -> None:
    model = build("lora")
    whole = dict(model.state_dict())
    lost = next(name for name in whole if "lora_B" in name)
    for state, message in (
        ({name: value for name, value in whole.items() if name != lost}, "lacks weights"),
        ({**whole, "llm.extra": torch.ones(1)}, r"holds unknown weights \(llm\.extra\)"),
    ):
        torch.save({"state_dict": state}, tmp_path / "iter_1.pth")
        with pytest.raises(UserError, match=message):
            load_trained(model, tmp_path / "iter_1.pth")


@pytest.mark.parametrize("kind", KINDS)
def test_room_is_held_back_for_gradients_that_are_still_to_come(
    kind: str, build: Callable[..., LeanLLaVAModel], batch: Batch
) -> None:
    model = build(kind, memory_limit=24)
    assert model._text_memory.limit == model._picture_memory.limit == 24 * 2**30
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert model._gradients_to_come() == 4 * sum(weight.numel() for weight in trained)
    model(batch)["loss"].backward()
    # The vision tower's last layer is not used, so its adapters never get any.
    unused = sum(weight.numel() for weight in trained if weight.grad is None)
    assert model._gradients_to_come() == 4 * unused
    assert (unused > 0) == (kind == "vision_lora")


def test_a_cuda_graph_is_made_where_it_is_asked_for_and_its_memory_held_back(
    build: Callable[..., LeanLLaVAModel],
) -> None:
    assert build("vision_lora").picture_graph is None
    model = build("vision_lora", vision_cuda_graph=True)
    assert model.picture_graph is not None and model._reserved() == model._gradients_to_come()
    model.picture_graph._captured = (), SimpleNamespace(hidden_bytes=5)  # type: ignore[assignment]
    assert model._reserved() == model._gradients_to_come() + 5


@pytest.mark.parametrize(
    ("kind", "compiled", "used"), [("vision_lora", True, 1), ("vision_lora", False, 0), ("lora", True, 0)]
)
def test_compiled_layers_of_a_tower_that_trains_run_by_its_graph(
    kind: str,
    compiled: bool,
    used: int,
    build: Callable[..., LeanLLaVAModel],
    batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a GPU: what is compiled and where pictures lie is only said to be so."""
    model = build(kind, vision_cuda_graph=True)
    expected = model(batch)["loss"].item()
    graph: Any = model.picture_graph
    runs = []
    monkeypatch.setattr(
        graph, "run", lambda *given, **more: runs.append(1) or graph._memory.run(*given, **more)
    )
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda tensor: True))
    if compiled:
        monkeypatch.setattr(model, "_step", lambda step: lambda *given: step(*given))
    assert model(batch)["loss"].item() == expected
    assert len(runs) == used


def test_a_tower_cast_to_half_precision_normalises_pictures_as_exactly(
    build: Callable[..., Any], batch: dict[str, Any]
) -> None:
    """As DeepSpeed casts it; mean and standard deviation are those of CLIP."""
    model = build("pretrain")
    model.visual_encoder.bfloat16()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    pictures = batch["pixel_values"]
    assert pictures.dtype == torch.uint8
    expected = model.picture_features((pictures / 255 - mean) / std)
    torch.testing.assert_close(model.picture_features(pictures), expected, rtol=0, atol=0)


def test_text_in_half_precision_stays_a_number_whatever_the_projector_says(
    build: Callable[..., LeanLLaVAModel], text_batch: Batch
) -> None:
    model = build("pretrain")
    model.llm.half()
    torch.nn.init.constant_(model.projector.model[2].bias, 1e4)  # their sum is more than float16 holds
    assert model.embed(text_batch["input_ids"], None).isfinite().all()
