"""Data out: groups and examples in the columns that other trainers read, one small file per format."""
