"""The training process: XTuner's own `train` with the compatibility patches applied first.

`launch.py` starts it, once or under torchrun, with a config that is already fitted to the machine.
"""

from __future__ import annotations

import sys

OUT_OF_MEMORY = (
    "the GPU's memory ran out. Lower batch_size or batch_tokens by --set and raise accumulative_counts as "
    "much, or set memory_limit below what is free; then go on with --resume"
)


def main() -> None:
    """Run `xtuner.tools.train` on this process's arguments; a UserError is one sentence and exit status 2.

    So is a lack of GPU memory, with exit status 1.
    """
    from llava_tuning.errors import UserError
    from llava_tuning.training import compat, quiet

    compat.apply()
    from llava_tuning.training import whole_files

    whole_files.register()
    quiet.apply()
    quiet.keep_preamble_in_log_file()
    import torch
    from xtuner.tools.train import main as train

    try:
        train()
        leave_together()
    except UserError as error:
        print(f"llava-tuning: {error}", file=sys.stderr)
        sys.exit(2)
    except torch.OutOfMemoryError as error:
        print(f"llava-tuning: {OUT_OF_MEMORY} ({str(error).splitlines()[0]})", file=sys.stderr)
        sys.exit(1)


def leave_together() -> None:
    """Wait for all processes of a run that ended well: torchrun ends the others as soon as one has failed.

    One that leaves while the first still writes the last checkpoint, and fails as it does, would cost it.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
