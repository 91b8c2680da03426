"""How does the interpreter begin soon, and leave each mail its time in a process that serves?"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["settle", "starting"]

_SWITCH_SECONDS = 0.0005


@contextmanager
def starting() -> Iterator[None]:
    """For imports: they make half a million objects, none of which becomes garbage, and to look for
    some again and again takes a tenth of their time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def settle() -> None:
    """Once all is imported and made: what is there now stays until the process ends."""
    # The committer's thread wakes for each step of a commit; at the default of 5 ms it waits longer
    # for the interpreter than for the disk.
    sys.setswitchinterval(_SWITCH_SECONDS)
    # A full collection walks every object and stops every thread meanwhile, for a tenth of a second
    # with what starting has made. Of that nothing becomes garbage: it is not looked at again.
    gc.freeze()
