"""Which names in DNS are ours, what stands there, and who is told."""

__all__: list[str] = []
