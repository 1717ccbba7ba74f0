"""The LLaVA that XTuner's runner trains: its `LLaVAModel` with a step that does no work for nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from transformers import CLIPVisionModel
from transformers.integrations import is_deepspeed_zero3_enabled
from xtuner.model import LLaVAModel
from xtuner.utils import IMAGE_TOKEN_INDEX

from llava_tuning.errors import UserError
from llava_tuning.models.llava import load_image_processor
from llava_tuning.training.checkpoint import read_weights
from llava_tuning.training.float8 import Float8, convert_frozen
from llava_tuning.training.graphs import GraphedStack
from llava_tuning.training.language_model import LanguageModelStep, check_complete
from llava_tuning.training.language_model import load_llm as load_llm  # copies of older configs name it here
from llava_tuning.training.layers import vision_layer
from llava_tuning.training.lora import leave_inputs_alone, with_adapter
from llava_tuning.training.recompute import Mode, Recompute


def load_vision_tower(path: str, dtype: str = "float32") -> CLIPVisionModel:
    """The vision tower of a CLIP directory, which may hold CLIP's text side as well.

    Raises:
        UserError: weights are missing from the directory.
    """
    loaded: Any = CLIPVisionModel.from_pretrained(
        path, dtype=getattr(torch, dtype), attn_implementation="sdpa", output_loading_info=True
    )
    model: CLIPVisionModel = loaded[0]
    check_complete(path, loaded[1])
    processor = load_image_processor(path)
    accept_bytes(model, processor.image_mean, processor.image_std)
    return model


def accept_bytes(tower: CLIPVisionModel, mean: Sequence[float], std: Sequence[float]) -> None:
    """Let `LeanLLaVAModel` normalise uint8 pictures for this tower, with `mean` and `std` of each colour."""
    inner: Any = getattr(tower, "vision_model", tower)
    # As whole numbers: DeepSpeed casts a model to half precision, which would round them.
    for name, values in (("picture_mean", mean), ("picture_std", std)):
        inner.register_buffer(name, torch.tensor(values).view(3, 1, 1).view(torch.int32), persistent=False)


class LeanLLaVAModel(LanguageModelStep, LLaVAModel):
    """XTuner's LLaVA with the same parameters, checkpoints and configuration, and a leaner forward pass.

    Besides what `LanguageModelStep` does: no gradient through a frozen vision tower, and its unused last
    layers are not computed; each picture's positions are laid out by the dataset (its true length counts in
    truncation); a language model that is not quantised keeps its dtype under LoRA; stage 1's projector is
    loaded strictly.

    Args (others as in XTuner and in `LanguageModelStep.prepare_step`):
        vision_cuda_graph: replay the layers of a vision tower that trains as a CUDA graph, on a GPU where
            layers are compiled and steps have as many pictures each.
        projector_checkpoint: a stage 1 checkpoint (`iter_N.pth`) whose projector training starts from.
    """

    visual_encoder: Any

    def __init__(
        self,
        *args: Any,
        projector_checkpoint: str | None = None,
        use_activation_checkpointing: Mode = "auto",
        memory_limit: float | None = None,
        compile_layers: bool = True,
        frozen_fp8: Float8 = False,
        compute_dtype: str | None = None,
        vision_cuda_graph: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, use_activation_checkpointing=False, **kwargs)
        trained = {weight.dtype for weight in self.llm.parameters() if weight.requires_grad}
        # The master copy: trained in float32 whatever the others compute in. ZeRO-3 keeps master copies of
        # its own, and wants all that is trained in one dtype.
        self.projector.to(trained.pop() if is_deepspeed_zero3_enabled() and trained else torch.float32)
        self.prepare_step(
            use_activation_checkpointing, memory_limit, compile_layers, frozen_fp8, compute_dtype
        )
        self._picture_memory = Recompute(use_activation_checkpointing, self._text_memory.limit, share=0.3)
        self.picture_graph = GraphedStack(self._picture_memory) if vision_cuda_graph else None
        if frozen_fp8 is True or (frozen_fp8 == "backward" and self.trains_vision):
            encoder = self._tower().encoder.to(get_device())
            convert_frozen(encoder, backward_only=frozen_fp8 == "backward")
        if projector_checkpoint is not None:
            self.load_projector(projector_checkpoint)

    def _dispatch_lm_model_cfg(self, cfg: Any, max_position_embeddings: int | None = None) -> Any:
        # XTuner would fetch the configuration with remote code allowed; `load_llm` needs nothing from it.
        return cfg

    def _prepare_llm_for_lora(self, lora_config: Any, use_activation_checkpointing: bool = True) -> None:
        self.llm = with_adapter(self.llm, self._parse_lora_config(lora_config))
        leave_inputs_alone(self.llm)

    def _prepare_visual_encoder_for_lora(
        self, lora_config: Any, use_activation_checkpointing: bool = True
    ) -> None:
        self.visual_encoder = with_adapter(self.visual_encoder, self._parse_lora_config(lora_config))
        if self.visual_encoder.dtype != torch.float32:
            leave_inputs_alone(self.visual_encoder)

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
            step = self._step(vision_layer)
            graphed = self.trains_vision and hidden.is_cuda and step is not vision_layer
            stack = (self.picture_graph if graphed else None) or self._picture_memory
            hidden = stack.run(layers[:used], step, hidden, reserved=self._reserved())
        patches = hidden[:, 1:]  # the class token is dropped
        return self.projector(patches.to(self.projector.model[0].weight.dtype))

    @property
    def hidden_bytes(self) -> int:
        """Of a GPU's memory, what a CUDA graph holds and the allocator does not count as allocated."""
        return 0 if self.picture_graph is None else self.picture_graph.hidden_bytes

    def _reserved(self) -> int:
        return super()._reserved() + self.hidden_bytes

    def _idle_features(self, device: torch.device) -> torch.Tensor:
        """Of no picture: what a batch of text computes so that no process waits for it.

        The projector, for its gradient; under ZeRO-3, which gathers weights from all at once, the tower too.
        """
        if is_deepspeed_zero3_enabled():
            config = self._tower().config
            blank = torch.zeros(1, 3, config.image_size, config.image_size, dtype=torch.uint8)
            return self.picture_features(blank.to(device))
        first: Any = self.projector.model[0]
        features: torch.Tensor = self.projector(first.weight.new_zeros(1, 1, first.in_features))
        return features

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
            nothing = 0.0 * self._idle_features(embeds.device).sum(dtype=torch.float32)  # half might overflow
            return embeds + nothing.to(embeds.dtype)
        if picture_positions is None:
            picture_positions = (input_ids[0] == IMAGE_TOKEN_INDEX).nonzero()[:, 0]
        features = self.picture_features(pixel_values).to(embeds.dtype)
        if len(picture_positions) != features.shape[0] * features.shape[1]:
            raise ValueError(
                f"{len(picture_positions)} picture positions, but {tuple(features.shape[:2])} features"
            )
        return embeds.index_copy(1, picture_positions, features.flatten(0, 1)[None])

    def state_dict(self, *args: Any, **kwargs: Any) -> OrderedDict[str, torch.Tensor]:
        """What is trained, under XTuner's names."""
        return super().state_dict(*args, **kwargs)


def load_trained(model: LanguageModelStep, checkpoint: str | Path) -> None:
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
