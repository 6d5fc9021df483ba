"""`python -m dicomweb` is `roentgate`."""

from dicomweb.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
