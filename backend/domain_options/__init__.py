"""The Mailgun way of working with a domain: whose it is, and what is set for it."""

__all__: list[str] = []
