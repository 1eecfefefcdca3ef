"""`python -m manyhands`: see `_cli.py`."""

# The guard: workers import this module once more, as multiprocessing does with the main module.
if __name__ == "__main__":
    import sys

    from manyhands._cli import main

    sys.exit(main())
