"""Materializers: how each type of artifact is stored and shown."""
