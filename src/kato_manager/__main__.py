"""`python -m kato_manager` is `kato`."""

from kato_manager.cli.main import main

if __name__ == "__main__":
    main()
