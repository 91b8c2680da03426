"""Trying before trusting: mail against an agent, or against what it may become; nothing is sent."""

__all__: list[str] = []
