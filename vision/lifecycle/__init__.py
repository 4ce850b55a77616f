"""Lifecycle: a finished model judged and packaged."""
