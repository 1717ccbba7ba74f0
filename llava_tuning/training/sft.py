"""The language model alone that XTuner's runner trains: its `SupervisedFinetune` with this project's step."""

from __future__ import annotations

from typing import Any

from xtuner.model import SupervisedFinetune

from llava_tuning.training.language_model import LanguageModelStep
from llava_tuning.training.lora import leave_inputs_alone, with_adapter


class LeanSupervisedFinetune(LanguageModelStep, SupervisedFinetune):
    """XTuner's finetuning of a language model with the same checkpoints (`llm.…`) and a leaner step.

    Args (others as in `LanguageModelStep.prepare_step`):
        llm: config of the language model.
        llm_lora: the adapter that trains; None trains the whole language model.
        freeze_llm: True where only the adapter trains.
    """

    def __init__(self, llm: Any, llm_lora: Any = None, freeze_llm: bool = False, **step: Any) -> None:
        super().__init__(llm, lora=llm_lora, use_activation_checkpointing=False)
        self.use_llm_lora = llm_lora is not None
        if freeze_llm and not self.use_llm_lora:
            self.llm.requires_grad_(False)
        self.prepare_step(**step)

    def _dispatch_lm_model_cfg(self, cfg: Any, max_position_embeddings: int | None = None) -> Any:
        # XTuner would fetch the configuration with remote code allowed; `load_llm` needs nothing from it.
        return cfg

    def _prepare_for_lora(self, peft_model: Any = None, use_activation_checkpointing: bool = True) -> None:
        self.llm = with_adapter(self.llm, self.lora)
        leave_inputs_alone(self.llm)
