"""Mail engines elsewhere that hand their mail to this backend."""

from __future__ import annotations

__all__ = ["PERMISSION"]

PERMISSION = "edge.hand_over"
"""All that the key of one may."""
