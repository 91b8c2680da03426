"""Sender identities of a domain: addresses that log in at the submission door with a password."""

__all__: list[str] = []
