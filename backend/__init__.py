"""The control plane: who may do what, and all that people and programs see of an installation."""

__all__: list[str] = []
