"""``python -m queuesim`` is the same as ``queuesim``."""

from queuesim.cli import main

if __name__ == "__main__":
    main()
