"""Training: everything that changes weights."""
