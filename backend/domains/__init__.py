"""Domains of a workspace."""

__all__: list[str] = []
