"""`python -m tailor.cli`: the `tailor` command where its script is not on the path."""

from tailor.cli.command import main

main()
