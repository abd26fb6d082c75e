"""Every key of `config.yaml`: named, typed, bounded and described, a file for each section.

The sections `general`, `finetuning` and `inference` are the original installation's, with its keys, meanings and
defaults, so that an original `config.yaml` runs unchanged; keys declared with `added` are new.
"""
