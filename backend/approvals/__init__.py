"""What waits for a person's yes, for people and programs that decide."""

__all__: list[str] = []
