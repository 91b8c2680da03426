"""The rules by which a workspace's mail finds its agent."""

__all__: list[str] = []
