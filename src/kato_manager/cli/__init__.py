"""The command `kato`: reads flags, calls what is below, prints."""
