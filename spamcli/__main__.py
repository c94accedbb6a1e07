"""`spamcli`, and `python -m spamcli`."""

import sys


def start() -> None:
    """The command line; interrupted while it is loaded, it says no more than later."""
    try:
        from spamcli.cli import main

        main()
    except KeyboardInterrupt:
        print("spamcli: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    start()
