"""What a reader gets from finished runs: one HTML page, results.json and a table. Reads files only, never torch."""
