"""The understudy's tokenizer: byte-level BPE trained on generated conversations, with Mistral's chat format.

Byte-level, so it can encode any text.  It adds no token by itself: only the chat template writes <s>, so no prompt gets
two.
"""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from wmkml.understudy.exchanges import ConversationWriter

VOCABULARY = 4096
SPECIAL_TOKENS = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
TRAINING_CONVERSATIONS = 40_000
MAX_POSITIONS = 1024

# Every answer ends with </s>, so that a conversation is the concatenation of its turns.
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'system' %}{{- '[SYSTEM_PROMPT]' + message['content'] + '[/SYSTEM_PROMPT]' }}"
    "{%- elif message['role'] == 'user' %}{{- '[INST]' + message['content'] + '[/INST]' }}"
    "{%- elif message['role'] == 'assistant' %}{{- message['content'] + eos_token }}"
    "{%- else %}{{- raise_exception('The roles of a conversation are system, user and assistant.') }}"
    "{%- endif %}"
    "{%- endfor %}"
)


def train_tokenizer(seed: int, conversations: int = TRAINING_CONVERSATIONS) -> PreTrainedTokenizerFast:
    """Train the vocabulary on `conversations` generated conversations; the same for the same seed."""
    writer = ConversationWriter(seed)
    texts = (message["content"] for _ in range(conversations) for message in writer.write_conversation().messages)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",  # as in the original: the end token pads
        additional_special_tokens=SPECIAL_TOKENS[3:],
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
