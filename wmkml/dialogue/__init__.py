"""From messages to token ids and back: the chat template, the conversation's window, and the end of an answer."""
