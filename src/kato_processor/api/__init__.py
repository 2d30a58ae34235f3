"""What KATO's clients meet: routes, bodies, codes."""
