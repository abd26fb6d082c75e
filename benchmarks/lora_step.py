"""LoRA arithmetic of one decoding step on a CPU: vLLM's own against ours, in one run.

Regime: 6 layers of the understudy's size with adapters on all linear layers (rank 16), as vLLM packs them.  vLLM copies
an adapter's matrices for every row before it multiplies, so its time is memory traffic and grows with the rows; ours is
a few small products per adapter in the step, bound by call overhead.

    env/bin/python benchmarks/lora_step.py [--rows 16] [--adapters 1] [--threads 1]

Prints a table and, last, one JSON line with `ratio` (vLLM's time / ours).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from wmkml.engine.cpu_lora import GroupedLora

HIDDEN, FEED_FORWARD, LAYERS, RANK, SLOTS = 256, 768, 6, 16, 10
LINEARS = (
    (HIDDEN, (256, 128, 128)),  # q, k, v
    (HIDDEN, (HIDDEN,)),  # o
    (HIDDEN, (FEED_FORWARD, FEED_FORWARD)),  # gate, up
    (FEED_FORWARD, (HIDDEN,)),  # down
)


def step_seconds(kind: type[PunicaWrapperCPU], rows: int, adapters: int, repeats: int) -> float:
    """Median seconds of the LoRA arithmetic of one step."""
    wrapper = kind(max(64, rows), max(64, rows), torch.device("cpu"), max_loras=SLOTS)
    ids = list(range(1, adapters + 1))
    of_rows = tuple(ids[row % adapters] for row in range(rows))
    wrapper.update_metadata(
        LoRAMapping(of_rows, of_rows, is_prefill=False), [*ids, *[None] * (SLOTS - adapters)], SLOTS, 4096
    )
    layers = []
    for inputs, slices in LINEARS * LAYERS:
        a = tuple(torch.randn(SLOTS, 1, RANK, inputs).bfloat16() for _ in slices)
        b = tuple(torch.randn(SLOTS, 1, width, RANK).bfloat16() for width in slices)
        layers.append((torch.randn(rows, inputs).bfloat16(), torch.zeros(rows, sum(slices)).bfloat16(), a, b, slices))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        for x, y, a, b, slices in layers:
            wrapper.add_lora_linear(y, x, a, b, 2.0, slices)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Measure both, alternating the number of rows, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[3, 16, 64], help="tokens in a step (default: 3 16 64)")
    parser.add_argument("--adapters", type=int, default=1, help="adapters in a step (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--repeats", type=int, default=30, help="steps measured (default: 30)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ratios = {}
    print("rows   vLLM's own     ours    ratio")
    for rows in arguments.rows:
        vllm_seconds = step_seconds(PunicaWrapperCPU, rows, arguments.adapters, arguments.repeats)
        our_seconds = step_seconds(GroupedLora, rows, arguments.adapters, arguments.repeats)
        ratios[rows] = round(vllm_seconds / our_seconds, 2)
        print(f"{rows:4d}  {vllm_seconds * 1e3:7.2f} ms  {our_seconds * 1e3:7.2f} ms  {ratios[rows]:6.1f}")
    print(json.dumps({"ratio": ratios[arguments.rows[-1]], "ratios": ratios, "adapters": arguments.adapters}))


if __name__ == "__main__":
    main()
