"""The contract of a provider: the same sentences for every entry of the tuple, by what it can do.

`python -m tests.contract` prints them.
"""
