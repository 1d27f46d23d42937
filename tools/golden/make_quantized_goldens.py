#!/usr/bin/env python3
"""Writes tests/goldens/quantized/: small checkpoints in the formats of quantised safetensors, and what the formats' own
packages decode them to.

    python3 -m venv venv && venv/bin/pip install -r tools/golden/requirements_quantized.txt
    venv/bin/pip install --no-deps --no-build-isolation auto-gptq==0.7.1 autoawq==0.2.9
    venv/bin/python tools/golden/make_quantized_goldens.py

Codes, scales and zero points are random. The packages decode in float32: 16-bit scales are widened first, and where the
package would compute in 16 bits, the script checks that this gives the same rounded. expected.json has of each weight its
shape, the name of its format in Quire, FNV-1a over the bits of its floats in 32-bit steps (a NaN counts as 0x7fc00000),
and the first floats.

auto-gptq and autoawq want packages that no longer fit together: single files of theirs are loaded by path. What no
package decodes here is stated in this script: AutoGPTQ's zero points of gptq_v2 (stored without the minus 1), the column
groups of compressed-tensors (which its current version leaves to the serving engine), fp8 without a scale.
"""
import importlib.util
import json
import math
import os
import shutil
from pathlib import Path

import bitsandbytes.functional as bnb
import numpy as np
import torch
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.compressors.naive_quantized.base import NaiveQuantizationCompressor
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

OUT = Path(__file__).resolve().parents[2] / "tests" / "goldens" / "quantized"
MASK = 2**64 - 1
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def load_file(package: str, path: str):
    root = importlib.util.find_spec(package).submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location(package + "_file", os.path.join(root, path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GPTQ = load_file("auto_gptq", "nn_modules/qlinear/qlinear_cuda.py")
AWQ = load_file("awq", "utils/packing_utils.py")
random = torch.Generator()


def integers(low: int, high: int, *shape, dtype=torch.int32) -> torch.Tensor:
    """In [low, high)."""
    return torch.randint(low, high, shape, generator=random).to(dtype)


def scales(*shape, dtype=torch.float16, size: float = 0.01) -> torch.Tensor:
    return ((torch.rand(*shape, generator=random) + 0.5) * size).to(dtype)


def words(*shape) -> torch.Tensor:
    return integers(-(2**31), 2**31, *shape)


def same_rounded(exact: torch.Tensor, native: torch.Tensor) -> None:
    assert torch.equal(exact.to(native.dtype), native), "the package rounds something else"


# Each maker gives the tensors of a layer by the rest of their names, and the weight.


def fp8(rows, columns, scale, name="weight_scale", dtype=E4M3, block=None, any_code=True):
    codes = integers(0, 256, rows, columns, dtype=torch.uint8)
    if not any_code:
        codes &= 0xDF  # no NaN, and small
    weight = codes.view(dtype)
    if scale is None:
        return {"weight": weight}, weight.float()
    wide = scale.float()
    if block:
        args = QuantizationArgs(num_bits=8, type="float", strategy="block", block_structure=block)
        grid = wide.repeat_interleave(block[0], 0)[:rows].repeat_interleave(block[1], 1)[:, :columns]
        value = weight.float() * grid
        if rows % block[0] == 0 and columns % block[1] == 0:
            value = Fp8Dequantize(None)._dequantize_one(weight, wide, torch.float32)
            assert torch.equal(value.nan_to_num(), (weight.float() * grid).nan_to_num())
    else:
        strategy = "tensor" if scale.numel() == 1 else "channel"
        args = QuantizationArgs(num_bits=8, type="float", strategy=strategy)
        column = wide if wide.numel() == 1 else wide.reshape(-1, 1)
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        value = NaiveQuantizationCompressor.decompress({"weight": weight, "weight_scale": column}, scheme)["weight"]
    return {"weight": weight, name: scale}, value


def compressed_int8(rows, columns, scale, zero=None, group=None):
    strategy = "group" if group else "tensor" if scale.numel() == 1 else "channel"
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(
        num_bits=8, type="int", strategy=strategy, group_size=group, symmetric=zero is None))
    tensors = {"weight": integers(-128, 128, rows, columns, dtype=torch.int8), "weight_scale": scale}
    if zero is not None:
        tensors["weight_zero_point"] = zero
    exact = NaiveQuantizationCompressor.decompress({**tensors, "weight_scale": scale.float()}, scheme)["weight"]
    return tensors, exact


def packed(rows, columns, bits, group=None, zeros=False, act_order=False):
    num_groups = columns // group if group else 1
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(
        num_bits=bits, type="int", strategy="group" if group else "channel", group_size=group, symmetric=not zeros))
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    codes = integers(low, high, rows, columns, dtype=torch.int8)
    scale = scales(rows, num_groups, dtype=torch.bfloat16)
    tensors = {"weight_packed": pack_to_int32(codes, bits), "weight_scale": scale,
               "weight_shape": torch.tensor([rows, columns])}
    zero = torch.zeros(rows, num_groups, dtype=torch.int8)
    if zeros:
        zero = integers(low, high, rows, num_groups, dtype=torch.int8)
        tensors["weight_zero_point"] = pack_to_int32(zero, bits, packed_dim=0).contiguous()
    if act_order:
        index = (torch.arange(columns) // group)[torch.randperm(columns, generator=random)].to(torch.int32)
        tensors["weight_g_idx"] = index
        exact = (codes.float() - zero.float()[:, index.long()]) * scale.float()[:, index.long()]
    else:
        exact = PackedQuantizationCompressor.decompress({**tensors, "weight_scale": scale.float()}, scheme)["weight"]
        same_rounded(exact, PackedQuantizationCompressor.decompress(dict(tensors), scheme)["weight"])
    return tensors, exact


def gptq(rows, columns, bits, group, act_order=False, v2=False):
    size = columns if group == -1 else group
    num_groups = math.ceil(columns / size)
    layer = GPTQ.QuantLinear(bits, group, columns, rows, bias=False)
    tensors = {"qweight": words(columns * bits // 32, rows), "scales": scales(num_groups, rows),
               "g_idx": (torch.arange(columns) // size).to(torch.int32)}
    # No zero point is 2^bits after the 1 is added: the packages differ there.
    zeros = np.asarray(integers(0, 2**bits - 1, num_groups, rows), dtype=np.uint64)
    tensors["qzeros"] = pack_rows(zeros, bits)
    if act_order:
        tensors["g_idx"] = tensors["g_idx"][torch.randperm(columns, generator=random)]
    for name, tensor in tensors.items():
        setattr(layer, name, tensor)
    native = layer.scales
    layer.scales = native.float()
    exact = layer(torch.eye(columns)).T.contiguous()
    if v2:  # zero points as they are: one less than AutoGPTQ takes them for
        index = tensors["g_idx"].long()
        code = exact / native.float()[index].T + torch.from_numpy(zeros.astype(np.float32))[index].T + 1
        exact = (code.round() - torch.from_numpy(zeros.astype(np.float32))[index].T) * native.float()[index].T
    return tensors, exact


def pack_rows(values: np.ndarray, bits: int) -> torch.Tensor:
    """Each row as a stream of bits in words."""
    streams = []
    for row in values:
        stream = sum(int(value) << (bits * i) for i, value in enumerate(row))
        streams.append(np.frombuffer(stream.to_bytes(len(row) * bits // 8, "little"), dtype=np.int32))
    return torch.from_numpy(np.stack(streams).copy())


def awq(rows, columns, group):
    size = columns if group == -1 else group
    tensors = {"qweight": words(columns, rows // 8), "qzeros": words(columns // size, rows // 8),
               "scales": scales(columns // size, rows)}
    exact = AWQ.dequantize_gemm(tensors["qweight"], tensors["qzeros"], tensors["scales"].float(), 4, size)
    same_rounded(exact, AWQ.dequantize_gemm(tensors["qweight"], tensors["qzeros"], tensors["scales"], 4, size))
    return tensors, exact.T.contiguous()


def bnb_4bit(rows, columns, kind, nested, block=64):
    data = torch.randn(rows, columns, generator=random) * 0.05
    codes, state = bnb.quantize_4bit(data, blocksize=block, compress_statistics=nested, quant_type=kind)
    tensors = {"weight": codes}
    tensors.update({f"weight.{name}": tensor for name, tensor in state.as_dict(packed=True).items()})
    return tensors, bnb.dequantize_4bit(codes, state)


def bnb_8bit(rows, columns):
    codes = integers(-127, 128, rows, columns, dtype=torch.int8)
    scale = scales(rows, dtype=torch.float32, size=2)
    tensors = {"weight": codes, "SCB": scale, "weight_format": torch.tensor(0, dtype=torch.uint8)}
    return tensors, bnb.int8_vectorwise_dequant(codes, scale)


def mxfp4_blocks(rows, columns):
    blocks = integers(0, 256, rows, columns // 32, 16, dtype=torch.uint8)
    exponents = integers(110, 140, rows, columns // 32, dtype=torch.uint8)
    exact = convert_moe_packed_tensors(blocks[None], exponents[None], dtype=torch.float32)[0].T.contiguous()
    return {"weight_blocks": blocks, "weight_scales": exponents}, exact


def compressed_fp4(rows, columns, is_nvfp4):
    group = 16 if is_nvfp4 else 32
    compressor = NVFP4PackedCompressor if is_nvfp4 else MXFP4PackedCompressor
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(
        num_bits=4, type="float", strategy="tensor_group" if is_nvfp4 else "group", group_size=group))
    tensors = {"weight_packed": integers(0, 256, rows, columns // 2, dtype=torch.uint8)}
    if is_nvfp4:
        tensors["weight_scale"] = scales(rows, columns // group, dtype=torch.float32, size=100).to(E4M3)
        tensors["weight_global_scale"] = torch.tensor([321.7])
    else:
        tensors["weight_scale"] = integers(110, 140, rows, columns // group, dtype=torch.uint8)
    native = compressor.decompress(dict(tensors), scheme)["weight"]
    low, high = tensors["weight_packed"] & 15, tensors["weight_packed"] >> 4
    table = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6])
    codes = table[torch.stack([low, high], -1).reshape(rows, columns).long()]
    scale = tensors["weight_scale"].float() / tensors["weight_global_scale"] if is_nvfp4 else torch.exp2(
        tensors["weight_scale"].float() - 127)
    exact = codes * scale.repeat_interleave(group, 1)
    same_rounded(exact, native)
    return tensors, exact


def compressed_config(form, groups):
    return {"quantization_config": {"quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"],
                                    "kv_cache_scheme": None, "quantization_status": "compressed", "config_groups": {
                                        f"group_{i}": {"targets": ["Linear"], "weights": group}
                                        for i, group in enumerate(groups)}}}


def int_group(bits, group=None, symmetric=True):
    return {"num_bits": bits, "type": "int", "strategy": "group" if group else "channel", "group_size": group,
            "symmetric": symmetric, "actorder": None, "dynamic": False}


def gptq_config(bits, group, form="gptq", act_order=False):
    return {"quantization_config": {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": act_order,
                                    "sym": False, "checkpoint_format": form, "damp_percent": 0.01}}


AWQ_CONFIG = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm",
                                      "zero_point": True, "modules_to_not_convert": None}}
FP8_BLOCKS = {"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic",
                                      "weight_block_size": [32, 16]}}

# Of several layers: the config, and {layer: ((tensors, weight), name of the format)}.


def layer_cases():
    f32, bf16 = torch.float32, torch.bfloat16
    yield "fp8", {}, {
        "none": (fp8(5, 64, None), "fp8-e4m3"),
        "none_e5m2": (fp8(5, 64, None, dtype=E5M2), "fp8-e5m2"),
        "scalar": (fp8(8, 24, scales(1, dtype=f32)[0]), "fp8-e4m3-tensor"),
        "one": (fp8(8, 24, scales(1, dtype=bf16), dtype=E5M2), "fp8-e5m2-tensor"),
        "rows": (fp8(9, 24, scales(9, dtype=f32)), "fp8-e4m3-channel"),
        "column": (fp8(9, 24, scales(9, 1, dtype=bf16)), "fp8-e4m3-channel"),
        "block": (fp8(130, 136, scales(2, 2, dtype=f32), "weight_scale_inv", block=[128, 128]), "fp8-e4m3-block128"),
    }
    yield "fp8-blocks", FP8_BLOCKS, {
        "whole": (fp8(64, 48, scales(2, 3, dtype=f32), "weight_scale_inv", block=[32, 16]), "fp8-e4m3-block32x16"),
        "edges": (fp8(40, 40, scales(2, 3, dtype=bf16), "weight_scale_inv", block=[32, 16]), "fp8-e4m3-block32x16"),
    }
    yield "compressed-int8", compressed_config("int-quantized", [int_group(8), int_group(8, 16, False)]), {
        "tensor": (compressed_int8(6, 32, scales(1, dtype=bf16)), "ct-int8-tensor"),
        "channel": (compressed_int8(6, 32, scales(6, 1, dtype=bf16)), "ct-int8-channel"),
        "channel_zero": (compressed_int8(6, 32, scales(6, 1, dtype=f32), integers(-128, 128, 6, 1, dtype=torch.int8)),
                         "ct-int8-channel"),
        "group_zero": (compressed_int8(6, 32, scales(6, 2, dtype=bf16), integers(-128, 128, 6, 2, dtype=torch.int8), 16),
                       "ct-int8-g16"),
    }
    groups = [int_group(4, 32), int_group(8), int_group(8, 16, False), int_group(3, 32)]
    yield "compressed-packed", compressed_config("pack-quantized", groups), {
        "int4": (packed(12, 64, 4, 32), "ct-int4-g32"),
        "int4_zeros": (packed(12, 64, 4, 32, zeros=True), "ct-int4-g32"),
        "int4_act_order": (packed(12, 64, 4, 32, zeros=True, act_order=True), "ct-int4-g32"),
        "int8_channel": (packed(9, 36, 8), "ct-int8-channel"),
        "int8_zeros": (packed(9, 32, 8, 16, zeros=True), "ct-int8-g16"),
        "int3": (packed(12, 64, 3, 32), "ct-int3-g32"),
        "int4_ragged": (packed(5, 37, 4), "ct-int4-channel"),
    }
    yield "compressed-fp4", compressed_config("mixed-precision", []), {
        "mxfp4": (compressed_fp4(6, 64, False), "mxfp4"),
        "nvfp4": (compressed_fp4(6, 64, True), "nvfp4"),
    }
    for bits in (2, 3, 4, 8):
        for form in ("gptq", "gptq_v2"):
            yield f"gptq-int{bits}-{form}", gptq_config(bits, 32, form), {
                "plain": (gptq(32, 64, bits, 32, v2=form == "gptq_v2"), f"gptq-int{bits}-g32"),
                "act_order": (gptq(32, 64, bits, 32, True, form == "gptq_v2"), f"gptq-int{bits}-g32"),
            }
    yield "gptq-channel", gptq_config(4, -1), {"whole": (gptq(32, 96, 4, -1), "gptq-int4-channel")}
    yield "awq", AWQ_CONFIG, {"layer": (awq(24, 96, 32), "awq-int4-g32")}
    yield "bnb", {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, {
        "nf4": (bnb_4bit(12, 80, "nf4", False), "bnb-nf4"),
        "nf4_nested": (bnb_4bit(96, 176, "nf4", True), "bnb-nf4"),
        "fp4": (bnb_4bit(12, 80, "fp4", False, 128), "bnb-fp4"),
        "int8": (bnb_8bit(12, 40), "bnb-int8"),
    }
    yield "mxfp4", {"quantization_config": {"quant_method": "mxfp4"}}, {"layer": (mxfp4_blocks(6, 64), "mxfp4")}


# Whole models: every matrix but the embedding is quantised.
MODEL = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
         "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 96,
         "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
         "tie_word_embeddings": True, "torch_dtype": "float16", "bos_token_id": 1, "eos_token_id": 2}
MATRICES = {"self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64), "self_attn.v_proj": (32, 64),
            "self_attn.o_proj": (64, 64), "mlp.gate_proj": (96, 64), "mlp.up_proj": (96, 64), "mlp.down_proj": (64, 96)}


def model_cases():
    f32 = torch.float32
    yield "model-fp8", FP8_BLOCKS, "fp8-e4m3-block32x16", lambda rows, columns: fp8(
        rows, columns, scales(math.ceil(rows / 32), columns // 16, dtype=f32, size=0.2), "weight_scale_inv",
        block=[32, 16], any_code=False)
    yield "model-compressed", compressed_config("pack-quantized", [int_group(4, 32, False)]), "ct-int4-g32", (
        lambda rows, columns: packed(rows, columns, 4, 32, zeros=True))
    yield "model-gptq", gptq_config(4, 32, act_order=True), "gptq-int4-g32", (
        lambda rows, columns: gptq(rows, columns, 4, 32, True))
    yield "model-awq", AWQ_CONFIG, "awq-int4-g32", lambda rows, columns: awq(rows, columns, 32)
    yield "model-bnb", {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bnb-nf4", (
        lambda rows, columns: bnb_4bit(rows, columns, "nf4", True))


def model_layers(form, make):
    layers = {f"model.layers.0.{name}": (make(*shape), form) for name, shape in MATRICES.items()}
    plain = {"model.embed_tokens.weight": torch.randn(96, 64, generator=random).half() * 0.5,
             "model.norm.weight": torch.ones(64).half(),
             "model.layers.0.input_layernorm.weight": torch.ones(64).half(),
             "model.layers.0.post_attention_layernorm.weight": torch.ones(64).half(),
             "model.layers.0.self_attn.k_proj.k_scale": torch.ones(1),
             "model.layers.0.mlp.up_proj.input_scale": torch.ones(1)}
    return layers, plain


def digest(weight: torch.Tensor) -> tuple[str, list[str]]:
    floats = weight.contiguous().numpy()
    bits = np.where(np.isnan(floats), np.uint32(0x7FC00000), floats.view(np.uint32)).reshape(-1).tolist()
    value = 0xCBF29CE484222325
    for word in bits:
        value = ((value ^ word) * 0x100000001B3) & MASK
    return f"{value:016x}", [f"{word:08x}" for word in bits[:4]]


def write(name, config, layers, plain=None):
    folder = OUT / name
    folder.mkdir(parents=True)
    tensors, expected = dict(plain or {}), []
    for layer, ((parts, weight), form) in layers.items():
        assert weight.dtype == torch.float32, layer
        tensors.update({f"{layer}.{rest}": tensor.contiguous() for rest, tensor in parts.items()})
        bits, first = digest(weight)
        expected.append({"name": f"{layer}.weight", "format": form, "shape": list(weight.shape), "digest": bits,
                         "first": first})
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (folder / "expected.json").write_text(json.dumps(expected, indent=0) + "\n", encoding="utf-8")


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    random.manual_seed(1)
    for name, config, layers in layer_cases():
        write(name, config, layers)
    for name, config, form, make in model_cases():
        layers, plain = model_layers(form, make)
        write(name, {**MODEL, **config}, layers, plain)


if __name__ == "__main__":
    main()
