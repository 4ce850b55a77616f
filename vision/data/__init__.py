"""Data: from a source to a prepared FaceSet."""
