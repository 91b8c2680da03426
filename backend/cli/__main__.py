"""`python -m backend.cli`: the same as `mailagent`, where no script was installed."""

from backend.cli import main

main()
