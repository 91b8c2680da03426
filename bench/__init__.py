"""How fast is it, against what? One module a question; each prints ratios to a peer in one run."""

__all__: list[str] = []
