"""The model that XTuner's runner trains: its `LLaVAModel` with a step that does no work for nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import BitsAndBytesConfig, CLIPVisionModel, LlamaForCausalLM
from transformers.integrations import is_deepspeed_zero3_enabled
from xtuner.model import LLaVAModel
from xtuner.model.utils import find_all_linear_names
from xtuner.utils import IMAGE_TOKEN_INDEX

from llava_tuning.errors import UserError
from llava_tuning.models.llava import load_image_processor
from llava_tuning.training.attention import PACKED, Layout
from llava_tuning.training.checkpoint import read_weights
from llava_tuning.training.dropout import draw_seeds, hash_dropouts
from llava_tuning.training.float8 import convert_frozen
from llava_tuning.training.four_bit import convert_four_bit
from llava_tuning.training.layers import Step, compiled, decoder_layer, last_decoder_layer, vision_layer
from llava_tuning.training.loss import linear_cross_entropy
from llava_tuning.training.recompute import Mode, Recompute


def load_llm(path: str, dtype: str = "bfloat16", load_in_4bit: bool = False) -> LlamaForCausalLM:
    """The language model of a prepared directory; NF4 when `load_in_4bit`.

    Raises:
        UserError: weights are missing from the directory.
    """
    weights = getattr(torch, dtype)
    quantization = None
    if load_in_4bit:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=weights,
        )
    loaded: Any = LlamaForCausalLM.from_pretrained(
        path,
        dtype=weights,
        attn_implementation=PACKED,
        quantization_config=quantization,
        output_loading_info=True,
    )
    model: LlamaForCausalLM = loaded[0]
    _check_complete(path, loaded[1])
    return model


def load_vision_tower(path: str, dtype: str = "float32") -> CLIPVisionModel:
    """The vision tower of a CLIP directory, which may hold CLIP's text side as well.

    Raises:
        UserError: weights are missing from the directory.
    """
    loaded: Any = CLIPVisionModel.from_pretrained(
        path, dtype=getattr(torch, dtype), attn_implementation="sdpa", output_loading_info=True
    )
    model: CLIPVisionModel = loaded[0]
    _check_complete(path, loaded[1])
    processor = load_image_processor(path)
    accept_bytes(model, processor.image_mean, processor.image_std)
    return model


def accept_bytes(tower: CLIPVisionModel, mean: Sequence[float], std: Sequence[float]) -> None:
    """Let `LeanLLaVAModel` normalise uint8 pictures for this tower, with `mean` and `std` of each colour."""
    inner: Any = getattr(tower, "vision_model", tower)
    # As whole numbers: DeepSpeed casts a model to half precision, which would round them.
    for name, values in (("picture_mean", mean), ("picture_std", std)):
        inner.register_buffer(name, torch.tensor(values).view(3, 1, 1).view(torch.int32), persistent=False)


def _check_complete(path: str, info: dict[str, Any]) -> None:
    """transformers fills what is missing with random numbers and trains on."""
    wrong = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if wrong:
        raise UserError(f"{path}: lacks the weights {', '.join(wrong[:4])}; prepare or download it again")


class LeanLLaVAModel(LLaVAModel):
    """XTuner's LLaVA with the same parameters, checkpoints and configuration, and a leaner forward pass.

    Against XTuner's: no gradient through a frozen vision tower, and its unused last layers are not computed;
    samples are packed into one row without padding; each picture's positions are laid out by the dataset (its
    true length counts in truncation); the language model's last MLP, its head and the loss run only where
    there is a label, and logits are never all in memory; layers are compiled; activations are computed again
    only where memory demands; a language model that is not quantised keeps its dtype under LoRA; stage 1's
    projector is loaded strictly.

    Args (others as in XTuner):
        projector_checkpoint: a stage 1 checkpoint (`iter_N.pth`) whose projector training starts from.
        use_activation_checkpointing: True for every layer, False for none, "auto" for as few as
            memory allows.
        memory_limit: GiB of GPU memory that "auto" may use; None for nearly all that is free.
        compile_layers: compile them where there is a GPU.
        frozen_fp8: products with frozen weights in 8-bit floating point (needs a Hopper GPU or later).
        compute_dtype: what products are computed in, e.g. "bfloat16", where the language model's weights are
            float32; None for the weights' own dtype.
    """

    llm: Any
    visual_encoder: Any

    def __init__(
        self,
        *args: Any,
        projector_checkpoint: str | None = None,
        use_activation_checkpointing: Mode = "auto",
        memory_limit: float | None = None,
        compile_layers: bool = True,
        frozen_fp8: bool = False,
        compute_dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, use_activation_checkpointing=False, **kwargs)
        self.data_preprocessor = BaseDataPreprocessor(non_blocking=True)
        trained = {weight.dtype for weight in self.llm.parameters() if weight.requires_grad}
        # The master copy: trained in float32 whatever the others compute in. ZeRO-3 keeps master copies of
        # its own, and wants all that is trained in one dtype.
        self.projector.to(trained.pop() if is_deepspeed_zero3_enabled() and trained else torch.float32)
        limit = None if memory_limit is None else int(memory_limit * 2**30)
        self._text_memory = Recompute(use_activation_checkpointing, limit)
        self._picture_memory = Recompute(use_activation_checkpointing, limit, share=0.3)
        self._compile = compile_layers
        self._compute_dtype = None if compute_dtype is None else getattr(torch, compute_dtype)
        self._trained = [weight for weight in self.parameters() if weight.requires_grad]
        self._dropouts = hash_dropouts(part for part in self.modules() if isinstance(part, LoraLayer))
        if getattr(self.language_model(), "is_quantized", False):
            convert_four_bit(self.language_model().model.layers)
        if frozen_fp8:
            convert_frozen(self.language_model().model.layers)
            convert_frozen(self._tower().encoder)
        if projector_checkpoint is not None:
            self.load_projector(projector_checkpoint)
        self.register_load_state_dict_post_hook(_miss_only_what_trains)

    def _dispatch_lm_model_cfg(self, cfg: Any, max_position_embeddings: int | None = None) -> Any:
        # XTuner would fetch the configuration with remote code allowed; `load_llm` needs nothing from it.
        return cfg

    def _prepare_llm_for_lora(self, lora_config: Any, use_activation_checkpointing: bool = True) -> None:
        # peft's preparation of quantised models would hold embeddings, head and norms in float32; norms are
        # computed in it anyway.
        self.llm = get_peft_model(self.llm, _with_targets(self._parse_lora_config(lora_config), self.llm))
        _leave_inputs_alone(self.llm)

    def _prepare_visual_encoder_for_lora(
        self, lora_config: Any, use_activation_checkpointing: bool = True
    ) -> None:
        config = _with_targets(self._parse_lora_config(lora_config), self.visual_encoder)
        self.visual_encoder = get_peft_model(self.visual_encoder, config)
        if self.visual_encoder.dtype != torch.float32:
            _leave_inputs_alone(self.visual_encoder)

    @property
    def trains_vision(self) -> bool:
        """Whether the vision tower has trained weights."""
        return self.use_visual_encoder_lora or not self.freeze_visual_encoder

    def load_projector(self, checkpoint: str) -> None:
        """Start from the projector of a stage 1 checkpoint.

        Raises:
            UserError: the checkpoint has no projector, or one of another shape.
        """
        state = read_weights(checkpoint)
        projector = {k.removeprefix("projector."): v for k, v in state.items() if k.startswith("projector.")}
        try:
            self.projector.load_state_dict(projector, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{checkpoint}: its projector does not fit these base models ({reason}); "
                "use the checkpoint of a pretraining run with the same language model and vision tower"
            ) from None

    def language_model(self) -> LlamaForCausalLM:
        """The Llama inside a LoRA wrapper, or itself."""
        llm: LlamaForCausalLM = self.llm.get_base_model() if self.use_llm_lora else self.llm
        return llm

    def autocast(self) -> AbstractContextManager[Any]:
        """Arithmetic in half precision, adapters included, as a GPU's AMP does it."""
        weights: Any = self.language_model().get_input_embeddings().weight
        dtype = weights.dtype if weights.dtype != torch.float32 else self._compute_dtype
        return nullcontext() if dtype is None else torch.autocast(weights.device.type, dtype=dtype)

    def _tower(self) -> Any:
        """The vision tower's modules, without wrappers."""
        tower = self.visual_encoder.get_base_model() if self.use_visual_encoder_lora else self.visual_encoder
        return getattr(tower, "vision_model", tower)  # transformers before 5.20 has it one level deeper

    def picture_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(pictures, 3, side, side), uint8 or normalised, to (pictures, patches, text hidden)."""
        tower = self._tower()
        if pixel_values.dtype == torch.uint8:
            mean, std = tower.picture_mean.view(torch.float32), tower.picture_std.view(torch.float32)
            pixel_values = (pixel_values / 255 - mean) / std
        layers = tower.encoder.layers
        # hidden_states[0] goes into the first layer; what lies behind the selected one is not computed.
        used = range(len(layers) + 1)[self.visual_select_layer]
        with torch.set_grad_enabled(self.trains_vision and torch.is_grad_enabled()):
            hidden = tower.embeddings(pixel_values.to(next(tower.parameters()).dtype))
            hidden = tower.pre_layrnorm(hidden)  # (pictures, 1 + patches, vision hidden)
            hidden = self._picture_memory.run(
                layers[:used], self._step(vision_layer), hidden, reserved=self._gradients_to_come()
            )
        patches = hidden[:, 1:]  # the class token is dropped
        return self.projector(patches.to(self.projector.model[0].weight.dtype))

    def embed(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None,
        picture_positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(1, tokens) ids, with IMAGE_TOKEN_INDEX at picture positions, to (1, tokens, hidden).

        `picture_positions` says where those are; without it they are looked up.
        """
        words = input_ids.clamp(min=0)  # IMAGE_TOKEN_INDEX is negative
        embeds = self.language_model().get_input_embeddings()(words)
        if pixel_values is None:
            # Text only: the projector still takes part, so that no process waits for its gradient.
            idle = self.projector.model[0].weight.new_zeros(1, 1, self.projector.model[0].in_features)
            return embeds + 0.0 * self.projector(idle).sum().to(embeds.dtype)
        if picture_positions is None:
            picture_positions = (input_ids[0] == IMAGE_TOKEN_INDEX).nonzero()[:, 0]
        features = self.picture_features(pixel_values).to(embeds.dtype)
        if len(picture_positions) != features.shape[0] * features.shape[1]:
            raise ValueError(
                f"{len(picture_positions)} picture positions, but {tuple(features.shape[:2])} features"
            )
        return embeds.index_copy(1, picture_positions, features.flatten(0, 1)[None])

    def forward(self, data: dict[str, Any], data_samples: Any = None, mode: str = "loss") -> Any:
        """Mode `loss`: {"loss": mean cross-entropy over supervised positions}; `tensor`: all logits.

        `data` is a packed row as `collate` makes it; the mean is multiplied by its `loss_weight`, if any.
        Logits are (1, tokens, vocabulary).
        """
        if mode not in ("loss", "tensor"):
            raise ValueError(f"mode {mode!r}: choose 'loss' or 'tensor'")
        if self._compile and self.training:
            draw_seeds(self._dropouts)
        with self.autocast():
            embeds = self.embed(data["input_ids"], data.get("pixel_values"), data.get("picture_positions"))
            at = data["supervised"] if mode == "loss" else None
            hidden = self._hidden(embeds, data, at)
            head = self.language_model().lm_head
            if torch.is_autocast_enabled(hidden.device.type):  # float32 norms give float32
                hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
            if mode == "tensor":
                return head(hidden)[None]
            if type(head) is nn.Linear and not is_deepspeed_zero3_enabled():
                loss = linear_cross_entropy(hidden, head.weight, data["targets"])
            else:  # an adapter on the head, or one whose weights ZeRO-3 gathers when it is called
                loss = functional.cross_entropy(head(hidden).float(), data["targets"])
            return {"loss": loss * data["loss_weight"] if "loss_weight" in data else loss}

    def _hidden(self, embeds: torch.Tensor, data: dict[str, Any], at: torch.Tensor | None) -> torch.Tensor:
        """Last hidden states of the language model, (positions, hidden), at the positions `at` or at all."""
        llama = self.language_model().model
        if torch.is_autocast_enabled(embeds.device.type):
            embeds = embeds.to(torch.get_autocast_dtype(embeds.device.type))
        rotary = llama.rotary_emb(embeds, data["position_ids"])
        run = self._step(decoder_layer)
        row = (
            rotary,
            Layout(data["cu_seqlens"], data["max_seqlen"], data.get("padded_grid"), data.get("padded_slots")),
        )

        def step(layer: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
            return run(layer, hidden, *row)

        hidden = self._text_memory.run(llama.layers[:-1], step, embeds, reserved=self._gradients_to_come())
        if at is None:
            at = torch.arange(embeds.shape[1], device=embeds.device)
        last = self._step(last_decoder_layer)
        if self._text_memory.mode is True:
            hidden = checkpoint(last, llama.layers[-1], hidden, *row, at, use_reentrant=False)
        else:
            hidden = last(llama.layers[-1], hidden, *row, at)
        return llama.norm(hidden)

    def _step(self, step: Step) -> Step:
        """A layer's computation, compiled where that pays."""
        return compiled(step) if self._compile and self.training else step

    def _gradients_to_come(self) -> int:
        """Bytes of the gradients that this step's backward pass will add; AdamW's state comes after it."""
        return 4 * sum(w.numel() for w in self._trained if w.grad is None)

    def state_dict(self, *args: Any, **kwargs: Any) -> OrderedDict[str, torch.Tensor]:
        """What is trained, under XTuner's names."""
        return super().state_dict(*args, **kwargs)


def _miss_only_what_trains(model: nn.Module, keys: Any) -> None:
    """Checkpoints hold no frozen weights: a resumed run is not told of thousands that it lacks."""
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    keys.missing_keys[:] = [key for key in keys.missing_keys if key in trained]


def _with_targets(config: LoraConfig, module: nn.Module) -> LoraConfig:
    if config.target_modules is None:
        config.target_modules = find_all_linear_names(module)
    return config


def _leave_inputs_alone(module: nn.Module) -> None:
    """peft would copy each adapted layer's input to float32, for autocast to copy it back."""
    for layer in module.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False


def load_trained(model: LeanLLaVAModel, checkpoint: str | Path) -> None:
    """Load a checkpoint's trained weights strictly.

    Raises:
        UserError: trained weights are missing from the checkpoint, or it holds weights unknown to the model.
    """
    state = read_weights(checkpoint)
    expected = set(model.state_dict())
    missing, unknown = expected - set(state), set(state) - expected
    if missing or unknown:
        names = ", ".join(sorted(missing or unknown)[:4])
        kind = "lacks" if missing else "holds unknown"
        raise UserError(f"{checkpoint}: {kind} weights ({names}); give the config that it was trained with")
    model.load_state_dict(state, strict=False)
