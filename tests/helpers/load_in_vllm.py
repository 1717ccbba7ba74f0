"""Run by vLLM's Python: its class for each directory, and what its loader fills of it; a JSON line each.

On a CPU, in float32. vLLM itself overlooks a missing part of weights that it joins (`up_proj` beside
`gate_proj`), so parameters are NaN before it loads.
"""

from __future__ import annotations

import json
import sys
import tempfile

import torch
from vllm.config import set_current_vllm_config
from vllm.distributed import ensure_model_parallel_initialized, init_distributed_environment
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.model_loader import get_model_loader
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.utils.torch_utils import set_default_torch_dtype


def main() -> None:
    for number, directory in enumerate(sys.argv[1:]):
        arguments = EngineArgs(model=directory, dtype="float32", enforce_eager=True, max_model_len=256)
        config = arguments.create_engine_config()
        with set_current_vllm_config(config), set_default_torch_dtype(torch.float32):
            if number == 0:
                meeting = f"file://{tempfile.mkdtemp()}/meeting"
                init_distributed_environment(1, 0, meeting, local_rank=0, backend="gloo")
                ensure_model_parallel_initialized(1, 1)
            model = initialize_model(vllm_config=config)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.fill_(float("nan"))
            found = {"class": f"{type(model).__module__}.{type(model).__name__}"}
            try:
                get_model_loader(config.load_config).load_weights(model, config.model_config)
            except ValueError as error:
                print(json.dumps(found | {"error": str(error)}), flush=True)
                continue
        named = list(model.named_parameters())
        found |= {
            "numbers": sum(parameter.numel() for _, parameter in named),
            "left_empty": [name for name, parameter in named if parameter.isnan().any()],
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
