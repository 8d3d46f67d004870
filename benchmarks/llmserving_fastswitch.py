"""FastSwitch's three mechanisms (arXiv 2411.18424), each alone and together, simulated.

python benchmarks/llmserving_fastswitch.py measure [--only shares bands light]   goes on where it was
python benchmarks/llmserving_fastswitch.py                                       write the tables

Llama 3.1 8B on an A10 (24 GB) and Qwen 2.5 32B on an A100 (80 GB), both by the roofline; 60 GiB of CPU memory; 5,500
requests of about 1,000 conversations, one conversation a second (`light`: 0.3), 5.5 turns in the mean; rule `priority`,
who is preempted is swapped. The baseline copies every block of 16 tokens layer by layer, keys and values apart, while
nothing is computed, and keeps no copies. Not known of the paper and chosen here: lengths (log-normal, mean question 100
and answer 200 tokens), a turn comes 30 s (exponential mean) after its predecessor's answer could be there, groups of 64
blocks, the next batch waits for a copy in while fewer than 8 requests are in it, prompts in chunks, no prefix cache,
four priorities. Reuse: of turns. The logs of seed 0 are verified.
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

RAW = record.RESULTS / "llmserving_fastswitch"
SERVERS = {
    "8B on A10": {"model": "llama-3.1-8b", "gpu": "a10"},
    "32B on A100": {"model": "qwen2.5-32b", "gpu": "a100-80g"},
}
ENGINE = {
    "swap_space": 60.0, "preemption": "swap", "enable_prefix_caching": False, "async_scheduling": False,
    "max_num_batched_tokens": 2048,
}  # fmt: skip
TURNS = 5.5
LENGTHS = {"count": 5500, "prompt_mean": 100, "output_mean": 200, "longest": 4096, "turns": TURNS}
RATES = 1.0, 0.3  # conversations a second
SWITCHES = {
    "groups": {"block_group": 64},
    "overlap": {"overlap": True, "overlap_from": 8},
    "reuse": {"kv_reuse": "turns"},
}
VARIANTS = {
    "baseline": {},
    **SWITCHES,
    "overlap, never waits": {"overlap": True},
    "reuse in preemptions": {"kv_reuse": "preemptions"},
    "groups, overlap": SWITCHES["groups"] | SWITCHES["overlap"],
    "all": SWITCHES["groups"] | SWITCHES["overlap"] | SWITCHES["reuse"],
}
MAIN = ("baseline", *SWITCHES, "reuse in preemptions", "all")
BANDS = {"cheap": {"copy_us": 5.0, "pcie_gbs": 30.0}, "middle": {"copy_us": 8.0, "pcie_gbs": 25.0},
         "dear": {"copy_us": 12.0, "pcie_gbs": 20.0}}  # fmt: skip
PARTS = ("shares", "bands", "light")
PATTERNS, FREQUENCIES = ("random", "markov"), (0.04, 0.02)
SEEDS, FEWER_SEEDS = 5, 3
FIGURES = ("ttft_p95", "ttft_p99", "ttft_p999", "tbt_p999", "throughput_tokens_s", "stalled_share", "swapped_bytes",
           "copies", "blocks_per_copy", "preemptions", "copied_in_tokens", "ttft_mean", "latency_mean")  # fmt: skip
SPEED_UPS = ("ttft_p95", "ttft_p99", "ttft_p999", "tbt_p999")


def instance(name: str, pattern: str, frequency: float, variant: str, band: str, rate: float) -> Serving:
    options = SERVERS[name] | ENGINE | VARIANTS[variant] | BANDS[band]
    settings = ServingSettings(**options, priorities=pattern, priority_frequency=frequency)
    requests = Generator("conversations", rate=rate * TURNS, **LENGTHS)
    return Serving(f"{name}, {variant}", requests, settings=settings, **server(settings, {}))


def measured(seed: int, server: str, pattern: str, frequency: float, variant: str, band: str, rate: float) -> rows.Row:
    family = find_problem("llmserving")
    one = instance(server, pattern, frequency, variant, band, rate)
    scenario = next(iter(family.sample(one, seed, Purpose.EVALUATE, 1)))
    process = family.process([one], [scenario])
    process.run(family.rules()["priority"], np.zeros(1, dtype=np.uint64))
    log = process.solution(0)
    if seed == 0:  # a replay takes longer than the run; the key figures take another
        report = family.verify(one, scenario, log)
        assert not report.violations, report.violations
    figures = family.metrics(one, scenario, log)
    return {figure: figures[figure] for figure in FIGURES}


def cells(part: str) -> list[rows.Cell]:
    busy, light = RATES
    which = {
        "shares": product(range(SEEDS), SERVERS, PATTERNS, FREQUENCIES, MAIN, ["middle"], [busy]),
        "bands": product(
            range(FEWER_SEEDS), SERVERS, PATTERNS, FREQUENCIES, ["baseline", "all"], ["cheap", "dear"], [busy]
        ),
        "light": product(range(FEWER_SEEDS), SERVERS, PATTERNS[1:], FREQUENCIES[:1], VARIANTS, ["middle"], [light]),
    }
    names = ("seed", "server", "pattern", "frequency", "variant", "band", "rate")
    keys = [dict(zip(names, values, strict=True)) for values in which[part]]
    return [({"part": part, **key}, partial(measured, **key)) for key in keys]


# Tables -------------------------------------------------------------------------------------------------------------


def ratios(found: list[rows.Row], figure: str, variant: str, band: str, **key: object) -> list[float]:
    """Return figures of a variant as speed-ups over the baseline of the same seed, pattern and frequency."""

    def of(name: str) -> dict[tuple, float]:
        return {
            (row["server"], row["seed"], row["pattern"], row["frequency"]): row[figure]
            for row in found
            if row["variant"] == name and row["band"] == band and key.items() <= row.items()
        }

    base, ours = of("baseline"), of(variant)
    is_rate = figure == "throughput_tokens_s"
    return [ours[at] / base[at] if is_rate else base[at] / max(ours[at], 1e-9) for at in ours if at in base]


def variants_at(rate: float) -> list[str]:
    """Return the variants that all seeds were run with."""
    return [variant for variant in VARIANTS if rate != RATES[0] or variant in MAIN]


def as_text(values: list[float]) -> str:
    """Return the geometric mean, and the least and the most."""
    mean = np.exp(np.mean(np.log(values)))
    return f"{mean:.2f} ({min(values):.2f} to {max(values):.2f})"


def speed_ups(found: list[rows.Row], name: str, rate: float) -> list[list[str]]:
    lines = []
    for variant in variants_at(rate)[1:]:
        key = {"server": name, "rate": rate}
        values = [ratios(found, figure, variant, "middle", **key) for figure in (*SPEED_UPS, "throughput_tokens_s")]
        if values[0]:
            lines.append([variant, *map(as_text, values)])
    return lines


def cases(found: list[rows.Row]) -> list[list[str]]:
    """Return the speed-ups of all three together, case by case and band by band."""
    lines = []
    for name, pattern, frequency, band in product(SERVERS, PATTERNS, FREQUENCIES, BANDS):
        key = {"server": name, "pattern": pattern, "frequency": frequency, "rate": RATES[0]}
        values = [ratios(found, figure, "all", band, **key) for figure in (*SPEED_UPS, "throughput_tokens_s")]
        if values[0]:
            lines.append([name, pattern, f"{frequency:g}", band, *map(as_text, values)])
    return lines


def causes(found: list[rows.Row], name: str, rate: float) -> list[list[str]]:
    lines = []
    for variant in variants_at(rate):
        key = {"server": name, "variant": variant, "band": "middle", "rate": rate}
        of = [row for row in found if key.items() <= row.items()]
        if of:
            mean = {figure: float(np.mean([row[figure] for row in of])) for figure in FIGURES}
            stalled = [100 * row["stalled_share"] for row in of]
            lines.append([
                variant, f"{np.mean(stalled):.1f} ({min(stalled):.1f} to {max(stalled):.1f})",
                f"{mean['swapped_bytes'] / 1e12:.2f}", f"{mean['copies'] / 1e3:.0f}", f"{mean['blocks_per_copy']:.1f}",
                f"{mean['preemptions']:.0f}", f"{mean['copied_in_tokens'] / 1e6:.2f}",
                f"{mean['ttft_p95']:.1f}", f"{mean['ttft_p999']:.1f}", f"{mean['tbt_p999']:.2f}",
                f"{mean['throughput_tokens_s']:.0f}",
            ])  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=["measure"])
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS)
    options = parser.parse_args()
    if options.action == "measure":
        record.one_core()
        for part in options.only:
            rows.measure(RAW, part, cells(part))
        return
    found = rows.read(RAW)
    heads = ["TTFT P95", "P99", "P99.9", "TBT P99.9", "throughput"]
    sections = []
    for rate, name in product(RATES, SERVERS):
        which = "two patterns of priorities, two frequencies"
        if rate != RATES[0]:
            which = f"{PATTERNS[1]} priorities, frequency {FREQUENCIES[0]}"
        seeds = {row["seed"] for row in found if (row["server"], row["rate"], row["band"]) == (name, rate, "middle")}
        case = f"{name}, {rate:g} conversations a second"
        sections += [
            (f"{case}: speed-up over the baseline, {which}, {len(seeds)} seeds: geometric mean (least to most).",
             ["switch", *heads], speed_ups(found, name, rate)),
            (f"{case}: where it comes from, means over the same runs. Share of the time in which batches wait for "
             "copies, % (least to most); TB copied; thousands of stretches copied; blocks a stretch; "
             "preemptions; millions of prompt tokens copied in instead of computed; TTFT and time between tokens, s; "
             "output tokens a second.",
             ["switch", "stalled %", "TB", "1000 copies", "blocks", "preemptions", "M tokens in", "TTFT P95", "P99.9",
              "TBT P99.9", "tokens/s"], causes(found, name, rate)),
        ]  # fmt: skip
    sections.append(
        (f"All three together over the baseline, case by case, one conversation a second, up to {SEEDS} seeds; cost of "
         "copies: " + "; ".join(
            f"{band} {told['copy_us']:g} µs a copy and {told['pcie_gbs']:g} GB/s" for band, told in BANDS.items()
         ) + ". Published: TTFT 1.4 to 5.8, TBT up to 11.2, throughput up to 1.44.",
         ["server", "pattern", "frequency", "copies", *heads], cases(found))
    )  # fmt: skip
    sections[0] = (f"Simulated. {rows.commits(found)}\n\n{sections[0][0]}", *sections[0][1:])
    sections = [section for section in sections if section[2]]
    record.write("llmserving_fastswitch", "FastSwitch, mechanism by mechanism (simulated)", sections, digits=5)


if __name__ == "__main__":
    main()
