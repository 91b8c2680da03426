"""Agents of a workspace: their addresses, instructions and switches."""

__all__: list[str] = []
