"""The pictures in the documentation, drawn from the code."""
