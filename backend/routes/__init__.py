"""Receiver routes of a domain: what happens to a mail beside going to its agent."""

__all__: list[str] = []
