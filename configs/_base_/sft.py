# Supervised finetuning of a language model alone. The values follow XTuner 0.2.0's InternLM2 configs
# (xtuner/configs/internlm): three epochs, samples packed to 2,048 tokens, 16 × 2,048 tokens a step.
_base_ = ["./common.py"]

stage = "sft"
model = dict(
    type="llava_tuning.training.sft.LeanSupervisedFinetune",
    llm=dict(type="llava_tuning.training.language_model.load_llm", path=None),
)
train_dataloader = dict(dataset=dict(vision_tower=None, image_folder=None))

freeze_llm = True  # with llm_lora only the adapter trains
lr = 2e-4
max_epochs = 3
batch_size = 16  # records a step where batch_tokens is None
batch_tokens = 8192  # a GPU; samples are packed whole, and see none of their neighbours
accumulative_counts = 4
evaluation_inputs = ["Who are you?", "你是谁？", "请给我介绍五个上海的景点"]

# Scores at each checkpoint; `llava-tuning select` does it afterwards, on all that is held out.
selection_sample = None  # questions of each kind: identity, contrast, general; None: off
leakage_limit = None  # end the run when the name leaks into a larger share of answers, e.g. 0.1; None: never
held_out = None  # the folder that `data identity` wrote; None: that of data_path
general = None  # held-out general conversations; None: the project's own
