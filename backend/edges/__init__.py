"""Mail engines elsewhere that hand their mail to this backend."""

from __future__ import annotations

__all__: list[str] = []
