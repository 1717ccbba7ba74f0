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
