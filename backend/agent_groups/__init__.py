"""Groups of agents that share domains."""

__all__: list[str] = []
