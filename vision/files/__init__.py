"""Files: bytes, paths, archives, hashes, locks and atomic writes."""
