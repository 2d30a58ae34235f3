"""Launch, record, reach and compare many instances of a processor on one workstation."""
