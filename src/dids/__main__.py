"""``python -m dids``: the same as ``dids``."""

from dids.cli import main

if __name__ == "__main__":
    main()
