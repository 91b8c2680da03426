"""Tests of sender authentication."""
