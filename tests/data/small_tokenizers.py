"""Tokenizers that take milliseconds to make."""

from dids.data.tokenizer import train_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(**changes):
    words = ["the cat sat on the mat", "a question? an answer!", "def f(x):\n    return x\n"] * 20
    tokenizer = train_tokenizer(iter(words), 300)
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer
