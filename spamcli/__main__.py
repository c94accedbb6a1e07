"""`python -m spamcli`."""

from spamcli.cli import main

if __name__ == "__main__":
    main()
