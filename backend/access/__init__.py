"""Who asks, and what may they do? Keys, sign-ins, sessions, permissions."""

__all__: list[str] = []
