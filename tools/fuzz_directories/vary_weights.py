"""How tensors are stored: shards, indexes, names, types, tensors that no model asks for."""

from __future__ import annotations

from collections.abc import Callable

from checkpoint import INDEX, SINGLE, Checkpoint, Tensor, Tensors, write_tensors

CONFIG = "config.json"
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345678\n"

Change = Callable[[Checkpoint], None]


def with_type(dtype: str) -> Change:
    return lambda c: c.change_tensors(lambda tensors: {name: t.to(dtype) for name, t in tensors.items()})


def with_type_of(part: str, dtype: str) -> Change:
    return lambda c: c.change_tensors(lambda ts: {name: t.to(dtype) if part in name else t for name, t in ts.items()})


def with_extra(name: str, dtype: str, shape: tuple[int, ...], size: int) -> Change:
    return lambda c: c.change_tensors(lambda tensors: tensors | {name: Tensor(dtype, shape, bytes(size))})


def renamed(rename: Callable[[str], str]) -> Change:
    return lambda c: c.change_tensors(lambda tensors: {rename(name): t for name, t in tensors.items()})


def scaled(tensor: Tensor, factor: float) -> Tensor:
    return Tensor("F32", tensor.shape, (tensor.values() * factor).astype("<f4").tobytes())


def other_head(tensor: Tensor) -> Tensor:
    """The embedding's rows in another order: the likeliest token is another one."""
    return Tensor("F32", tensor.shape, tensor.values()[::-1].astype("<f4").tobytes())


def head(tensors: Tensors, tensor: Tensor | None) -> Tensors:
    without = {name: t for name, t in tensors.items() if name != HEAD}
    return without if tensor is None else without | {HEAD: tensor}


def with_head(make: Callable[[Tensor], Tensor] | None, **config: object) -> Change:
    def change(c: Checkpoint) -> None:
        c.change_tensors(lambda tensors: head(tensors, make(tensors[EMBEDDING]) if make else None))
        c.set(CONFIG, **config)
        if "tie_word_embeddings" not in config:
            c.drop(CONFIG, "tie_word_embeddings")

    return change


def head_instead_of_embedding(c: Checkpoint) -> None:
    def change(tensors: Tensors) -> Tensors:
        return {HEAD if name == EMBEDDING else name: t for name, t in tensors.items() if name != HEAD}

    c.change_tensors(change)
    c.set(CONFIG, tie_word_embeddings=True)


def sharded(change_map: Callable[[Checkpoint, dict[str, str]], dict | None] | None = None) -> Change:
    def change(c: Checkpoint) -> None:
        weight_map = c.write_shards(c.tensors())
        if change_map:
            c.write_json(INDEX, {"metadata": {}, "weight_map": change_map(c, weight_map) or weight_map})

    return change


def swap_shards(_: Checkpoint, weight_map: dict[str, str]) -> dict[str, str]:
    first, second = sorted(set(weight_map.values()))
    return {name: second if shard == first else first for name, shard in weight_map.items()}


def drop_from_map(_: Checkpoint, weight_map: dict[str, str]) -> dict[str, str]:
    return {name: shard for name, shard in weight_map.items() if "mlp.down_proj" not in name}


def add_to_map(_: Checkpoint, weight_map: dict[str, str]) -> dict[str, str]:
    return weight_map | {"model.rotary_emb.inv_freq": next(iter(weight_map.values()))}


def add_missing_shard(_: Checkpoint, weight_map: dict[str, str]) -> dict[str, str]:
    return weight_map | {"model.extra.weight": "model-00003-of-00003.safetensors"}


def without_metadata(c: Checkpoint, weight_map: dict[str, str]) -> None:
    c.write_json(INDEX, {"weight_map": weight_map})


def single_with_stale_index(c: Checkpoint) -> None:
    names = {name: "model-00001-of-00002.safetensors" for name in c.tensors()}
    c.write_json(INDEX, {"metadata": {"total_size": 1}, "weight_map": names})


def single_and_shards_that_differ(c: Checkpoint) -> None:
    """Resaved over a sharded model: which of the two is read?"""
    tensors = c.tensors()
    other = dict(tensors)
    other["model.norm.weight"] = scaled(tensors["model.norm.weight"], -1)
    c.write_shards(other)
    write_tensors(c.path / SINGLE, tensors)


def index_in_weight_files(name: str) -> Change:
    return lambda c: c.write_json(name, {"metadata": {}, "weight_map": {"a": "pytorch_model-00001-of-00001.bin"}})


def single_named(name: str) -> Change:
    def change(c: Checkpoint) -> None:
        tensors = c.tensors()
        c.write_single(tensors)
        (c.path / SINGLE).rename(c.path / name)

    return change


def one_shard(c: Checkpoint) -> None:
    c.write_shards(c.tensors(), 1)


def extra_shard_file(c: Checkpoint) -> None:
    """Mistral's own layout beside Hugging Face's."""
    tensors = c.tensors()
    c.write_shards(tensors)
    write_tensors(c.path / "consolidated.safetensors", {"tok_embeddings.weight": tensors[EMBEDDING]})


def written(**options: bool) -> Change:
    return lambda c: c.write_single(c.tensors(), **options)


def base_model(c: Checkpoint) -> None:
    """What LlamaModel.save_pretrained writes, or another family's."""
    (name,) = c.json(CONFIG)["architectures"]
    c.set(CONFIG, architectures=[name.replace("ForCausalLM", "Model")])
    c.change_tensors(lambda ts: {name.removeprefix("model."): t for name, t in ts.items() if name != HEAD})


def transformer_prefix(name: str) -> str:
    return name if name == HEAD else "transformer." + name.removeprefix("model.")


VARIATIONS: dict[str, Change] = {
    "two shards": sharded(),
    "one shard": one_shard,
    "index without metadata": sharded(without_metadata),
    "index names the other shard": sharded(swap_shards),
    "index lacks tensors that a shard holds": sharded(drop_from_map),
    "index names a tensor that no shard holds": sharded(add_to_map),
    "index names a shard that is not there": sharded(add_missing_shard),
    "single file beside a stale index": single_with_stale_index,
    "single file beside other shards": single_and_shards_that_differ,
    "consolidated.safetensors beside shards": extra_shard_file,
    "index of .bin files beside": index_in_weight_files("pytorch_model.bin.index.json"),
    "empty pytorch_model.bin beside": lambda c: c.write("pytorch_model.bin", b""),
    "only model.fp16.safetensors": single_named("model.fp16.safetensors"),
    "only model-00001-of-00001.safetensors": single_named("model-00001-of-00001.safetensors"),
    "no prefix model.": renamed(lambda name: name.removeprefix("model.")),
    "base model": base_model,
    "prefix transformer.": renamed(transformer_prefix),
    "head stored, equal, tied": with_head(lambda t: t, tie_word_embeddings=True),
    "head stored, equal, untied": with_head(lambda t: t, tie_word_embeddings=False),
    "head stored, equal, tie not stated": with_head(lambda t: t),
    "head stored, different, tied": with_head(other_head, tie_word_embeddings=True),
    "head stored, different, untied": with_head(other_head, tie_word_embeddings=False),
    "head stored, different, tie not stated": with_head(other_head),
    "head stored, different, tie null": with_head(other_head, tie_word_embeddings=None),
    "head absent, tied": with_head(None, tie_word_embeddings=True),
    "head absent, untied": with_head(None, tie_word_embeddings=False),
    "head absent, tie not stated": with_head(None),
    "head in place of the embedding, tied": head_instead_of_embedding,
    "all F32": with_type("F32"),
    "all F16": with_type("F16"),
    "all BF16": with_type("BF16"),
    "all F64": with_type("F64"),
    "norms F32, rest as is": with_type_of("norm", "F32"),
    "norms F64, rest as is": with_type_of("norm", "F64"),
    "embedding F16, rest as is": with_type_of("embed_tokens", "F16"),
    "q_proj F32, k and v as is": with_type_of("q_proj", "F32"),
    "extra rotary inv_freq": with_extra("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", (16,), 64),
    "extra rotary inv_freq F64": with_extra("model.rotary_emb.inv_freq", "F64", (16,), 128),
    "extra masked_bias": with_extra("model.layers.0.self_attn.masked_bias", "F32", (), 4),
    "extra attention mask BOOL": with_extra("model.layers.0.self_attn.bias", "BOOL", (1, 1, 8, 8), 64),
    "extra I64 position_ids": with_extra("model.position_ids", "I64", (1, 8), 64),
    "extra F8_E4M3": with_extra("model.layers.0.extra.weight", "F8_E4M3", (4, 4), 16),
    "extra F8_E8M0": with_extra("model.layers.0.extra.scale", "F8_E8M0", (4, 4), 16),
    "extra empty tensor": with_extra("model.empty", "F32", (0,), 0),
    "extra layer": with_extra("model.layers.99.mlp.up_proj.weight", "F32", (4, 4), 64),
    "extra q_proj.bias": with_extra("model.layers.0.self_attn.q_proj.bias", "F32", (128,), 512),
    "extra vision tower": with_extra("vision_tower.patch_embed.weight", "F32", (2, 2, 2, 2), 64),
    "header without __metadata__": written(metadata=False),
    "data at an odd offset": written(padding=False),
    "reversed order of tensors": lambda c: c.change_tensors(lambda ts: dict(reversed(ts.items()))),
    "LFS pointer": lambda c: (c.write_single(c.tensors()), c.write(SINGLE, POINTER)),
    "LFS pointer as a shard": lambda c: (sharded()(c), c.write("model-00002-of-00002.safetensors", POINTER)),
    "truncated file": lambda c: (
        c.write_single(c.tensors()),
        c.write(SINGLE, (c.path / SINGLE).read_bytes()[:-100]),
    ),
    "empty file": lambda c: c.write(SINGLE, b""),
}
