"""One module per driver. Each is loaded by name, when a connection of its driver shows up."""
