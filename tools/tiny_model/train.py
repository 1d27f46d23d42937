"""Trains the model or its draft from scratch on generated text, on a CPU.

    python train.py --preset tiny --work-dir /some/scratch/tiny --time-budget 60

The data stream is a function of the seed and the step, so a run that was
stopped continues from its last checkpoint as if nothing had happened; start
the same command again. The learning rate follows the share of the time budget
that is spent: a short warm-up, a plateau, then a decay to zero over the last
40 %, which ends the run with the best model that the time allows whatever the
speed of the machine.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

import corpus
from tokenizer import VOCAB_SIZE, train_tokenizer

TOKENS_PER_STEP = 4096
# Most batches are short, which is cheap; one in 24 has rows of the full
# context so that every position is trained.
SHORT_ROW, LONG_ROW, LONG_EVERY = 256, 2048, 24


@dataclass(frozen=True)
class Preset:
    """The shape of a model and its peak learning rate."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    learning_rate: float

    def config(self, tokenizer: Tokenizer) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=32,
            intermediate_size=self.intermediate,
            max_position_embeddings=LONG_ROW,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.token_to_id(corpus.BOS),
            eos_token_id=tokenizer.token_to_id(corpus.IM_END),
            pad_token_id=tokenizer.token_to_id(corpus.END_OF_TEXT),
        )


PRESETS = {
    "tiny": Preset(hidden=128, layers=6, heads=4, kv_heads=2, intermediate=384, learning_rate=3e-3),
    "draft": Preset(hidden=64, layers=2, heads=2, kv_heads=1, intermediate=192, learning_rate=8e-3),
}


def pack_batch(tokenizer: Tokenizer, seed: int, step: int) -> torch.Tensor:
    """The batch of a step, [rows, length + 1]; each row starts with a document."""
    length = LONG_ROW if step % LONG_EVERY == LONG_EVERY - 1 else SHORT_ROW
    rows = []
    index = step * 100_000
    for _ in range(TOKENS_PER_STEP // length):
        row: list[int] = []
        while len(row) <= length:
            document = corpus.training_document(seed, index)
            row += tokenizer.encode(document.text, add_special_tokens=False).ids
            index += 1
        rows.append(row[: length + 1])
    return torch.tensor(rows)


def learning_rate_scale(progress: float) -> float:
    """Warm-up, plateau and square-root-shaped decay over progress in [0, 1]."""
    if progress < 0.01:
        return 0.05 + progress / 0.01 * 0.95
    if progress < 0.6:
        return 1.0
    return 1.0 - ((progress - 0.6) / 0.4) ** 0.5


class Clock:
    """Seconds of training so far, across restarts."""

    def __init__(self, already: float) -> None:
        self._start = time.monotonic() - already

    def seconds(self) -> float:
        return time.monotonic() - self._start


def make_optimizer(model: LlamaForCausalLM, learning_rate: float) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), foreach=True)


def save_checkpoint(path: Path, state: dict[str, object]) -> None:
    """Writes beside the old checkpoint first, so that a kill loses neither."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    tokenizer_path = args.work_dir / "tokenizer.json"
    if args.tokenizer:
        tokenizer_path = args.tokenizer
    elif not tokenizer_path.exists():
        train_tokenizer(args.seed).save(str(tokenizer_path))
    tokenizer = Tokenizer.from_file(str(tokenizer_path))

    preset = PRESETS[args.preset]
    model = LlamaForCausalLM(preset.config(tokenizer))
    optimizer = make_optimizer(model, preset.learning_rate)
    step, spent = 0, 0.0
    checkpoint = args.work_dir / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    forward = torch.compile(model, dynamic=False) if args.compile else model

    clock, budget = Clock(spent), args.time_budget * 60
    last_save, running = clock.seconds(), None
    print(f"{sum(p.numel() for p in model.parameters())} parameters, from step {step}", flush=True)
    while clock.seconds() < budget:
        scale = learning_rate_scale(clock.seconds() / budget)
        for group in optimizer.param_groups:
            group["lr"] = preset.learning_rate * scale
        batch = pack_batch(tokenizer, args.seed, step)
        logits = forward(input_ids=batch[:, :-1], use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        if step % 100 == 0:
            print(
                f"step {step} loss {running:.4f} lr {scale:.3f} "
                f"tokens {step * TOKENS_PER_STEP / 1e6:.2f}M minutes {clock.seconds() / 60:.1f}",
                flush=True,
            )
        if clock.seconds() - last_save > args.save_every or clock.seconds() >= budget:
            last_save = clock.seconds()
            save_checkpoint(
                checkpoint,
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                    "spent": clock.seconds(),
                },
            )
    print(f"done at step {step}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--work-dir", type=Path, required=True, help="checkpoints go here, not into the repository")
    parser.add_argument("--tokenizer", type=Path, help="use this tokenizer.json instead of training one")
    parser.add_argument("--time-budget", type=float, default=60, help="minutes of training in all")
    parser.add_argument("--save-every", type=float, default=120, help="seconds between checkpoints")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
