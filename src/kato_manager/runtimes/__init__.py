"""The engines that run instances; each is one file behind the contract in `base`."""
