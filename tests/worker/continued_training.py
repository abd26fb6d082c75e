"""How a test sees from two adapters' weights that the second was trained on from the first, and from nothing else.

Round 0 has a large learning rate and round 1 a tiny one: an adapter that went on lies near the first, one that began anew
has a LoRA B near zero.
"""

from __future__ import annotations

from pathlib import Path

from tests.training.tiny_rounds import tensors

LARGE, TINY = 0.003, 0.00001

LEARNING_RATES = {"finetuning.learning_rate": LARGE, "finetuning.learning_rate_increase": TINY - LARGE}
"""The owner's settings of the two rates."""


def assert_continued(first: Path, second: Path, steps: int) -> None:
    """The adapter of round 1, in the second folder, went on from that of round 0, in the first; `steps`: of round 1.

    Adam moves a weight by about its rate at each step, and the rate falls to zero within a round: half of it, on average.
    """
    before, after = tensors(first), tensors(second)
    assert before.keys() == after.keys()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved < steps * TINY, f"{steps} steps at {TINY:g} moved a weight by {moved:g}"
    learned = max(float(weights.abs().max()) for name, weights in before.items() if "lora_B" in name)
    assert learned > 2 * steps * TINY, "round 0 moved its weights too little to tell"
