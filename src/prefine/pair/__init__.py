"""Pairs, ranked lists and single responses out of scored groups: pure functions of the rows, the same in any order."""
