"""Steps that clean and choose rows: each is a pure function of the rows, whatever their order and their parts."""
