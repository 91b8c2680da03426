"""Workspaces, their people and who has which role."""

__all__: list[str] = []
