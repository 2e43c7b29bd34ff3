"""One small file per format: what its columns look like, and how a row becomes a group."""
