"""The model that XTuner's runner trains: its `LLaVAModel` with a step that does no work for nothing."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn import functional
from transformers import BitsAndBytesConfig, CLIPVisionModel, LlamaForCausalLM
from transformers.integrations import is_deepspeed_zero3_enabled
from xtuner.model import LLaVAModel
from xtuner.model.utils import find_all_linear_names
from xtuner.utils import IGNORE_INDEX, IMAGE_TOKEN_INDEX

from llava_tuning.errors import UserError
from llava_tuning.training.attention import PACKED
from llava_tuning.training.checkpoint import read_weights


def load_llm(path: str, dtype: str = "bfloat16", load_in_4bit: bool = False) -> LlamaForCausalLM:
    """The language model of a prepared directory; NF4 with double quantisation when `load_in_4bit`.

    Raises:
        UserError: weights are missing from the directory.
    """
    weights = getattr(torch, dtype)
    quantization = None
    if load_in_4bit:
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
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
    return model


def _check_complete(path: str, info: dict[str, Any]) -> None:
    """transformers fills what is missing with random numbers and trains on."""
    wrong = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if wrong:
        raise UserError(f"{path}: lacks the weights {', '.join(wrong[:4])}; prepare or download it again")


class LeanLLaVAModel(LLaVAModel):
    """XTuner's LLaVA with the same parameters, checkpoints and configuration, and a leaner forward pass.

    Against XTuner's: no gradient through a frozen vision tower; samples are packed into one row without
    padding; each picture's positions are laid out by the dataset (its true length counts in truncation); the
    language-model head runs only where there is a label; a language model that is not quantised keeps its
    dtype under LoRA; stage 1's projector is loaded strictly.

    Args (others as in XTuner):
        projector_checkpoint: a stage 1 checkpoint (`iter_N.pth`) whose projector training starts from.
    """

    llm: Any
    visual_encoder: Any

    def __init__(
        self,
        *args: Any,
        projector_checkpoint: str | None = None,
        use_activation_checkpointing: bool = True,
        **kwargs: Any,
    ) -> None:
        self._checkpointing = use_activation_checkpointing
        super().__init__(*args, use_activation_checkpointing=False, **kwargs)
        trained = {weight.dtype for weight in self.llm.parameters() if weight.requires_grad}
        # The master copy: trained in float32 whatever the others compute in. ZeRO-3 keeps master copies of
        # its own, and wants all that is trained in one dtype.
        self.projector.to(trained.pop() if is_deepspeed_zero3_enabled() and trained else torch.float32)
        if use_activation_checkpointing:
            self._enable_checkpointing()
        if projector_checkpoint is not None:
            self.load_projector(projector_checkpoint)

    def _dispatch_lm_model_cfg(self, cfg: Any, max_position_embeddings: int | None = None) -> Any:
        # XTuner would fetch the configuration with remote code allowed; `load_llm` needs nothing from it.
        return cfg

    def _prepare_llm_for_lora(self, lora_config: Any, use_activation_checkpointing: bool = True) -> None:
        if getattr(self.llm, "is_quantized", False):
            # Only a quantised base wants its norms in float32; for others this would double the memory.
            self.llm = prepare_model_for_kbit_training(self.llm, use_gradient_checkpointing=False)
        self.llm = get_peft_model(self.llm, _with_targets(self._parse_lora_config(lora_config), self.llm))
        for layer in self.llm.modules():
            if isinstance(layer, LoraLayer):
                # peft would copy each layer's input to float32, for autocast to copy it back.
                layer.cast_input_dtype_enabled = False

    def _prepare_visual_encoder_for_lora(
        self, lora_config: Any, use_activation_checkpointing: bool = True
    ) -> None:
        config = _with_targets(self._parse_lora_config(lora_config), self.visual_encoder)
        self.visual_encoder = get_peft_model(self.visual_encoder, config)

    def _enable_checkpointing(self) -> None:
        options = {"use_reentrant": False}
        self.llm.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
        if self.trains_vision:
            self.visual_encoder.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)

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
        """Arithmetic in the language model's half precision, adapters included, as a GPU's AMP does it."""
        weights: Any = self.language_model().get_input_embeddings().weight
        if weights.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(weights.device.type, dtype=weights.dtype)

    def picture_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(pictures, 3, side, side) to (pictures, patches, text hidden)."""
        tower_dtype = next(self.visual_encoder.parameters()).dtype
        with torch.set_grad_enabled(self.trains_vision and torch.is_grad_enabled()):
            outputs = self.visual_encoder(pixel_values.to(tower_dtype), output_hidden_states=True)
        patches = outputs.hidden_states[self.visual_select_layer][:, 1:]  # the class token is dropped
        return self.projector(patches.to(self.projector.model[0].weight.dtype))

    def embed(self, input_ids: torch.Tensor, pixel_values: torch.Tensor | None) -> torch.Tensor:
        """(1, tokens) ids, with IMAGE_TOKEN_INDEX at picture positions, to (1, tokens, hidden)."""
        at_picture = input_ids == IMAGE_TOKEN_INDEX
        embeds = self.language_model().get_input_embeddings()(input_ids.masked_fill(at_picture, 0))
        if pixel_values is None:
            # Text only: the projector still takes part, so that no process waits for its gradient.
            idle = self.projector.model[0].weight.new_zeros(1, 1, self.projector.model[0].in_features)
            return embeds + 0.0 * self.projector(idle).sum().to(embeds.dtype)
        features = self.picture_features(pixel_values).to(embeds.dtype)
        expected = int(at_picture.sum())
        if expected != features.shape[0] * features.shape[1]:
            raise ValueError(f"{expected} picture positions, but {tuple(features.shape[:2])} features")
        return embeds.masked_scatter(at_picture.unsqueeze(-1), features)

    def forward(self, data: dict[str, Any], data_samples: Any = None, mode: str = "loss") -> Any:
        """Mode `loss`: {"loss": mean cross-entropy over supervised positions}; `tensor`: all logits.

        `data` is a packed row as `collate` makes it; a single sample may come without `cu_seqlens` and
        `position_ids`. Logits are (1, tokens, vocabulary).
        """
        with self.autocast():
            return self._forward(data, mode)

    def _forward(self, data: dict[str, Any], mode: str) -> Any:
        embeds = self.embed(data["input_ids"], data.get("pixel_values"))
        llm = self.language_model()
        hidden = llm.model(
            inputs_embeds=embeds,
            position_ids=data.get("position_ids"),
            cu_seq_lens_q=data.get("cu_seqlens"),
            max_length_q=data.get("max_seqlen"),
            use_cache=False,
        ).last_hidden_state
        if mode == "tensor":
            return llm.lm_head(hidden)
        if mode != "loss":
            raise ValueError(f"mode {mode!r}: choose 'loss' or 'tensor'")
        targets = data["labels"][:, 1:]
        # No sample begins with a label, so none is learnt from the one before it.
        supervised = targets != IGNORE_INDEX  # (1, tokens - 1)
        logits = llm.lm_head(hidden[:, :-1][supervised])  # (supervised, vocab)
        loss = functional.cross_entropy(logits.float(), targets[supervised])
        return {"loss": loss}

    def state_dict(self, *args: Any, **kwargs: Any) -> OrderedDict[str, torch.Tensor]:
        """What is trained, under XTuner's names."""
        return super().state_dict(*args, **kwargs)


def _with_targets(config: LoraConfig, module: nn.Module) -> LoraConfig:
    if config.target_modules is None:
        config.target_modules = find_all_linear_names(module)
    return config


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
