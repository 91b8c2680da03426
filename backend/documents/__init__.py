"""The documents that agents answer from."""

__all__: list[str] = []
