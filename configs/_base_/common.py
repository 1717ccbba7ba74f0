# Base of every config: where the settings' values go is written in llava_tuning/training/config.py.

train_dataloader = dict(
    batch_size=None,
    num_workers=None,
    dataset=dict(type="llava_tuning.training.dataset.RecordsDataset"),
    sampler=dict(type="mmengine.dataset.DefaultSampler", shuffle=True),
    collate_fn=dict(type="llava_tuning.training.dataset.collate"),
)
train_cfg = dict(type="llava_tuning.training.loop.TokenMeanLoop")
optim_wrapper = dict(
    type="llava_tuning.training.optim.UnhurriedOptimWrapper",
    optimizer=dict(type="torch.optim.AdamW"),
    clip_grad=dict(error_if_nonfinite=False),
)
param_scheduler = []

custom_hooks = [
    dict(type="llava_tuning.training.hooks.SampleAnswersHook"),
    dict(type="llava_tuning.training.hooks.PlainCheckpointHook"),
    dict(type="llava_tuning.training.hooks.RandomStateHook"),
    dict(type="llava_tuning.training.hooks.PositionHook"),
    dict(type="llava_tuning.training.hooks.ProgressHook"),
    dict(type="llava_tuning.training.hooks.LossCurveHook"),
    dict(type="llava_tuning.training.hooks.WaitHook"),
]
default_hooks = dict(
    timer=dict(type="mmengine.hooks.IterTimerHook"),
    logger=dict(type="mmengine.hooks.LoggerHook", log_metric_by_epoch=False),
    param_scheduler=dict(type="mmengine.hooks.ParamSchedulerHook"),
    checkpoint=dict(type="mmengine.hooks.CheckpointHook", by_epoch=False),
    sampler_seed=dict(type="mmengine.hooks.DistSamplerSeedHook"),
)
visualizer = dict(
    type="mmengine.visualization.Visualizer",
    vis_backends=[
        dict(type="mmengine.visualization.LocalVisBackend"),
        dict(type="mmengine.visualization.TensorboardVisBackend"),
    ],
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_level = "INFO"
load_from = None
resume = False
randomness = dict(deterministic=False)
log_processor = dict(by_epoch=False)

# Settings that all stages share; the files above this one set the rest.
max_length = 2048  # tokens of a sample, picture positions included
dataloader_num_workers = 4
accumulative_counts = 1
betas = (0.9, 0.999)
weight_decay = 0.0
max_norm = 1.0  # gradient clipping
warmup_ratio = 0.03  # of the run's steps
max_epochs = 1
max_steps = None  # overrides max_epochs
save_steps = 500
save_total_limit = 2
evaluation_freq = 500
log_interval = 10
seed = 42
gradient_checkpointing = "auto"  # only the layers that memory has no room for; True: all, False: none
memory_limit = None  # GiB of GPU memory that "auto" may use; None: nearly all that is free
compile_layers = True  # on a CPU or an NVIDIA GPU, in runs that are long enough for it to pay
# Products with frozen weights in 8 bits, on Hopper GPUs and later: "backward" for gradients alone, True for both
# directions; "auto" is "backward" where layers are compiled on such a GPU.
frozen_fp8 = "auto"
batch_tokens = None  # fill each step's row with samples up to this many tokens, instead of batch_size samples
load_in_4bit = False

# Scores at each checkpoint of a run that trains the language model; `llava-tuning select` does it afterwards, on
# all that is held out.
selection_sample = None  # questions of each kind: identity, contrast, general; None: off
leakage_limit = None  # end the run when the name leaks into a larger share of answers, e.g. 0.1; None: never
held_out = None  # the folder that `data identity` wrote; None: that of data_path
general = None  # held-out general conversations; None: the project's own
