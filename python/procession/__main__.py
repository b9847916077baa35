"""`python -m procession`."""

from procession._cli.main import main

if __name__ == "__main__":
    main()
