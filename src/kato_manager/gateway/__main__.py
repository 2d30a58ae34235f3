"""`python -m kato_manager.gateway`."""

from kato_manager.gateway.serve import main

main()
