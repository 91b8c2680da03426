"""What have agents spent on their models, and what may they spend?"""

__all__: list[str] = []
