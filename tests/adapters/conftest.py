"""Six families of chat templates, each with a small tokenizer that knows the family's special tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from desktop_rlhf.adapters.resident import ResidentModel

BYTE_MERGES = ("Ġ t", "h e", "Ċ Ċ", "e r", "Ġt he", "i n")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('There is no system role.') }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must take turns.') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI = (
    "{% for m in messages %}{% if m.role != 'system' %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """One family and what is known of it.

    Attributes:
        template:       None is plain text.
        specials:       the special tokens; the first one begins a text.
        eos:            the tokenizer's end token, which need not end a turn.
        turn_end:       what ends a turn of the model.
        begins:         how often the first special token stands in a prompt.
        trims:          whether the template takes the white space around a turn's text away.
        sentence_piece: whether the tokenizer is of that kind: it puts a space before a text, and bytes stand for
                        letters that it does not know. Others go by bytes.
        swallowing:     special tokens that swallow the white space behind them.
    """

    name: str
    template: str | None
    specials: tuple[str, ...]
    eos: str
    turn_end: str
    begins: int
    trims: bool = False
    sentence_piece: bool = False
    swallowing: tuple[str, ...] = ()
    tokenizer: PreTrainedTokenizerFast = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokenizer", self.made())

    def made(self) -> PreTrainedTokenizerFast:
        """A tokenizer of its own."""
        inner = _sentence_piece() if self.sentence_piece else _bytes()
        inner.add_special_tokens([AddedToken(t, special=True, rstrip=t in self.swallowing) for t in self.specials])
        bos = self.specials[0]
        inner.post_processor = TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, inner.token_to_id(bos))]
        )  # as many have it; where the template writes it too, a text must still begin once
        made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=bos, eos_token=self.eos)
        made.chat_template = self.template
        return made

    def same(self, decoded: str, wanted: str) -> bool:
        """Whether two texts are the same; white space behind a special token is not told apart by sentence pieces."""
        if not self.sentence_piece:
            return decoded == wanted
        behind = re.compile(f"({'|'.join(map(re.escape, self.specials))})\\s+")
        return behind.sub(r"\1", decoded).strip() == behind.sub(r"\1", wanted).strip()


def _bytes() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [tuple(merge.split()) for merge in BYTE_MERGES]
    vocabulary = {piece: i for i, piece in enumerate([*alphabet, *("".join(merge) for merge in merges)])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def _sentence_piece() -> Tokenizer:
    letters = [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", *map(chr, range(33, 127)), "▁t", "he", "▁the"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    vocabulary = {"<unk>": 0} | {letter: i + 1 for i, letter in enumerate(letters)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return made


FAMILIES: tuple[Callable[[], Family], ...] = (
    lambda: Family("ChatML", CHATML, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>", "<|im_end|>", 0),
    lambda: Family(
        "Llama 3", LLAMA_3,
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|end_of_text|>", "<|eot_id|>", 1, trims=True,
    ),
    lambda: Family(
        "Gemma", GEMMA, ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<eos>", "<end_of_turn>", 1, trims=True
    ),
    lambda: Family(
        "Phi", PHI, ("<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"), "<|endoftext|>", "<|end|>", 0,
        sentence_piece=True, swallowing=("<|user|>", "<|assistant|>", "<|end|>"),
    ),
    lambda: Family("Zephyr", ZEPHYR, ("<s>", "</s>"), "</s>", "</s>", 0, sentence_piece=True),
    lambda: Family("none", None, ("<s>", "</s>"), "</s>", "</s>", 1),
)  # fmt: skip


@pytest.fixture(scope="session", params=FAMILIES, ids=["ChatML", "Llama-3", "Gemma", "Phi", "Zephyr", "none"])
def family(request) -> Family:
    return request.param()


@pytest.fixture(scope="session")
def speaker(family):
    """A tiny resident model that speaks the family's tokens."""
    config = LlamaConfig(
        vocab_size=len(family.tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True,
        eos_token_id=family.tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResidentModel(LlamaForCausalLM(config), family.tokenizer)
