"""Swap, recompute or wait: which is best, by length of prompts, load, PCIe speed and shape of the model (simulated).

python benchmarks/llmserving_map.py measure     goes on where it was; a few minutes on a core
python benchmarks/llmserving_map.py             write the table and the picture

One A10 (24 GB) by the roofline, 60 GiB of CPU memory, first come first served. Recompute and swap admit whoever fits
now and preempt the latest when memory is short; swapping copies what lies side by side in groups of 64 blocks, while
batches are computed, 8 µs a copy. Wait admits only what memory holds to the end of all, whose lengths it is told. 300
requests, prompts and outputs log-normal (standard deviation of the logarithm 0.5), outputs of mean 512. The load is in
requests that the engine can finish: those that it finishes a second by recomputing if all are there at the beginning.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import product

import numpy as np
import record
import rows

from orl.problems.llmserving.instance import Generator, Serving, ServingSettings
from orl.problems.llmserving.server import server
from orl.registry import find_problem
from orl.scenario import Purpose

RAW = record.RESULTS / "llmserving_map"
MODELS = {"llama-2-7b": "512 KiB a token", "llama-3.1-8b": "128 KiB", "qwen2.5-7b": "56 KiB"}
SPEEDS = {"PCIe 3.0": 12.5, "PCIe 4.0": 25.0, "PCIe 5.0": 50.0}
PROMPTS = 128, 512, 1024, 2048, 4096
LOADS = 0.7, 0.9, 1.1, 1.5
COUNT, SCENARIOS = 300, 5
ENGINE = {"gpu": "a10", "swap_space": 60.0, "copy_us": 8.0, "overlap": True, "block_group": 64,
          "enable_prefix_caching": False}  # fmt: skip
WAYS = {
    "recompute": ("fcfs", {"preemption": "recompute"}),
    "swap": ("fcfs-swap", {}),
    "wait": ("fcfs", {"reserve_output": True}),
}
NOTHING_BETWEEN = 1.0  # %: what a way must be better than the next to win


def instance(model: str, gbs: float, prompt: int, rate: float, **options: object) -> Serving:
    law = Generator("poisson", rate=rate, count=COUNT, prompt_mean=prompt, output_mean=512, spread=0.5, longest=8192)
    settings = ServingSettings(model=model, pcie_gbs=gbs, **{**ENGINE, **options})
    made = server(settings, {})
    room = (made["num_blocks"] * settings.block_size) // 2
    law = Generator(**{**vars(law), "longest": min(law.longest, room)})
    return Serving("map", law, settings=settings, **made)


def costs(one: Serving, rule: str) -> np.ndarray:
    """Return the mean time in the system in each scenario."""
    family = find_problem("llmserving")
    scenarios = list(family.sample(one, 0, Purpose.EVALUATE, SCENARIOS))
    process = family.process([one] * SCENARIOS, scenarios)
    return process.run(family.rules()[rule], np.zeros(SCENARIOS, dtype=np.uint64)) / COUNT


def measured(model: str, gbs: float, prompt: int, load: float) -> rows.Row:
    at_once = instance(model, gbs, prompt, 2.0**20)
    family = find_problem("llmserving")
    (scenario,) = family.sample(at_once, 0, Purpose.SELECT, 1)
    process = family.process([at_once], [scenario])
    process.run(family.rules()["fcfs"], np.zeros(1, dtype=np.uint64))
    capacity = COUNT / float(process.solution(0).end[-1])
    found = {
        way: costs(instance(model, gbs, prompt, load * capacity, **options), rule).tolist()
        for way, (rule, options) in WAYS.items()
    }
    return {"capacity": capacity, "costs": found}


def cells() -> list[rows.Cell]:
    keys = [
        {"model": model, "gbs": gbs, "prompt": prompt, "load": load}
        for model, gbs, prompt, load in product(MODELS, SPEEDS.values(), PROMPTS, LOADS)
    ]
    return [({"part": "map", **key}, partial(measured, **key)) for key in keys]


def ranked(row: rows.Row) -> tuple[str, float, dict[str, float]]:
    """Return the best way, by how much the next one is worse in %, and the mean times."""
    means = {way: float(np.mean(found)) for way, found in row["costs"].items()}
    best, second = sorted(means, key=means.__getitem__)[:2]
    return best, 100 * (means[second] / means[best] - 1), means


def picture(found: list[rows.Row]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    colours = {"recompute": "#4c78a8", "swap": "#f58518", "wait": "#54a24b", "none": "#e0e0e0"}
    figure, axes = pyplot.subplots(len(MODELS), len(SPEEDS), figsize=(11, 8), sharex=True, sharey=True)
    for (i, model), (j, speed) in product(enumerate(MODELS), enumerate(SPEEDS)):
        axis = axes[i][j]
        for row in found:
            if (row["model"], row["gbs"]) == (model, SPEEDS[speed]):
                x, y = PROMPTS.index(row["prompt"]), LOADS.index(row["load"])
                best, ahead, _ = ranked(row)
                colour = colours[best if ahead >= NOTHING_BETWEEN else "none"]
                axis.add_patch(pyplot.Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
                axis.text(x, y, f"{ahead:.0f}", ha="center", va="center", fontsize=9)
        axis.set_xlim(-0.5, len(PROMPTS) - 0.5), axis.set_ylim(-0.5, len(LOADS) - 0.5)
        axis.set_xticks(range(len(PROMPTS)), [str(prompt) for prompt in PROMPTS])
        axis.set_yticks(range(len(LOADS)), [f"{load:g}" for load in LOADS])
        axis.set_title(f"{model} ({MODELS[model]}), {speed}", fontsize=9)
    figure.supxlabel("mean tokens of a prompt"), figure.supylabel("load")
    names = {"recompute": "recompute", "swap": "swap", "wait": "wait", "none": f"less than {NOTHING_BETWEEN:g} % apart"}
    figure.legend(handles=[Patch(color=colours[key], label=text) for key, text in names.items()], loc="upper center",
                  ncols=4, frameon=False)  # fmt: skip
    figure.tight_layout(rect=(0.01, 0.01, 1, 0.96))
    figure.savefig(record.RESULTS / "llmserving_map.png", dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    if parser.parse_args().action == "measure":
        record.one_core()
        rows.measure(RAW, "map", cells())
        return
    found = rows.read(RAW)
    picture(found)
    lines = []
    for row in found:
        best, ahead, means = ranked(row)
        lines.append([row["model"], f"{row['gbs']:g}", row["prompt"], f"{row['load']:g}", f"{row['capacity']:.2f}",
                      *(f"{means[way]:.2f}" for way in WAYS), best, f"{ahead:.1f}"])  # fmt: skip
    text = (
        f"Simulated. {rows.commits(found)}\n\nMean time in the system, s, over {SCENARIOS} scenarios of {COUNT} "
        "requests; GB/s; load in requests of the capacity (requests a second); the best way, and by how many % the "
        "next is worse. In the picture the colour is the best way, the number the %."
    )
    headers = ["model", "GB/s", "prompt", "load", "capacity", *WAYS, "best", "ahead %"]
    record.write("llmserving_map", "Swap, recompute or wait (simulated)", [(text, headers, lines)], digits=5)


if __name__ == "__main__":
    main()
