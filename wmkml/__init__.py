"""Watch me kill my language: an installation, and a laboratory, in which a language model dies of its own words."""

import sys

__version__ = "0.1.0"

# Where rich and click are installed, httpx imports its command line with them, pygments included: an eighth of what the owner
# computes before it answers, and visitors wait for that after each of its ends.  Nothing here uses it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None: its import fails, which httpx is prepared for
