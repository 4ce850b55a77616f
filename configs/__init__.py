"""Settings: their names and bounds, their values, and how they are read."""
