"""Inference: pictures in, a table of predictions out."""
