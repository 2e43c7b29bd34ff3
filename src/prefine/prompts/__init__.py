"""New prompts: written by models from seeds, or made of those there are."""
