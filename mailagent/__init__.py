"""mailagent: real e-mail addresses for AI agents, on a server of your own."""

__all__: list[str] = []
