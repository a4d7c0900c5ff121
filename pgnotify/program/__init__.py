"""What happens in which order, without I/O; and the one file that performs it, `runner`."""
