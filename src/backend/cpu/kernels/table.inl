// The table of all kernels of an instruction set.
constexpr KernelTable TableOf(const char* name, Bf16Order bf16_order) {
  return {
      .name = name,
      .bf16_order = bf16_order,
      .f32 = kLinearF32,
      .bf16 = kLinearBf16,
      .rms_norm = RmsNorm,
      .prepare_head = PrepareHead,
      .store_f32 = StoreAsF32,
      .store_bf16 = StoreAsBf16,
      .attend = Attend,
      .gated_silu = Gate<Silu>,
      .gated_gelu_tanh = Gate<GeluTanh>,
  };
}
