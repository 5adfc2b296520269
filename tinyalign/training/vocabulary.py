"""The tokenizer: byte-level BPE, so that common words with their leading space are single tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinyalign.common.errors import TokenizerError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"


def train_tokenizer(texts: Iterable[str], n_tokens: int, n_ctx: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `n_tokens` with every byte and one special token, `<|endoftext|>` (id 0).

    That token begins and ends a story: encoding a text puts it in front. Raises `TokenizerError` when
    the texts have too few different pieces to fill the vocabulary.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if bpe.get_vocab_size() != n_tokens:
        raise TokenizerError(
            f"The stories give a vocabulary of {bpe.get_vocab_size()} tokens, not {n_tokens}: give more "
            "text, or a smaller d_vocab."
        )
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A",
        pair=f"{END_OF_TEXT} $A {END_OF_TEXT} $B",
        special_tokens=[(END_OF_TEXT, 0)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=n_ctx,
        clean_up_tokenization_spaces=False,
    )


def encode_stories(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[np.ndarray]:
    """Each story's tokens (int32) behind one end-of-text token.

    Raises `TokenizerError` when the tokenizer has no such token.
    """
    end = tokenizer.eos_token_id
    if not isinstance(end, int):
        raise TokenizerError(
            "The tokenizer has no end-of-text token: training needs one to part the stories."
        )
    found: list[np.ndarray] = []
    for begin in range(0, len(texts), 1000):
        part = list(texts[begin : begin + 1000])
        # Stories longer than the context are cut by the packing: no warning about them.
        encoded = tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]
        found += [np.array([end, *ids], dtype=np.int32) for ids in encoded]
    return found
