"""The pages that people see: server-rendered, one file a page, no request to another host."""

from backend.web.site import create_web

__all__ = ["create_web"]
