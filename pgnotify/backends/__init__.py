"""One module for each driver, loaded by name when a connection of its driver is passed."""
