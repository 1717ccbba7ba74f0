"""What a run shows and leaves behind. Configs name each hook by this package."""

from llava_tuning.training.hooks.answers import SampleAnswersHook
from llava_tuning.training.hooks.loss_curve import LossCurveHook, WaitHook
from llava_tuning.training.hooks.progress import ProgressHook
from llava_tuning.training.hooks.resuming import PlainCheckpointHook, PositionHook, RandomStateHook
from llava_tuning.training.hooks.runtime_info import LateRuntimeInfoHook

__all__ = [
    "LateRuntimeInfoHook",
    "LossCurveHook",
    "PlainCheckpointHook",
    "PositionHook",
    "ProgressHook",
    "RandomStateHook",
    "SampleAnswersHook",
    "WaitHook",
]
