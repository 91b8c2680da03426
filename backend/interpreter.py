"""How does the interpreter of a process that serves leave each mail its time?"""

from __future__ import annotations

import gc
import sys

__all__ = ["settle"]

_SWITCH_SECONDS = 0.0005


def settle() -> None:
    """Once all is imported and made: what is there now stays until the process ends."""
    # The committer's thread wakes for each step of a commit; at the default of 5 ms it waits longer
    # for the interpreter than for the disk.
    sys.setswitchinterval(_SWITCH_SECONDS)
    # A full collection walks every object and stops every thread meanwhile, for a tenth of a second
    # with what starting has made. Of that nothing becomes garbage: it is not looked at again.
    gc.freeze()
