"""The networks, in torch. Import a network's own module: this package pulls in nothing."""
