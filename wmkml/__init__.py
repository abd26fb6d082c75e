"""Watch me kill my language: an installation, and a laboratory, in which a language model dies of its own words."""

__version__ = "0.1.0"
