"""`python -m prefine`, for launchers that start modules: `torchrun --nproc-per-node 2 -m prefine run RECIPE`."""

from prefine.cli import main

main()
