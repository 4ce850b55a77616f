"""Pipelines: which step follows which, and the stack that they run on."""
