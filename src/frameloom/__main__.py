"""`python -m frameloom`: the command line."""

from frameloom.cli import main

if __name__ == "__main__":
    main()
