"""What a run shows and leaves behind. Configs name each hook by this package."""

from llava_tuning.training.hooks.answers import SampleAnswersHook
from llava_tuning.training.hooks.loss_curve import LossCurveHook, WaitHook
from llava_tuning.training.hooks.progress import ProgressHook
from llava_tuning.training.hooks.resuming import PlainCheckpointHook, PositionHook, RandomStateHook

__all__ = [
    "LossCurveHook",
    "PlainCheckpointHook",
    "PositionHook",
    "ProgressHook",
    "RandomStateHook",
    "SampleAnswersHook",
    "WaitHook",
]
