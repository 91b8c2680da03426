"""What an agent can do beside answering: its model, tools, secrets, and what waits of its calls."""

__all__: list[str] = []
