"""A language model, and the lean step that trains it, alone or as the larger part of LLaVA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.model import BaseDataPreprocessor, BaseModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import BitsAndBytesConfig, LlamaForCausalLM
from transformers.integrations import is_deepspeed_zero3_enabled

from llava_tuning.errors import UserError
from llava_tuning.training.attention import PACKED, Layout
from llava_tuning.training.autocast import as_autocast
from llava_tuning.training.dropout import draw_seeds, hash_dropouts
from llava_tuning.training.float8 import Float8, convert_frozen
from llava_tuning.training.four_bit import convert_four_bit
from llava_tuning.training.layers import Step, compiled, decoder_layer, last_decoder_layer
from llava_tuning.training.lora import add_in_place
from llava_tuning.training.loss import linear_cross_entropy, linear_divergence
from llava_tuning.training.recompute import Mode, Recompute
from llava_tuning.training.swiglu import convert_swiglu


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
    check_complete(path, loaded[1])
    return model


def check_complete(path: str, info: dict[str, Any]) -> None:
    """transformers fills what is missing with random numbers and trains on."""
    wrong = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if wrong:
        raise UserError(f"{path}: lacks the weights {', '.join(wrong[:4])}; prepare or download it again")


class LanguageModelStep(BaseModel):
    """The step of every model that is trained here; comes before the class of XTuner that builds the model.

    Samples are packed into one row without padding; the language model's last MLP, its head and the loss run
    only where there is a label, and logits are never all in memory; layers are compiled; activations are
    computed again only where memory demands.
    """

    llm: Any
    use_llm_lora: bool

    def prepare_step(
        self,
        use_activation_checkpointing: Mode = "auto",
        memory_limit: float | None = None,
        compile_layers: bool = True,
        frozen_fp8: Float8 = False,
        compute_dtype: str | None = None,
    ) -> None:
        """Make the built model ready; called once all that trains is known.

        Args:
            use_activation_checkpointing: True for every layer, False for none, "auto" for as few as
                memory allows.
            memory_limit: GiB of GPU memory that "auto" may use; None for nearly all that is free.
            compile_layers: compile them, on a CPU or an NVIDIA GPU, where a compiler is found.
            frozen_fp8: products with frozen weights in 8-bit floating point (needs a Hopper GPU or later).
            compute_dtype: what products are computed in, e.g. "bfloat16", where the language model's weights
                are float32; None for the weights' own dtype.
        """
        self.data_preprocessor = BaseDataPreprocessor(non_blocking=True)
        limit = None if memory_limit is None else int(memory_limit * 2**30)
        self._text_memory = Recompute(use_activation_checkpointing, limit)
        self._compile = compile_layers
        self._compute_dtype = None if compute_dtype is None else getattr(torch, compute_dtype)
        self._trained = [weight for weight in self.parameters() if weight.requires_grad]
        adapted = [part for part in self.modules() if isinstance(part, LoraLayer)]
        # The hash counts on integers that wrap round, which C++, a CPU's compiled code, leaves undefined.
        self._dropouts = hash_dropouts(adapted) if get_device() != "cpu" else []
        add_in_place(adapted)
        self._adapted = bool(adapted)
        kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        self._text_adapters: list[Any] = [part for part in self.llm.modules() if isinstance(part, kinds)]
        layers = self.language_model().model.layers
        if getattr(self.language_model(), "is_quantized", False):
            convert_four_bit(layers)
        if frozen_fp8 in (True, "backward"):
            layers.to(get_device())  # a thread of a CPU takes 12 s to convert a billion weights
        if frozen_fp8 == "backward":
            convert_swiglu(layers)
        if frozen_fp8 in (True, "backward"):
            convert_frozen(layers, backward_only=frozen_fp8 == "backward")
        if is_deepspeed_zero3_enabled():
            place_buffers(self, torch.device(get_device()))
        self.register_load_state_dict_post_hook(_miss_only_what_trains)

    def language_model(self) -> LlamaForCausalLM:
        """The Llama inside a LoRA wrapper, or itself."""
        llm: LlamaForCausalLM = self.llm.get_base_model() if self.use_llm_lora else self.llm
        return llm

    def autocast(self) -> AbstractContextManager[Any]:
        """Arithmetic in half precision, adapters included, as a GPU's AMP does it."""
        weights: Any = self.language_model().get_input_embeddings().weight
        dtype = weights.dtype if weights.dtype != torch.float32 else self._compute_dtype
        return nullcontext() if dtype is None else torch.autocast(weights.device.type, dtype=dtype)

    def embed(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None,
        picture_positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(1, tokens) ids to (1, tokens, hidden); pictures are LLaVA's."""
        if pixel_values is not None:
            raise ValueError("a language model alone takes no pictures")
        embeds: torch.Tensor = self.language_model().get_input_embeddings()(input_ids)
        return embeds

    def forward(self, data: dict[str, Any], data_samples: Any = None, mode: str = "loss") -> Any:
        """Mode `loss`: {"loss": mean cross-entropy over supervised positions}; `tensor`: all logits.

        `data` is a packed row as `collate` makes it; the mean is multiplied by its `loss_weight`, if any.
        Logits are (1, tokens, vocabulary). Where the language model has an adapter, the divergence from what
        it says without it takes the place of cross-entropy in samples that are marked `like_base`, except
        under ZeRO-3.
        """
        if mode not in ("loss", "tensor"):
            raise ValueError(f"mode {mode!r}: choose 'loss' or 'tensor'")
        if self._compile and self.training:
            draw_seeds(self._dropouts)
        with self.autocast():
            embeds = self.embed(data["input_ids"], data.get("pixel_values"), data.get("picture_positions"))
            at = data["supervised"] if mode == "loss" else None
            hidden = as_autocast(self._hidden(embeds, data, at))  # float32 norms give float32
            if mode == "tensor":
                return self.language_model().lm_head(hidden)[None]
            # Not under ZeRO-3: a process without such samples would not be there to gather weights with.
            if "base_row" in data and self._text_adapters and not is_deepspeed_zero3_enabled():
                likely, certain = data["like_base_at"], data["by_token_at"]
                loss = self._divergence(hidden[likely], data["base_row"]) * (len(likely) / len(hidden))
                if len(certain):
                    by_token = self._cross_entropy(hidden[certain], data["targets"][certain])
                    loss = loss + by_token * (len(certain) / len(hidden))
            else:
                loss = self._cross_entropy(hidden, data["targets"])
            return {"loss": loss * data["loss_weight"] if "loss_weight" in data else loss}

    def _plain_head(self) -> bool:
        """False for an adapter on the head, or one whose weights ZeRO-3 gathers when it is called."""
        return type(self.language_model().lm_head) is nn.Linear and not is_deepspeed_zero3_enabled()

    def _cross_entropy(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean over positions; `hidden` is (positions, hidden)."""
        head = self.language_model().lm_head
        if self._plain_head():
            return linear_cross_entropy(hidden, head.weight, targets)
        return functional.cross_entropy(head(hidden).float(), targets)

    def _divergence(self, hidden: torch.Tensor, row: dict[str, Any]) -> torch.Tensor:
        """Mean over positions of the divergence from the language model without adapter.

        Args:
            hidden: (positions, hidden), at the supervised positions of `row`.
            row: the packed row that is asked about, which has no pictures.
        """
        llm = self.language_model()
        with torch.no_grad(), self._without_adapter():
            base = as_autocast(llm.get_input_embeddings()(row["input_ids"]))
            rotary, layout = self._places(base, row)
            for layer in llm.model.layers[:-1]:
                base = decoder_layer(layer, base, rotary, layout)
            base = last_decoder_layer(llm.model.layers[-1], base, rotary, layout, row["supervised"])
            base = as_autocast(llm.model.norm(base))
            if not self._plain_head():
                base = llm.lm_head(base).float().log_softmax(dim=-1)
        if self._plain_head():
            return linear_divergence(hidden, llm.lm_head.weight, base)
        own = llm.lm_head(hidden).float().log_softmax(dim=-1)
        return functional.kl_div(own, base, reduction="batchmean", log_target=True)

    @contextmanager
    def _without_adapter(self) -> Iterator[None]:
        # Not peft's `disable_adapter`, which also turns what trains off and on, weight by weight.
        for part in self._text_adapters:
            part._disable_adapters = True
        try:
            yield
        finally:
            for part in self._text_adapters:
                part._disable_adapters = False

    def _hidden(self, embeds: torch.Tensor, data: dict[str, Any], at: torch.Tensor | None) -> torch.Tensor:
        """Last hidden states of the language model, (positions, hidden), at the positions `at` or at all."""
        llama = self.language_model().model
        embeds = as_autocast(embeds)
        run = self._step(decoder_layer)
        row = self._places(embeds, data)

        def step(layer: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
            return run(layer, hidden, *row)

        hidden = self._text_memory.run(llama.layers[:-1], step, embeds, reserved=self._reserved())
        if at is None:
            at = torch.arange(embeds.shape[1], device=embeds.device)
        last = self._step(last_decoder_layer)
        if self._text_memory.mode is True:
            hidden = checkpoint(last, llama.layers[-1], hidden, *row, at, use_reentrant=False)
        else:
            hidden = last(llama.layers[-1], hidden, *row, at)
        return llama.norm(hidden)

    def _places(self, embeds: torch.Tensor, data: dict[str, Any]) -> tuple[Any, Layout]:
        """What a decoder layer has to know of a packed row besides its hidden states."""
        rotary = self.language_model().model.rotary_emb(embeds, data["position_ids"])
        padded = data.get("padded_grid"), data.get("padded_slots")
        return rotary, Layout(data["cu_seqlens"], data["max_seqlen"], *padded)

    def _step(self, step: Step) -> Step:
        """A layer's computation, compiled where that pays."""
        return compiled(step, self._adapted) if self._compile and self.training else step

    def _reserved(self) -> int:
        """Bytes that the rest of the step needs, or that are in use, and are not allocated."""
        return self._gradients_to_come()

    def _gradients_to_come(self) -> int:
        """Bytes of the gradients that this step's backward pass will add; AdamW's state comes after it."""
        return 4 * sum(w.numel() for w in self._trained if w.grad is None)


def place_buffers(model: nn.Module, device: torch.device) -> None:
    """Move what a model holds besides its weights: ZeRO-3 brings these to the GPU, and leaves the rest."""
    for module in model.modules():
        for name, value in module._buffers.items():
            if value is not None and value.device != device:
                module._buffers[name] = value.to(device)


def _miss_only_what_trains(model: nn.Module, keys: Any) -> None:
    """Checkpoints hold no frozen weights: a resumed run is not told of thousands that it lacks."""
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    keys.missing_keys[:] = [key for key in keys.missing_keys if key in trained]
