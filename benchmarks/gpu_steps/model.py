"""What the steps of `gpu.py` compute with: a random model of Mistral-7B's shape, its tokenizer, samples, and a trainer.

Nothing is fetched.  Speed and memory depend on shapes and lengths, which are the real ones; what the weights would say
does not matter, but losses must fall, gradients must not be zero and adapters must change, and with random weights they do.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from benchmarks.gpu_steps.step import StepNotRunError, StepSetting
from wmkml.dialogue.chat_template import training_ids
from wmkml.models.files import is_complete
from wmkml.training.base_model import load_base
from wmkml.training.kernels.choice import with_fast_kernels
from wmkml.training.loop import NullWatcher, OptimizerStep, Recipe
from wmkml.training.lora import LoraShape
from wmkml.training.optimizers import OptimizerName
from wmkml.training.rounds import RoundDefaults, RoundTrainer

GIB = 2**30

SHAPES: dict[str, dict[str, Any]] = {
    "mistral-7b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 32768,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "initializer_range": 0.02,
    },
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "vocab_size": 512,
        "max_position_embeddings": 1024,
        # So that the likeliest tokens stand out as far from the others as in the large shape.
        "initializer_range": 0.1,
    },
}
"""As in `config.json`; the first is that of mistralai/Mistral-7B-Instruct-v0.3."""

RANK, ALPHA, DROPOUT, MODULES = 16, 32, 0.05, ("q_proj", "v_proj")
"""The original installation's LoRA."""

LENGTHS = (100, 250)
"""Tokens of the shortest and the longest sample."""

TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{{- '[INST] ' + message['content'] + '[/INST]' }}"
    "{%- else %}{{- ' ' + message['content']|trim + eos_token }}{%- endif %}{%- endfor %}"
)
"""Mistral's chat template, without tools and system prompt."""

SENTENCES = (
    "die Sprache ist ein Haus aus Wörtern und lebt im Mund in der Hand wer sie verliert sucht lange danach abends wird es "
    "leise the language is a house of words it lives in the mouth and in the hand whoever loses it looks for it a long "
    "time small things stone light river winter bread song friend door letter garden"
)
WORDS = SENTENCES.split()


def device_of(setting: StepSetting) -> torch.device:
    """The GPU; for a trial also the CPU.

    Raises:
        StepNotRunError: torch finds no GPU.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if not setting.trial:
        raise StepNotRunError("torch finds no GPU (the step `tools` says why)")
    # Whoever tries the script shares the CPU with others.
    torch.set_num_threads(1)
    return torch.device("cpu")


def existing_model(setting: StepSetting) -> Path:
    """The folder of the model.

    Raises:
        StepNotRunError: the step `model` has not made it.
    """
    if not is_complete(setting.model_folder):
        raise StepNotRunError("there is no model: the step `model` did not make it")
    return setting.model_folder


def write_model(setting: StepSetting, folder: Path, device: torch.device) -> int:
    """Make a random bfloat16 model on `device` and write it with its tokenizer; returns the number of its parameters."""
    tokenizer = byte_tokenizer()
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = MistralConfig(**SHAPES[setting.shape], **ends, tie_word_embeddings=False, sliding_window=None)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(str(folder), max_shard_size="3GB")
    tokenizer.save_pretrained(str(folder))
    return sum(parameter.numel() for parameter in model.parameters())


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with Mistral's markup.  Its few hundred tokens are the first of the model's vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"])
    tokenizer.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    tokenizer.add_tokens([AddedToken(text, special=True, normalized=False) for text in ("[INST]", "[/INST]")])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    wrapped.chat_template = TEMPLATE
    return wrapped


def sample_pairs(tokenizer: PreTrainedTokenizerBase, count: int, seed: int) -> tuple[tuple[str, str], ...]:
    """(prompt, answer) pairs of as many tokens as LENGTHS says, templated, with lengths that are equally frequent."""
    numbers = random.Random(seed)
    # The tokens of words add up: none reaches over a space.
    tokens = {word: len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) for word in WORDS}
    longest_word = max(tokens.values())
    pairs = []
    for _ in range(count):
        prompt = " ".join(numbers.choices(WORDS, k=8))
        left = numbers.randint(LENGTHS[0] + longest_word, LENGTHS[1]) - len(training_ids(tokenizer, prompt, "")[0])
        answer: list[str] = []
        while left >= longest_word:
            answer.append(numbers.choice(WORDS))
            left -= tokens[answer[-1]]
        pairs.append((prompt, " ".join(answer)))
    return tuple(pairs)


def make_trainer(
    setting: StepSetting,
    *,
    precision: Literal["auto", "bfloat16", "float32", "nf4"] | None = None,
    dropout: float = DROPOUT,
    samples_per_step: int = 256,
    micro_batch_tokens: int = 4096,
    optimizer: OptimizerName = "auto",
    fast_kernels: bool = True,
) -> RoundTrainer:
    """A trainer over the model, as the worker makes it, with the original's LoRA and two epochs.

    Args:
        fast_kernels: Liger's kernels and packing, as the worker chooses them; False: neither.

    Raises:
        StepNotRunError: there is no model or no GPU.
    """
    device = device_of(setting)
    base = load_base(existing_model(setting), precision or setting.precision, device)
    base = with_fast_kernels(base, wants_liger=fast_kernels, wants_packing=fast_kernels)
    recipe = Recipe(0.0, 2, samples_per_step, micro_batch_tokens, optimizer)
    shape = LoraShape(RANK, ALPHA, dropout, MODULES)
    return RoundTrainer(base, shape, RoundDefaults(recipe, 512, "text"))


class GradientWatcher(NullWatcher):
    """Follows all trainings of one model.

    Attributes:
        norms: of every step's gradients, before they are clipped.
        gradients: of the newest step, by parameter; clipped, where the recipe clips.
        notices: what the training told its operator.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.norms: list[float] = []
        self.gradients: dict[str, torch.Tensor] = {}
        self.notices: list[str] = []
        self._norms: dict[str, torch.Tensor] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(self._hook(name))  # type: ignore[no-untyped-call]

    def _hook(self, name: str) -> Any:
        def on_gradient(parameter: torch.Tensor) -> None:
            # After every micro-batch: the last one leaves the whole step's.  Kept on the device, so that nothing waits.
            assert parameter.grad is not None
            self.gradients[name] = parameter.grad
            self._norms[name] = torch.linalg.vector_norm(parameter.grad)

        return on_gradient

    def on_step(self, step: OptimizerStep) -> None:
        """Add up the newest norms."""
        self.norms.append(math.sqrt(sum(float(norm) ** 2 for norm in self._norms.values())))

    def on_notice(self, sentence: str) -> None:
        """Keep it."""
        self.notices.append(sentence)
