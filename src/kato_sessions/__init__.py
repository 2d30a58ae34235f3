"""Sessions with two clocks in four stores, standard library only."""
