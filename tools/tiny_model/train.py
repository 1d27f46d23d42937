"""Trains the model or its draft from scratch on generated text, on a CPU.

    python train.py --preset tiny --work-dir /some/scratch/tiny --time-budget 60

The data stream is a function of the seed and the step, so a run that was
stopped continues from its last checkpoint as if nothing had happened; start
the same command again. The learning rate follows the share of the time budget
that is spent: a short warm-up, a plateau, then a decay to zero over the last
40 %, which ends the run with the best model that the time allows whatever the
speed of the machine.

Each worker is a process with one thread that claims small batches of a step
as it gets through them. On a machine that does other work as well this loses
far less time than splitting every matrix product between threads, where each
product waits for the slower thread.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.multiprocessing as mp
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

import corpus
from muon import Muon
from tokenizer import VOCAB_SIZE, train_tokenizer

TOKENS_PER_STEP, TOKENS_PER_CLAIM = 2048, 1024
# Most batches are short, which is cheap; one in 32 is a row of the full
# context so that every position is trained.
SHORT_ROW, LONG_ROW, LONG_EVERY = 256, 2048, 32


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
            attn_implementation="causal",
            bos_token_id=tokenizer.token_to_id(corpus.BOS),
            eos_token_id=tokenizer.token_to_id(corpus.IM_END),
            pad_token_id=tokenizer.token_to_id(corpus.END_OF_TEXT),
        )


PRESETS = {
    "tiny": Preset(hidden=128, layers=4, heads=4, kv_heads=2, intermediate=384, learning_rate=6e-3),
    "draft": Preset(hidden=64, layers=2, heads=2, kv_heads=1, intermediate=192, learning_rate=8e-3),
}


def causal_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attention that skips what lies above the diagonal, which a mask would not."""
    repeats = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register("causal", causal_attention)


def row_length(step: int) -> int:
    return LONG_ROW if step % LONG_EVERY == LONG_EVERY - 1 else SHORT_ROW


def pack_row(tokenizer: Tokenizer, seed: int, step: int, row: int) -> list[int]:
    """One row of a step, length + 1 tokens; it starts with a document."""
    length = row_length(step)
    index = (step * TOKENS_PER_STEP + row) * length
    ids: list[int] = []
    while len(ids) <= length:
        document = corpus.training_document(seed, index)
        ids += tokenizer.encode(document.text, add_special_tokens=False).ids
        index += 1
    return ids[: length + 1]


def pack_claims(step: int) -> list[range]:
    """The rows of a step, divided into the batches that workers claim."""
    length = row_length(step)
    rows, per_claim = TOKENS_PER_STEP // length, max(1, TOKENS_PER_CLAIM // length)
    return [range(first, first + per_claim) for first in range(0, rows, per_claim)]


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


def make_optimizers(model: LlamaForCausalLM, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    outer = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [
        Muon(inner, lr=learning_rate, weight_decay=0.05),
        torch.optim.AdamW(outer, lr=learning_rate / 2, betas=(0.9, 0.98), weight_decay=0.0, foreach=True),
    ]
    for optimizer in optimizers:
        optimizer.param_groups[0]["peak_lr"] = optimizer.param_groups[0]["lr"]
    return optimizers


def save_checkpoint(path: Path, state: dict[str, object]) -> None:
    """Writes beside the old checkpoint first, so that a kill loses neither."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


class Workers:
    """The processes that compute the gradient of a step between them.

    Parameters live in shared memory. Every claim has a gradient buffer of its
    own and the buffers are added in order, so the sum does not depend on who
    computed what. The calling process works too, as the first worker.
    """

    def __init__(self, model: LlamaForCausalLM, tokenizer_path: Path, args: argparse.Namespace) -> None:
        context = mp.get_context("spawn")
        self.model = model.share_memory()
        self.parameters = list(model.parameters())
        size = sum(p.numel() for p in self.parameters)
        self.gradients = torch.zeros(TOKENS_PER_STEP // TOKENS_PER_CLAIM, size).share_memory_()
        self.losses = torch.zeros(len(self.gradients)).share_memory_()
        self.step = context.Value("q", 0)
        self.next_claim = context.Value("q", 0)
        self.start, self.finish = context.Barrier(args.workers), context.Barrier(args.workers)
        shared = (self.gradients, self.losses, self.step, self.next_claim)
        self.work = (tokenizer_path, args.seed, args.compile)
        self._process = claim_processor(model, shared, *self.work)
        for _ in range(args.workers - 1):
            barriers = (self.start, self.finish)
            context.Process(target=serve_claims, args=(model, shared, barriers, self.work), daemon=True).start()

    def compute(self, step: int) -> float:
        """Leaves the mean gradient of a step in the parameters; returns its loss."""
        self.step.value, self.next_claim.value = step, 0
        self.start.wait()
        self._process()
        self.finish.wait()
        claims = len(pack_claims(step))
        mean = self.gradients[:claims].mean(dim=0)
        for parameter, part in zip(self.parameters, mean.split([p.numel() for p in self.parameters])):
            parameter.grad = part.view_as(parameter)
        return self.losses[:claims].mean().item()


def claim_processor(
    model: LlamaForCausalLM, shared: tuple, tokenizer_path: Path, seed: int, compiled: bool
) -> Callable[[], None]:
    """A function that works on claims of the current step until none is left."""
    torch.set_num_threads(1)
    gradients, losses, step, next_claim = shared
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    parameters = list(model.parameters())
    forward = torch.compile(model, dynamic=False) if compiled else model

    def process() -> None:
        claims = pack_claims(step.value)
        while True:
            with next_claim.get_lock():
                claim = next_claim.value
                next_claim.value += 1
            if claim >= len(claims):
                return
            batch = torch.tensor([pack_row(tokenizer, seed, step.value, row) for row in claims[claim]])
            # Long rows are too rare to be worth a compilation of their own.
            run = forward if row_length(step.value) == SHORT_ROW else model
            logits = run(input_ids=batch[:, :-1], use_cache=False).logits
            loss = cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
            found = torch.autograd.grad(loss, parameters)
            torch.cat([gradient.flatten() for gradient in found], out=gradients[claim])
            losses[claim] = loss.detach()

    return process


def serve_claims(model: LlamaForCausalLM, shared: tuple, barriers: tuple, work: tuple) -> None:
    """The life of a worker process."""
    start, finish = barriers
    process = claim_processor(model, shared, *work)
    while True:
        start.wait()
        process()
        finish.wait()


def train(args: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the workers end too
    torch.manual_seed(args.seed)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    tokenizer_path = args.tokenizer or args.work_dir / "tokenizer.json"
    if not tokenizer_path.exists():
        train_tokenizer(args.seed).save(str(tokenizer_path))

    preset = PRESETS[args.preset]
    model = LlamaForCausalLM(preset.config(Tokenizer.from_file(str(tokenizer_path))))
    optimizers = make_optimizers(model, preset.learning_rate)
    step, spent = 0, 0.0
    checkpoint = args.work_dir / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        step, spent = state["step"], state["spent"]
    workers = Workers(model, tokenizer_path, args)

    clock, budget = Clock(spent), args.time_budget * 60
    last_save, running = clock.seconds(), None
    print(f"{sum(p.numel() for p in model.parameters())} parameters, from step {step}", flush=True)
    while clock.seconds() < budget:
        scale = learning_rate_scale(clock.seconds() / budget)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak_lr"] * scale
        loss = workers.compute(step)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        running = loss if running is None else 0.98 * running + 0.02 * loss
        if step % 50 == 0:
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
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
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
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
