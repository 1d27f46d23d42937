// Exponential, norms, gates and stores. The sequences of operations are those of ref/ref_ops.cc.

inline V Exp(V x) {
  x = Max(Splat(-88.0F), x);
  x = Min(Splat(88.0F), x);
  const V round = Splat(12582912.0F);
  const V shifted = Fma(x, Splat(1.44269504F), round);
  const V n = Sub(shifted, round);
  V r = Fma(n, Splat(-0.693359375F), x);
  r = Fma(n, Splat(2.12194440e-4F), r);
  V p = Splat(1.9875691500e-4F);
  p = Fma(p, r, Splat(1.3981999507e-3F));
  p = Fma(p, r, Splat(8.3334519073e-3F));
  p = Fma(p, r, Splat(4.1665795894e-2F));
  p = Fma(p, r, Splat(1.6666665459e-1F));
  p = Fma(p, r, Splat(5.0000001201e-1F));
  p = Add(Fma(p, Mul(r, r), r), Splat(1.0F));
  return Mul(p, PowerOfTwo(shifted));
}

void RmsNorm(const float* x, const float* weight, float epsilon, int64_t n, float* y) {
  V lanes = Zero();
  for (int64_t i = 0; i < n; i += 16) {
    const V v = LoadFirst(x + i, n - i);
    lanes = Fma(v, v, lanes);
  }
  const float mean = FoldAdd(lanes) / static_cast<float>(n);
  const float root = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(mean + epsilon)));
  const V inverse = Splat(1.0F / root);
  for (int64_t i = 0; i < n; i += 16) {
    const V scaled = Mul(LoadFirst(x + i, n - i), inverse);
    StoreFirst(y + i, Mul(scaled, LoadFirst(weight + i, n - i)), n - i);
  }
}

void PrepareHead(const HeadTask& task) {
  float* head = task.head;
  if (task.norm != nullptr) RmsNorm(head, task.norm, task.epsilon, task.head_dim, head);
  const int64_t half = task.rotary_dim / 2;
  for (int64_t i = 0; i < half; i += 16) {
    const int64_t n = half - i;
    const V a = LoadFirst(head + i, n), b = LoadFirst(head + half + i, n);
    const V cos = LoadFirst(task.cos + i, n), sin = LoadFirst(task.sin + i, n);
    StoreFirst(head + i, Sub(Mul(a, cos), Mul(b, sin)), n);
    StoreFirst(head + half + i, Add(Mul(b, cos), Mul(a, sin)), n);
  }
}

void StoreAsF32(const float* x, int64_t n, float* y, int64_t stride) {
  for (int64_t i = 0; i < n; ++i) y[i * stride] = x[i];
}

void StoreAsBf16(const float* x, int64_t n, uint16_t* y, int64_t stride) {
  for (int64_t i = 0; i < n; i += 16) {
    uint16_t rounded[16];
    StoreBf16(rounded, LoadFirst(x + i, n - i));
    for (int64_t j = 0; j < 16 && i + j < n; ++j) y[(i + j) * stride] = rounded[j];
  }
}

inline V Silu(V x) { return Div(x, Add(Splat(1.0F), Exp(Sub(Splat(-0.0F), x)))); }

inline V GeluTanh(V x) {
  const V cubed = Mul(Mul(x, x), x);
  const V inner = Fma(Splat(0.044715F), cubed, x);
  return Div(x, Add(Splat(1.0F), Exp(Mul(Splat(-1.5957691216F), inner))));
}

template <V (*kActivation)(V)>
void Gate(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 16) {
    const V activated = kActivation(LoadFirst(gate + i, n - i));
    StoreFirst(y + i, Mul(activated, LoadFirst(up + i, n - i)), n - i);
  }
}
