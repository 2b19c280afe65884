"""`python -m lossc`: the command line."""

from lossc.cli import main

if __name__ == "__main__":
    main()
