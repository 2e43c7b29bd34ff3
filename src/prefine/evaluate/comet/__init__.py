"""COMET through unbabel-comet's own command, in an environment of its own: its pins exclude transformers 5."""
