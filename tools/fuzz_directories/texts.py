"""What is asked of every directory."""

from __future__ import annotations

TEXTS = [
    "", " ", "  two  spaces ", "Hello, world!", " hello", "It's 12345 o'clock; I'll see you'd.", "tabs\t\tand\n\nlines\r\n",
    "naïve café Straße", "你好,世界 🦉👩‍👩‍👧 e\u0301", "def f(x):\n    return x ** 2  # ok\n", "½ Ⅷ ² ٣",
    "<|im_start|>user\nHi<|im_end|>\n", "a <|im_end|> b", "a<|im_end|>b", "x<|endoftext|> y", "<s>a</s> b", " <s> a </s> ",
    "<extra> a <extra>b <extra two>", "a <pad new>b <new eos> c", "[INST] a [/INST]", "<unk> <pad>",
    "HELLO <|IM_END|> the of and in <|begin_of_text|>x<|eot_id|> y", "hello." * 12 + " n't a , b !",
]  # fmt: skip

CONVERSATIONS = [
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "  What is 2 + 2?\n"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "Why? 🦉"},
    ],
]
