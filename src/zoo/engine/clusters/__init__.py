"""Where: places that start processes. Each is a stranger to the others."""
