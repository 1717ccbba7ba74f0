"""The training process: XTuner's own `train` with the compatibility patches applied first.

`launch.py` starts it, once or under torchrun, with a config that is already fitted to the machine.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run `xtuner.tools.train` on this process's arguments; a UserError is one sentence and exit status 2."""
    from llava_tuning.errors import UserError
    from llava_tuning.training import compat, quiet

    compat.apply()
    quiet.apply()
    quiet.keep_preamble_in_log_file()
    from xtuner.tools.train import main as train

    try:
        train()
        leave_together()
    except UserError as error:
        print(f"llava-tuning: {error}", file=sys.stderr)
        sys.exit(2)


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
