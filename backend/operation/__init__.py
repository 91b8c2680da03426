"""What an operator does with a whole installation: back it up, restore it, renew its secret."""

__all__: list[str] = []
