"""Commands: what run.py does besides running a pipeline, and how its words are read."""
