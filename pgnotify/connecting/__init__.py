"""From a connection string to a connection in hand. Knows no loop."""
