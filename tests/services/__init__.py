"""Tests against system services from apt; see scripts/services.sh."""
