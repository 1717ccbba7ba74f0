# Stage 2: conversations train the projector with the language model; samples of like length share a batch.
_base_ = ["./llava.py"]

stage = "finetune"
freeze_llm = True  # with llm_lora only the adapter trains
lr = 2e-4
train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type="llava_tuning.training.sampler.ShuffledLengthGroupedSampler",
        length_property="modality_length",
    )
)
