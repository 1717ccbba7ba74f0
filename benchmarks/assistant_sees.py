"""Does an assistant that learns its name among pictures see as well as one that learns pictures alone?

    python -m benchmarks.assistant_sees            # meant for a GPU

From one stage 1 on easy-VQA, stage 2 is trained twice by the same config: on picture conversations alone, and
on these mixed with identity and general conversations. Both are measured on easy-VQA's official test, beside
its controls, and by `select` on what they say of themselves, by the commands that a user types; the result
file holds them. Writes benchmarks/results/assistant_sees_HARDWARE.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.assistant import GENERAL, NAME, OWNER, RESULTS, command, hardware
from benchmarks.train.report import environment

PRETRAIN = "llava_smollm2_135m_clip_small_p14_112_e1_pretrain"
FINETUNE = "llava_smollm2_135m_lora_clip_small_p14_112_e1_finetune"


def settings(**values: object) -> list[str]:
    """`--set` options."""
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


def measure(
    name: str, data: Path, work: Path, common: list[str], limit: list[str], gpu: str | None
) -> dict[str, Any]:
    """Train stage 2 on a data file, export, evaluate and select; returns what each found."""
    run, model = work / name, work / "models" / name
    started = time.perf_counter()
    commands = [
        command(
            *("train", FINETUNE, "--work-dir", run, *common),
            *settings(data_path=data, held_out=work / "momo"),
            gpu=gpu,
        )
    ]
    trained = time.perf_counter() - started
    report = work / f"{name}.json"
    commands += [
        command("export", run, "--out", model, gpu=gpu),
        command("eval", "easy-vqa", model, "--out", report, "--batch-size", 256, *limit, gpu=gpu),
        command("select", run, gpu=gpu),
    ]
    scores = json.loads(report.read_text(encoding="utf-8"))["scores"]
    selection = json.loads((run / "selection.json").read_text(encoding="utf-8"))
    return {"commands": commands, "train_s": round(trained, 1), "easy_vqa": scores, "selection": selection}


def main() -> None:
    """Measure both, writing as it goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("work_dirs/assistant_sees"), help="data and runs")
    parser.add_argument("--max-steps", type=int, help="train so few steps, for a try")
    parser.add_argument("--limit", type=int, help="ask so many test questions, for a try")
    parser.add_argument("--gpus", nargs="+", help="numbers of GPUs; with two, the runs go beside each other")
    parser.add_argument("--out", type=Path, default=RESULTS / f"assistant_sees_{hardware()}.json")
    arguments = parser.parse_args()
    work: Path = arguments.work
    few = {} if arguments.max_steps is None else {"max_steps": arguments.max_steps}
    limit = [] if arguments.limit is None else ["--limit", str(arguments.limit)]
    pictures, momo, mixed = work / "easy_vqa", work / "momo", work / "easy_vqa" / "mixed.json"
    result: dict[str, Any] = environment("benchmarks.assistant_sees", sys.argv)
    places = settings(image_folder=pictures, dataloader_num_workers=2, batch_size=32)
    stage1 = settings(data_path=pictures / "pretrain.json", max_steps=arguments.max_steps or 300)
    result["before"] = [
        command("data", "easy-vqa", "--out", pictures),
        command("data", "identity", "--name", NAME, "--owner", OWNER, "--out", momo),
        command("data", "mix", pictures / "finetune.json", momo / "train.json", GENERAL, "--out", mixed),
        command("train", PRETRAIN, "--work-dir", work / "stage1", *places, *stage1),
    ]
    checkpoint = max((work / "stage1").glob("iter_*.pth"), key=lambda path: path.stat().st_mtime)
    common = settings(image_folder=pictures, dataloader_num_workers=2, batch_size=16, **few)
    common += settings(projector_checkpoint=checkpoint)
    result["runs"] = {}
    gpus = arguments.gpus or [None]
    with ThreadPoolExecutor(len(gpus)) as pool:
        stages = (("pictures", pictures / "finetune.json"), ("mixed", mixed))
        waiting = {
            pool.submit(measure, name, data, work, common, limit, gpus[i % len(gpus)]): name
            for i, (name, data) in enumerate(stages)
        }
        for done in as_completed(waiting):
            result["runs"][waiting[done]] = done.result()
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(
                json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
    for name, found in result["runs"].items():
        print(
            name,
            json.dumps(found["easy_vqa"], indent=1),
            json.dumps(found["selection"]["scores"][-1], indent=1),
        )
    print(arguments.out)


if __name__ == "__main__":
    main()
