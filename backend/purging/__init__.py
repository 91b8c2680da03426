"""Removing mail for good, asked for by API."""

__all__: list[str] = []
