#!/usr/bin/env python3
"""What paging and sharing are worth: `quire bench kv` under each memory policy, on the same kernels and the same load.

Three parts, each a table with the PagedAttention paper's figures beside ours:
  policies  sustained rate (all requests at once) and normalised latency (Poisson arrivals) of paged memory against
            Orca's three reservations and request-level batches; lengths as in the paper's Figure 11, scaled down
            together with the context and the block size, and a pool in which paged memory runs about eight sequences
  sharing   memory that parallel samples and beams save
  beams     the time of beam searches of width 6 against six samples from the same prompts

A run is long enough that its end, when nobody waits any more, counts for little. Runs alternate over the policies,
`--repeats` times; medians are printed, with the extremes. The model is made by tools/random_model (about 125 million
parameters: decoding is bound by memory bandwidth, so that larger batches pay).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCALE = 0.25  # of the paper's lengths, of its context of 2048 and of its block size of 16
CONTEXT = int(2048 * SCALE)
BLOCK_SIZE = int(16 * SCALE)
# In such a pool paged memory runs about eight sequences; it has room for two of the longest, or for one.
NUM_BLOCKS = {"sharegpt": 2 * CONTEXT // BLOCK_SIZE, "alpaca": CONTEXT // BLOCK_SIZE}

POLICIES = {
    "paged": ["--kv-policy", "paged"],
    "reserve-exact": ["--kv-policy", "reserve-exact"],
    "reserve-pow2": ["--kv-policy", "reserve-pow2"],
    "reserve-max": ["--kv-policy", "reserve-max"],
    "static batches": ["--kv-policy", "reserve-max", "--batching", "static"],
}
# Paged against each, at 0.25 s/token, OPT-13B: Figure 12 a and d, from the published curves.
PAPER_RATIO = {
    "sharegpt": {"reserve-exact": 1.87, "reserve-pow2": 2.51, "reserve-max": 3.73, "static batches": 12.8},
    "alpaca": {"reserve-exact": 1.33, "reserve-pow2": 1.75, "reserve-max": 8.29, "static batches": 18.5},
}
# Figure 15: blocks saved by sharing, percent. ShareGPT's are ranges in the text.
PAPER_SAVING = {
    ("alpaca", "n", 2): "6.1", ("alpaca", "n", 4): "8.5", ("alpaca", "n", 6): "9.8",
    ("alpaca", "beam-width", 2): "37.6", ("alpaca", "beam-width", 4): "53.1", ("alpaca", "beam-width", 6): "55.2",
    ("sharegpt", "n", 2): "16.2-30.5", ("sharegpt", "n", 4): "16.2-30.5", ("sharegpt", "n", 6): "16.2-30.5",
    ("sharegpt", "beam-width", 2): "44.3-66.3", ("sharegpt", "beam-width", 4): "44.3-66.3",
    ("sharegpt", "beam-width", 6): "44.3-66.3",
}  # fmt: skip


class Bench:
    def __init__(self, quire: Path, model: Path, log: Path | None):
        self.quire, self.model, self.log = quire, model, log

    def run(self, *options: str) -> dict:
        command = [self.quire, "bench", "kv", self.model, "--json", "--no-enable-prefix-caching", *options]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if self.log:
            with self.log.open("a") as log:
                log.write(json.dumps({"options": options, **report}) + "\n")
        return report


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def scaled(workload: str, num_prompts: int, num_blocks: int | None = None) -> list[str]:
    num_blocks = num_blocks or NUM_BLOCKS[workload]
    return [
        "--workload", workload, "--length-scale", str(SCALE), "--max-model-len", str(CONTEXT),
        "--block-size", str(BLOCK_SIZE), "--num-gpu-blocks-override", str(num_blocks),
        "--num-prompts", str(num_prompts),
    ]  # fmt: skip


def policies(bench: Bench, workload: str, num_prompts: int, repeats: int) -> None:
    saturated = {name: [] for name in POLICIES}
    for _ in range(repeats):
        for name, options in POLICIES.items():
            saturated[name].append(bench.run(*scaled(workload, num_prompts), *options))
    paged = statistics.median(report["requests_per_second"] for report in saturated["paged"])
    # A load that exact reservation cannot carry any more and paged memory still can.
    rate = 0.8 * paged
    arriving = {name: [] for name in POLICIES}
    for _ in range(repeats):
        for name, options in POLICIES.items():
            arriving[name].append(bench.run(*scaled(workload, num_prompts), "--request-rate", f"{rate:.4f}", *options))
    print(f"\n{workload}, lengths x {SCALE}, {NUM_BLOCKS[workload]} blocks of {BLOCK_SIZE}, {num_prompts} requests;")
    print(f"latency at Poisson arrivals of {rate:.2f} requests/s\n")
    print("| memory and batching | requests/s | paged is x faster | paper | running | waste % | normalised latency, s/token |")
    print("|---|---|---|---|---|---|---|")
    for name, reports in saturated.items():
        rates = [report["requests_per_second"] for report in reports]
        ratios = [p["requests_per_second"] / rate_of for p, rate_of in zip(saturated["paged"], rates)]
        print(
            f"| {name} | {spread(rates)} | {spread(ratios)} | {PAPER_RATIO[workload].get(name, '')} | "
            f"{statistics.median(r['mean_running_sequences'] for r in reports):.1f} | "
            f"{statistics.median(r['waste_pct'] for r in reports):.1f} | "
            f"{spread([r['normalized_latency_s'] for r in arriving[name]])} |"
        )


def sharing(bench: Bench, workload: str, num_prompts: int) -> None:
    # In a pool that never binds.
    print(f"\n{workload}: memory saved by sharing, {num_prompts} requests\n")
    print("| | saved % | paper % | blocks copied on write |")
    print("|---|---|---|---|")
    for kind in ("n", "beam-width"):
        for width in (2, 4, 6):
            options = scaled(workload, num_prompts, 24 * CONTEXT // BLOCK_SIZE)
            options += ["--n", str(width)] if kind == "n" else ["--n", str(width), "--beam-width", str(width)]
            report = bench.run(*options, "--max-num-seqs", "24")
            name = f"{width} samples" if kind == "n" else f"beam search, width {width}"
            print(
                f"| {name} | {report['shared_savings_pct']:.1f} | {PAPER_SAVING[workload, kind, width]} | "
                f"{report['blocks_copied']} |"
            )


def beams(bench: Bench, repeats: int) -> None:
    load = ["--workload", "uniform", "--input-len", "128", "--output-len", "64", "--num-prompts", "16",
            "--max-num-seqs", "48", "--max-model-len", "256", "--num-gpu-blocks-override", "800"]  # fmt: skip
    samples, searches = [], []
    for _ in range(repeats):
        samples.append(bench.run(*load, "--n", "6"))
        searches.append(bench.run(*load, "--n", "6", "--beam-width", "6"))
    ratios = [b["duration_s"] / s["duration_s"] for b, s in zip(searches, samples)]
    print("\nprompts of 128, answers of 64 tokens, 8 requests at a time\n")
    print("| | requests/s |")
    print("|---|---|")
    print(f"| 6 samples | {spread([r['requests_per_second'] for r in samples])} |")
    print(f"| beam search, width 6 | {spread([r['requests_per_second'] for r in searches])} |")
    print(f"\nbeam search takes {spread(ratios)} times as long as six samples")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quire", type=Path, default=ROOT / "build/release/quire")
    parser.add_argument("--model", type=Path, help="directory of a model; made if absent (needs numpy)")
    parser.add_argument("--num-prompts", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=["policies", "sharing", "beams"])
    parser.add_argument("--workloads", nargs="+", default=["sharegpt", "alpaca"])
    parser.add_argument("--log", type=Path, help="append every report to this file, a JSON object a line")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        model = args.model
        if model is None:
            model = Path(scratch) / "model"
            make = [sys.executable, ROOT / "tools/random_model/random_model.py", model, "--preset", "125m",
                    "--vocab-size", "32768", "--seed", "1"]  # fmt: skip
            subprocess.run(make, check=True, stdout=sys.stderr)
        bench = Bench(args.quire, model, args.log)
        for workload in args.workloads:
            if "policies" in args.parts:
                policies(bench, workload, args.num_prompts, args.repeats)
            if "sharing" in args.parts:
                sharing(bench, workload, min(args.num_prompts, 48))
        if "beams" in args.parts:
            beams(bench, args.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
