"""Model: networks, built, loaded and called."""
