"""Data in: files of any known format become groups, and messages become token ids with a training mask."""
