"""`mailagent migrate` by the name that our guide and other stacks know it by; same options."""

from __future__ import annotations

import sys

from backend.cli import main

if __name__ == "__main__":
    main(["migrate", *sys.argv[1:]])
