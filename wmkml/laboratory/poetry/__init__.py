"""Tokenizer poetry: poems whose tokens are moved, mapped or led astray before they become words again.

`poems.py` has a model write them, or reads them; `vocabularies.py` holds tokenizers, one trained on the spot among them;
`transformations.py` changes ids; `steps.py` puts a row of steps together, and `page.py` shows every one of them.
"""
