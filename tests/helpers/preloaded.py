"""What a forked program finds imported; see `forked`. The project's own modules it imports itself."""

import logging

logging.disable()  # bitsandbytes says what another kernel could do
from llava_tuning.training import compat  # noqa: E402

compat.apply()
import datasets  # noqa: E402, F401
import gradio  # noqa: E402, F401
import peft  # noqa: E402, F401
import xtuner.tools.train  # noqa: E402, F401
from transformers import (  # noqa: E402, F401
    AutoTokenizer,
    CLIPVisionModel,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
)

logging.disable(logging.NOTSET)
