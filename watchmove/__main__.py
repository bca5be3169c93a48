"""`python -m watchmove`: the same as the command `watchmove`."""

from watchmove.service.cli.main import main

if __name__ == "__main__":
    main()
